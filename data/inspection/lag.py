"""How many steps after an action a state follows it.

An action may be a target (where the state is to go) or a rate (how it is to change). So the changes of each state are
correlated with the changes of each action, and with the actions themselves, at every shift. An action that is seen at
the next observation has a lag of one step. At 0 it is there before it was told, and below it only repeats what the
state did: then actions and observations are recorded against each other. A change of an action that goes against the
change of a state is none of these: so looks a controller, which asks for less the closer it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..episodes import Episodes
from .frames import is_number

Array = NDArray[Any]
TARGET, RATE = "target", "rate"
_LEAST, _MOST = -5, 20  # steps that are tried
_ROWS = 50_000  # at most, of whole episodes that are evenly spread
_MOVING = 100  # rows in which an action has to change
_CONVINCING = 0.7  # correlation, …
_PEAK = 0.03  # … which is so much higher than two steps beside it


@dataclass(frozen=True)
class Lag:
    """A state that follows an action.

    Attributes:
        action: dimension.
        key: observation of the state.
        dimension: of the state, flat.
        kind: the action is the "target" of the state, or its "rate".
        steps: from the observation at which the action was taken to the one that shows it.
        correlation: at that shift; negative where the state moves the other way.
    """

    action: int
    key: str
    dimension: int
    kind: str
    steps: int
    correlation: float


def lags(episodes: Episodes) -> list[Lag]:
    """Return the best state of each action that some state follows convincingly."""
    keys = [key for key, feature in episodes.spec.observation.items() if is_number(key, feature)]
    spans = _spans(episodes)
    if not keys or not spans:
        return []
    places = [(key, at) for key in keys for at in range(episodes.spec.observation[key].width)]
    states = [np.concatenate([_rows(episodes.observation[key], span) for key in keys], axis=1) for span in spans]
    actions = [episodes.action[span].astype(np.float64) for span in spans]
    changes = [np.diff(one, axis=0) for one in states]  # row t: what the observation t + 1 shows of new
    found = {
        TARGET: _correlations([np.diff(one, axis=0) for one in actions], changes, 0),
        RATE: _correlations([one[:-1] for one in actions], changes, 1),
    }
    moving = sum((np.diff(one, axis=0) != 0).sum(axis=0) for one in actions)
    chosen = np.flatnonzero(np.asarray(moving) >= _MOVING).tolist()
    best = (_best(number, found, places) for number in chosen)
    return [one for one in best if one is not None]


def problems_of(found: Sequence[Lag], labels: Sequence[str]) -> list[str]:
    """Return a sentence if states show what was done before it was told."""
    early = [one for one in found if one.steps < 0]
    if not early:
        return []
    listed = ", ".join(f"{labels[one.action]} by {-one.steps}" for one in early[:4])
    more = f" and {len(early) - 4} more" if early[4:] else ""
    return [
        f"action: {len(early)} of {len(labels)} come after the state that they lead to ({listed}{more} steps); actions "
        "and observations may be recorded against each other"
    ]


def _best(action: int, found: dict[str, Array], places: Sequence[tuple[str, int]]) -> Lag | None:
    """Return what follows an action most closely."""
    peaks: list[tuple[float, str, int, int]] = []
    for kind, table in found.items():  # (shifts, actions, states)
        size = table[:, action] if kind == TARGET else np.abs(table[:, action])
        at, state = np.unravel_index(int(size.argmax()), size.shape)
        beside = size[[one for one in (at - 2, at + 2) if 0 <= one < len(size)], state].max()
        if 0 < at < len(size) - 1 and size[at, state] >= max(_CONVINCING, beside + _PEAK):
            peaks.append((float(size[at, state]), kind, int(at), int(state)))
    if not peaks:
        return None
    _, kind, at, state = max(peaks)
    key, dimension = places[state]
    return Lag(action, key, dimension, kind, at + _LEAST, float(found[kind][at, action, state]))


def _correlations(told: Sequence[Array], changes: Sequence[Array], ahead: int) -> Array:
    """Return (shifts, A, S): how rows of what was told go with changes that come so many steps later.

    Args:
        told: of each episode (T - 1, A): changes, or values.
        changes: of each episode (T - 1, S): row t is the change to observation t + 1.
        ahead: observations that row t of `told` lies before those changes; a change of action t to t + 1 has none.
    """
    mean, change = _centered(told), _centered(changes)
    shifts = range(_LEAST, _MOST + 1)
    table = np.zeros((len(shifts), mean[0].shape[1], change[0].shape[1]))
    for number, shift in enumerate(shifts):
        pairs = [_shifted(a, s, shift - ahead) for a, s in zip(mean, change, strict=True)]
        product = sum(a.T @ s for a, s in pairs)
        size = np.sqrt(np.outer(sum((a * a).sum(axis=0) for a, _ in pairs), sum((s * s).sum(axis=0) for _, s in pairs)))
        np.divide(product, size, out=table[number], where=size > 0)
    return table


def _shifted(a: Array, s: Array, shift: int) -> tuple[Array, Array]:
    """Return the rows t of one and t + shift of the other, as far as there are both."""
    count = max(0, len(a) - abs(shift))
    return (a[:count], s[len(s) - count :]) if shift >= 0 else (a[len(a) - count :], s[:count])


def _centered(parts: Sequence[Array]) -> list[Array]:
    middle = np.concatenate(parts).mean(axis=0)
    return [part - middle for part in parts]


def _spans(episodes: Episodes) -> list[slice]:
    """Return whole episodes, evenly spread, that are long enough to be shifted."""
    long = np.flatnonzero(episodes.lengths > 2)
    every = max(1, -(-int(episodes.lengths[long].sum()) // _ROWS))
    return list(_slices(episodes, long[::every]))


def _slices(episodes: Episodes, numbers: Array) -> Iterable[slice]:
    for number in numbers:
        start = int(episodes.starts[number])
        yield slice(start, min(int(episodes.ends[number]), start + _ROWS))


def _rows(value: Array, span: slice) -> Array:
    rows = np.asarray(value[span])
    return rows.reshape(len(rows), -1).astype(np.float64)
