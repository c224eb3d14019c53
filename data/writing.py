"""Your own recordings as a demonstration file: arrays in, a file out that every verb reads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from numbers import Real
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import LaminarError, nearest
from ..overwriting import check_files
from .episodes import Episodes
from .formats import d4rl
from .recording import Recording
from .spec import joined
from .terminations import cut_where_terminated

Array = NDArray[Any]
Limit = tuple[float, ...] | None
_PICTURE = 32  # pixels of a side, from which on numbers in this form are taken for a picture
_KEYS = ("observation", "action", "reward", "terminated", "success")


def write_episodes(
    path: str | PathLike[str],
    episodes: Episodes | Iterable[Mapping[str, Any]],
    *,
    action_low: Sequence[float] | float | None = None,
    action_high: Sequence[float] | float | None = None,
    action_names: Sequence[str] = (),
    rate_hz: float | None = None,
    overwrite: bool = False,
) -> Path:
    """Write recordings into an HDF5 file of D4RL's layout, as a whole or not at all.

    An episode of T steps is a dictionary, whose observation may have dictionaries in it::

        observation   (T + 1, ...), or {key: (T + 1, ...)}: before each action, and after the last one
        action        (T, A)
        reward        (T,), needed by offline Q-learning, not by cloning
        terminated    whether the task ended the episode rather than time or the recording; False if left out
        success       whether it succeeded

    The observation after the last action may be left out where nothing reads it: without rewards, and of an episode
    that terminated. Pictures are bytes (T, height, width, 3), uint8. Numbers may have any type.

    Args:
        path: the file, such as "demos.hdf5".
        episodes: dictionaries, all with the same keys; or `Episodes`, of which what was read or selected is written.
        action_low: (A,) what the robot takes at least, in the units of `action`, or one number for all; None: no limits
            are known.
        action_high: (A,) what it takes at most.
        action_names: name of each action dimension, for reports.
        rate_hz: control rate of the recording.
        overwrite: replace a file that is there, unless it is read-only.

    Returns:
        The path.

    Raises:
        LaminarError: names the episode and what is wrong with it; or the file exists, or cannot be written.
    """
    target = Path(path)
    if target.exists() and not overwrite:
        raise LaminarError(f"{target} exists already; choose another path, or give overwrite=True to replace it")
    check_files([target], may=True)
    if isinstance(episodes, Episodes):
        if action_low is not None or action_high is not None or action_names or rate_hz is not None:
            raise LaminarError("episodes that were read have limits, names and rate in their spec; leave them out here")
        d4rl.write(target, cut_where_terminated(episodes))
        return target
    rows = _checked(target, episodes)
    if (action_low is None) != (action_high is None):
        raise LaminarError("give both action_low and action_high, or none of them")
    low, high = _limit("action_low", action_low, rows[0]), _limit("action_high", action_high, rows[0])
    made = _joined(target, rows, low, high, rate_hz)
    names = _names(action_names, made.spec.action_dim)
    made.spec = replace(made.spec, action=replace(made.spec.action, names=names))
    d4rl.write(target, made)
    return target


def _checked(target: Path, episodes: Any) -> list[_Rows]:
    """Return the episodes, all of the same kind."""
    if not isinstance(episodes, Iterable):
        raise LaminarError(f"{target}: the episodes are a {type(episodes).__name__}; give a list of dictionaries")
    given: Iterable[Any] = episodes
    rows = [_Rows(number, episode) for number, episode in enumerate(given)]
    if not rows:
        raise LaminarError(f"{target}: no episodes to write; give at least one")
    for row in rows[1:]:
        row.check_like(rows[0])
    return rows


class _Rows:
    """One episode of T steps, checked.

    Attributes:
        observation: key -> (T, ...).
        final: key -> (...), after the last action.
        action: (T, A).
        reward: (T,), zeros if it has none.
    """

    def __init__(self, number: int, episode: Any) -> None:
        self.name = f"episode {number}"
        if not isinstance(episode, Mapping):
            raise LaminarError(f"{self.name} is a {type(episode).__name__}; give a dictionary with {', '.join(_KEYS)}")
        for key in episode:
            if key not in _KEYS:
                raise LaminarError(f"{self.name} has '{key}' (known: {', '.join(_KEYS)}){nearest(str(key), _KEYS)}")
        for key in ("observation", "action"):
            if key not in episode:
                raise LaminarError(f"{self.name} lacks '{key}' (it has {', '.join(map(str, episode)) or 'nothing'})")
        self.action = self._array("action", episode["action"])
        if self.action.ndim != 2 or not len(self.action):
            raise LaminarError(f"{self.name}: action has shape {self.action.shape}; give (steps, width)")
        steps = len(self.action)
        self.has_reward = episode.get("reward") is not None
        reward = self._array("reward", episode["reward"]) if self.has_reward else np.zeros(steps, np.float32)
        if reward.reshape(-1).shape != (steps,):
            raise LaminarError(f"{self.name}: reward has shape {reward.shape} for {steps} actions; give one a step")
        self.reward = reward.reshape(-1)
        self.terminated = self._ended(episode.get("terminated"), steps)
        success = episode.get("success")
        self.success = None if success is None else bool(self._flags("success", success).any())
        given = episode["observation"]
        named = joined(given) if isinstance(given, Mapping) else {"observation": given}
        self._check_keys(list(named))
        self.observation: dict[str, Array] = {}
        self.final: dict[str, Array] = {}
        for key, value in named.items():
            self._split(key, self._array(f"observation '{key}'", value), steps)

    def check_like(self, first: _Rows) -> None:
        """Refuse an episode that is not of the same kind as the first."""
        for what, mine, theirs in (
            ("observations", self._shapes(), first._shapes()),
            ("pictures of", self._pictures(), first._pictures()),
            ("actions of width", self.action.shape[1], first.action.shape[1]),
            ("with rewards:", self.has_reward, first.has_reward),
            ("with success:", self.success is not None, first.success is not None),
        ):
            if mine != theirs:
                raise LaminarError(f"{self.name} is not like {first.name}: {what} {mine} and {theirs}")

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        return {key: value.shape[1:] for key, value in self.observation.items()}

    def _pictures(self) -> dict[str, str]:
        return {key: str(value.dtype) for key, value in self.observation.items() if value.ndim > 2}

    def _check_keys(self, keys: Sequence[str]) -> None:
        """Refuse what cannot be told apart in a file, where a key is a path."""
        if not keys:
            raise LaminarError(f"{self.name} has no observations; give an array, or a dictionary of at least one")
        for key in keys:
            if "\0" in key or {"", ".", ".."} & set(key.split("/")):
                raise LaminarError(f"{self.name}: {key!r} cannot name an observation; give a word, such as 'joints'")
            if any(other.startswith(f"{key}/") for other in keys):
                raise LaminarError(f"{self.name}: observation '{key}' is an array, and has others below it; rename one")

    def _array(self, what: str, value: Any) -> Array:
        try:
            array = np.asarray(value)
        except (ValueError, TypeError, RuntimeError) as error:  # rows of different lengths, tensors NumPy cannot read
            raise LaminarError(f"{self.name}: {what} is no array ({error})") from error
        if array.dtype.kind not in "fiub":
            raise LaminarError(f"{self.name}: {what} holds {array.dtype}; give numbers")
        return array

    def _ended(self, value: Any, steps: int) -> bool:
        flags = self._flags("terminated", False if value is None else value)
        if flags.shape not in ((1,), (steps,)):
            raise LaminarError(f"{self.name}: terminated has shape {flags.shape}; give one flag, or one for each step")
        if flags[:-1].any():
            at = int(np.flatnonzero(flags)[0])
            raise LaminarError(f"{self.name} goes on after it terminated at step {at}; end it there")
        return bool(flags[-1])

    def _flags(self, what: str, value: Any) -> Array:
        flags = np.atleast_1d(self._array(what, value))
        if not np.isin(flags, (0, 1)).all():
            raise LaminarError(f"{self.name}: {what} holds values other than 0 and 1; give True or False")
        return flags.astype(np.bool_)

    def _split(self, key: str, values: Array, steps: int) -> None:
        if values.ndim == 0:
            raise LaminarError(f"{self.name}: observation '{key}' is a single number for {steps} actions; give rows")
        if values.ndim == 1:
            values = values[:, None]  # a single number a step
        if len(values) not in (steps, steps + 1):
            raise LaminarError(
                f"{self.name}: observation '{key}' has {len(values)} rows for {steps} actions; give one before each "
                f"action and one after the last: {steps + 1}"
            )
        if len(values) == steps and self.has_reward and not self.terminated:
            raise LaminarError(
                f"{self.name}: observation '{key}' has a row for each of {steps} actions, but its value after the last "
                f"one is needed where there are rewards; give {steps + 1} rows, or leave the last action out"
            )
        self._check_picture(key, values)
        self.observation[key], self.final[key] = values[:steps], values[-1]

    def _check_picture(self, key: str, values: Array) -> None:
        """Refuse pictures in a layout or type that no policy could take: a recording is not made twice."""
        if values.ndim != 4:
            return
        (_, first, second, last), channels = values.shape, (1, 3, 4)
        bytes_, upright = values.dtype == np.uint8, last in channels
        if bytes_ and not upright and first in channels:
            raise LaminarError(
                f"{self.name}: observation '{key}' holds pictures {values.shape[1:]} with the channels first; give "
                "(steps, height, width, channels): array.transpose(0, 2, 3, 1)"
            )
        if not bytes_ and (upright or first in channels) and second >= _PICTURE:
            raise LaminarError(
                f"{self.name}: observation '{key}' holds pictures of {values.dtype}; give bytes (uint8), 0 to 255"
            )


def _limit(what: str, value: Sequence[float] | float | None, like: _Rows) -> Limit:
    if value is None:
        return None
    try:
        numbers = np.asarray(value, np.float64)
        limit = tuple(
            (np.full(like.action.shape[1], numbers) if numbers.ndim == 0 else np.atleast_1d(numbers)).tolist()
        )
    except (ValueError, TypeError) as error:
        raise LaminarError(f"{what} is {value!r}; give one number for each of the action's dimensions") from error
    if len(limit) != like.action.shape[1]:
        raise LaminarError(f"{what} has {len(limit)} numbers for {like.action.shape[1]} actions")
    return limit


def _names(given: Sequence[str], dimensions: int) -> tuple[str, ...]:
    names = tuple(map(str, given))
    if names and len(names) != dimensions:
        raise LaminarError(f"action_names has {len(names)} names for {dimensions} actions")
    if not all(names) or len(set(names)) < len(names):  # reports would number the dimensions then
        raise LaminarError(
            f"action_names {list(names)} holds an empty name, or one twice; give a name of its own to each"
        )
    return names


def _joined(target: Path, rows: Sequence[_Rows], low: Limit, high: Limit, rate_hz: float | None) -> Episodes:
    if rate_hz is not None and not isinstance(rate_hz, Real):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise LaminarError(f"rate_hz is {rate_hz!r}; give a number, such as 20")
    first = rows[0]
    return Recording(
        target,
        {key: np.concatenate([row.observation[key] for row in rows]) for key in first.observation},
        {key: np.stack([row.final[key] for row in rows]) for key in first.observation},
        np.concatenate([row.action for row in rows]),
        np.concatenate([row.reward for row in rows]),
        np.array([row.terminated for row in rows]),
        np.cumsum([len(row.action) for row in rows]),
        action_low=low,
        action_high=high,
        rate_hz=rate_hz,
        success=None if first.success is None else np.array([row.success for row in rows]),
        has_reward=first.has_reward,
    ).episodes()
