"""What a reader found in a file, turned into `Episodes` without guessing an observation."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .episodes import Episodes
from .spec import Feature, Spec

Array = NDArray[Any]


@dataclass
class Recording:
    """Rows as they lie in a file; N rows in E episodes.

    Attributes:
        path: the file, for messages.
        observation: key -> (N, ...).
        final_observation: key -> (E, ...), observation after the last action, for the keys that have one.
        action: (N, A) float32.
        reward: (N,).
        terminated: (E,) bool, whether the task ended the episode rather than time or the recording.
        ends: (E,) exclusive.
        spec: None derives it from the arrays and `action_low`, `action_high`, `rate_hz`.
        success: (E,) bool or None.
        has_reward: False where `reward` only fills a gap in the file.
        infos: key -> (N, ...).
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

    def episodes(self) -> Episodes:
        """Return the checked episodes.

        Where the file lacks the observation after an episode's last action, a truncated episode gives up its
        last row, whose observation becomes the final one; a terminated episode keeps it, and its final
        observation repeats the last one, which no bootstrap reads.

        Raises:
            LaminarError: from the checks of `Episodes`.
        """
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
            reward=self.reward.astype(np.float32),
            terminated=terminated,
            truncated=truncated,
            ends=self.ends.astype(np.int64),
            spec=self.spec or self._derive_spec(),
            success=self.success,
            has_reward=self.has_reward,
            infos=self.infos,
            source=str(self.path),
            remarks=self.remarks,
        )

    def _close(self, unknown: list[str]) -> None:
        starts = np.concatenate([np.zeros(1, np.int64), self.ends[:-1]])
        last = self.ends - 1
        final = {key: value[last] for key, value in self.observation.items()}
        for key, value in self.final_observation.items():
            final[key][self.terminated] = value[self.terminated]
        kept_row = np.ones(len(self.action), np.bool_)
        kept_row[last[~self.terminated]] = False
        lengths = self.ends - starts - ~self.terminated
        kept = lengths > 0
        self._remark_closing(unknown, kept)
        self.final_observation = {key: value[kept] for key, value in final.items()}
        self.observation = {key: value[kept_row] for key, value in self.observation.items()}
        self.infos = {key: value[kept_row] for key, value in self.infos.items()}
        self.action, self.reward = self.action[kept_row], self.reward[kept_row]
        self.terminated, self.ends = self.terminated[kept], np.cumsum(lengths[kept])
        self.success = None if self.success is None else self.success[kept]

    def _remark_closing(self, unknown: list[str], kept: Array) -> None:
        names = ", ".join(f"'{key}'" for key in unknown)
        truncated, terminated = int((~self.terminated).sum()), int(self.terminated.sum())
        if truncated:
            self.remarks.append(
                f"the file lacks the observation {names} after the last action: the last row of {truncated} "
                "truncated episodes gives their final observation and is not a step"
            )
        if terminated:
            self.remarks.append(
                f"the file lacks the observation {names} after the last action: in {terminated} terminated "
                "episodes the last observation stands for the final one"
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
