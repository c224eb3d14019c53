"""What a reader found in a file, turned into `Episodes` without guessing an observation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import LaminarError
from .columns import as_values, loses_steps
from .episodes import Episodes
from .on_disk import is_on_disk
from .spec import Feature, Spec

Array = NDArray[Any]
_ROUNDING = 1e-5  # of a column's range: what is written twice may be rounded twice
_SOME = 1000  # rows that tell a column's range


@dataclass
class Recording:
    """Rows as they lie in a file, of any numeric type; N rows in E episodes.

    Attributes:
        path: the file, for messages.
        observation: key -> (N, ...).
        final_observation: key -> (E, ...), observation after the last action, for the keys that have one.
        action: (N, A).
        reward: (N,).
        terminated: (E,) bool, whether the task ended the episode rather than time or the recording.
        ends: (E,) exclusive.
        spec: None derives it from the arrays and `action_low`, `action_high`, `rate_hz`.
        success: (E,) bool or None.
        has_reward: False where `reward` only fills a gap in the file.
        infos: key -> (N, ...).
        tasks: (E,) text, what each episode was to do, or None.
    """

    path: Path
    observation: dict[str, Array]
    final_observation: dict[str, Array]
    action: Array
    reward: Array
    terminated: Array
    ends: Array
    spec: Spec | None = None
    action_low: tuple[float, ...] | None = None
    action_high: tuple[float, ...] | None = None
    rate_hz: float | None = None
    success: Array | None = None
    has_reward: bool = True
    infos: dict[str, Array] = field(default_factory=lambda: {})
    remarks: list[str] = field(default_factory=lambda: [])
    tasks: Array | None = None

    def episodes(self) -> Episodes:
        """Return the checked episodes.

        Where the file lacks the observation after an episode's last action, a truncated episode gives up its
        last row, whose observation becomes the final one; a terminated episode keeps it, and its final
        observation repeats the last one, which no bootstrap reads. Without rewards nothing is bootstrapped, and
        every row is kept so.

        Numbers come in single precision, but for observations whose steps would be lost in it, see `as_values`.

        Raises:
            LaminarError: from the checks of `Episodes`; or actions that single precision would lose.
        """
        self._settle_types()
        unknown = [key for key in self.observation if key not in self.final_observation]
        if unknown and len(self.ends):
            self._close(unknown)
        rows = int(self.ends[-1]) if len(self.ends) else 0
        terminated, truncated = np.zeros(rows, np.bool_), np.zeros(rows, np.bool_)
        terminated[self.ends[self.terminated] - 1] = True
        truncated[self.ends[~self.terminated] - 1] = True
        return Episodes(
            observation=self.observation,
            final_observation=self.final_observation,
            action=self.action,
            reward=self.reward,
            terminated=terminated,
            truncated=truncated,
            ends=self.ends.astype(np.int64),
            spec=self.spec or self._derive_spec(),
            success=self.success,
            has_reward=self.has_reward,
            infos=self.infos,
            source=str(self.path),
            remarks=self.remarks,
            tasks=self.tasks,
        )

    def _settle_types(self) -> None:
        if loses_steps(self.action):
            raise LaminarError(
                f"{self.path}: actions of up to {np.abs(self.action).max():.9g} move in steps that single precision, "
                "in which policies act, would lose; record them relative to a point nearby"
            )
        self.action, self.reward = as_values(self.action), self.reward.astype(np.float32)
        raw, finals = self.observation, self.final_observation
        self.observation = {key: value if is_on_disk(value) else as_values(value) for key, value in raw.items()}
        for key, value in self.observation.items():
            if value.dtype == np.float64:
                self.remarks.append(f"observation '{key}' stays in double precision: single would lose its steps")
        types = {key: value.dtype for key, value in self.observation.items()}
        with np.errstate(over="ignore"):  # what is infinite then is refused by `Episodes`
            self.final_observation = {
                key: value if is_on_disk(value) or key not in types else value.astype(types[key])
                for key, value in finals.items()
            }

    def _close(self, unknown: list[str]) -> None:
        starts = np.concatenate([np.zeros(1, np.int64), self.ends[:-1]])
        last = self.ends - 1
        stands_in = self.terminated | (not self.has_reward)  # episodes whose last observation stands for the final one
        final = {key: value[last] for key, value in self.observation.items()}
        for key, value in self.final_observation.items():
            final[key][stands_in] = value[stands_in]
        kept_row = np.ones(len(self.action), np.bool_)
        kept_row[last[~stands_in]] = False
        lengths = self.ends - starts - ~stands_in
        kept = lengths > 0
        self._remark_closing(unknown, kept, stands_in)
        self.final_observation = {key: value[kept] for key, value in final.items()}
        self.observation = {key: value[kept_row] for key, value in self.observation.items()}
        self.infos = {key: value[kept_row] for key, value in self.infos.items()}
        self.action, self.reward = self.action[kept_row], self.reward[kept_row]
        self.terminated, self.ends = self.terminated[kept], np.cumsum(lengths[kept])
        self.success = None if self.success is None else self.success[kept]
        self.tasks = None if self.tasks is None else self.tasks[kept]

    def _remark_closing(self, unknown: list[str], kept: Array, stands_in: Array) -> None:
        names = ", ".join(f"'{key}'" for key in unknown)
        given_up, standing = int((~stands_in).sum()), int(stands_in.sum())
        if given_up:
            self.remarks.append(
                f"the file lacks the observation {names} after the last action: the last row of {given_up} "
                "truncated episodes gives their final observation and is not a step"
            )
        if standing:
            which = "terminated episodes" if self.has_reward else "episodes without rewards"
            self.remarks.append(
                f"the file lacks the observation {names} after the last action: in {standing} {which} the last "
                "observation stands for the final one"
            )
        if not kept.all():
            self.remarks.append(
                f"{int((~kept).sum())} truncated episodes of a single row have no step and are left out"
            )

    def _derive_spec(self) -> Spec:
        observation = {
            key: Feature(tuple(value.shape[1:]), str(value.dtype)) for key, value in self.observation.items()
        }
        action = Feature(tuple(self.action.shape[1:]))
        return Spec(observation, action, self.action_low, self.action_high, rate_hz=self.rate_hz)

    def assume_unit_limits(self, convention: str) -> None:
        """Take action limits [-1, 1] where a layout prescribes them and the data keep to them."""
        reach = float(np.abs(self.action).max(initial=0.0))
        if not reach <= 1.0 + 1e-5:
            self.remarks.append(f"actions reach {reach:.4g}, beyond the [-1, 1] of {convention}: no limits are assumed")
            return
        width = self.action.shape[1]
        self.action_low, self.action_high = (-1.0,) * width, (1.0,) * width
        self.remarks.append(f"action limits taken as [-1, 1], as {convention} has them")


def success_by_flag(flags: Array, ends: Array) -> Array:
    """Return (E,) bool, whether the (N,) flag was raised at any step of each episode."""
    starts = np.concatenate([np.zeros(1, np.int64), ends[:-1]])
    return np.logical_or.reduceat(flags.astype(np.bool_), starts)


def jumps(observation: Mapping[str, Array], following: Mapping[str, Array]) -> Array:
    """Return (N,) bool: a row's own next observation is not what the next row begins with, beyond rounding.

    Args:
        observation: key -> (N, ...).
        following: key -> (N, ...), the next observation that each row states, for some of the keys.
    """
    found = np.zeros(len(next(iter(observation.values()))), np.bool_)
    for key, value in following.items():
        found[:-1] |= _differ(value[:-1], observation[key][1:])
    return found


def _differ(a: Array, b: Array) -> Array:
    """Return (N,) bool, whether two arrays (N, ...) differ in a row by more than rounding."""
    found = np.zeros(len(a), np.bool_)
    if not a.size:
        return found
    a, b = a.reshape(len(a), -1), b.reshape(len(b), -1)
    rows = np.unique(np.flatnonzero(a != b) // a.shape[1])
    if a.dtype.kind == "f" and len(rows):
        some = np.concatenate([b[:: 1 + len(b) // _SOME], b[rows]])
        some = some if b.dtype.kind == "f" else some.astype(a.dtype)  # numbers beside flags or counts
        coarse = np.float32 if np.float32 in (a.dtype, b.dtype) else some.dtype
        with np.errstate(invalid="ignore"):  # what is not finite is no gap: `Episodes` refuses it, naming the row
            digit = np.spacing(np.abs(some).max(axis=0).astype(coarse))
            tolerance = np.maximum(_ROUNDING * (some.max(axis=0) - some.min(axis=0)), 2 * digit)
            rows = rows[(np.abs(a[rows].astype(np.float64) - b[rows]) > tolerance).any(axis=1)]
    found[rows] = True
    return found
