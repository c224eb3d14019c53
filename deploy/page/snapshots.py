"""A run in plain values, as the page shows it: read beside the control loop, which knows nothing of it."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...data.robots.aligning import messages
from ...data.robots.description import Camera
from ...data.robots.observing import measured_pose
from ...errors import LaminarError
from ..commands import limits_of
from ..controller import Controller
from ..episodes import Episode
from ..operator import Operator
from ..pace import Pace
from ..supervisor import State

_LINES = 12  # of the log
_RATED = 10  # snapshots that the rate is a mean of
_SUMMED = 500  # values that quantiles are of
_MARKS = 200  # outcomes of episodes that are shown


@dataclass(frozen=True)
class Watched:
    """What is shown.

    Attributes:
        controller: that runs.
        operator: of its episodes.
        pace: of its control periods.
        done: episodes so far; grows.
        episodes: that there will be.
        inference: seconds of each chunk; grows.
        clock: seconds, the supervisor's.
    """

    controller: Controller
    operator: Operator
    pace: Pace
    done: Sequence[Episode]
    episodes: int
    inference: Sequence[float]
    clock: Callable[[], float] = time.monotonic


class Snapshots:
    """Takes snapshots; called from one thread."""

    def __init__(self, watched: Watched) -> None:
        """Know what is there."""
        self._watched = watched
        self._since1970 = time.time() - watched.clock()
        self._read = 0  # changes of state
        self._log: deque[dict[str, Any]] = deque(maxlen=_LINES)
        self._begun = self._since1970 + watched.clock()
        self._periods: deque[tuple[float, int]] = deque(maxlen=_RATED)
        pace, counts = watched.pace, watched.controller.counts
        self._series = {
            "inference": _Series(watched.inference),
            "sight": _Series(counts.latencies),
            "late": _Series(pace.late),
        }

    def about(self) -> dict[str, Any]:
        """Return what does not change: the robot, its numbers with their limits, its cameras."""
        robot = self._watched.controller.robot
        limits = limits_of(robot)
        return {
            "robot": robot.name,
            "rate": robot.rate_hz,
            "episodes": self._watched.episodes,
            "judged": not robot.success,
            "unit": robot.units.get("action", ""),
            "numbers": [
                {"name": name, "low": _plain(low), "high": _plain(high)}
                for name, low, high in zip(robot.action_names, limits.low, limits.high, strict=True)
            ],
            "cameras": [key for key, shown in robot.observation.items() if isinstance(shown, Camera)],
        }

    def take(self) -> dict[str, Any]:
        """Return what is so now."""
        watched = self._watched
        controller, person, now = watched.controller, watched.operator.person, watched.clock()
        state = controller.supervisor.state
        self._follow()
        return {
            "state": state.value,
            "reason": self._reason,
            "told": "" if watched.operator.told is None else watched.operator.told.words,
            "paused": controller.supervisor.paused,
            "wanted": person.wanted if state in (State.IDLE, State.ESTOP) else "",
            "since": self._begun,
            "now": self._since1970 + now,
            "rate": self._rate(state, now),
            "missed": watched.pace.missed / max(len(watched.pace.late) + watched.pace.missed, 1),
            "commands": controller.counts.commands,
            "dropped": controller.counts.dropped,
            "times": {name: series.told() for name, series in self._series.items()},
            "command": _numbers(controller.command),
            "measured": self._measured(),
            "episode": len(watched.done),
            "outcomes": [episode.success for episode in watched.done[-_MARKS:]],
            "successes": sum(bool(episode.success) for episode in watched.done),
            "judged": sum(episode.success is not None for episode in watched.done),
            "log": list(self._log),
        }

    def _follow(self) -> None:
        """Read what the supervisor has noted; a hold for another reason is the same hold."""
        changes = self._watched.controller.supervisor.log[self._read :]
        self._read += len(changes)
        for change in changes:
            if change.before is not change.after or not self._log:
                self._begun = self._since1970 + change.time
                self._log.append({"time": self._begun, "before": change.before.value, "after": change.after.value})
            self._log[-1]["reason"] = change.reason

    @property
    def _reason(self) -> str:
        return self._log[-1]["reason"] if self._log else "nothing has begun"

    def _rate(self, state: State, now: float) -> float | None:
        """Return control periods a second; None while there are none."""
        if state in (State.IDLE, State.ESTOP):
            self._periods.clear()
            return None
        self._periods.append((now, len(self._watched.pace.late)))
        (begin, before), (end, after) = self._periods[0], self._periods[-1]
        return (after - before) / (end - begin) if end > begin else None

    def _measured(self) -> list[float | None] | None:
        """Return where the robot is, of the numbers that are positions; None before it was seen."""
        controller = self._watched.controller
        robot, newest = controller.robot, controller.perception.sources.newest()
        if len(newest) < len(controller.perception.sources.topics):
            return None
        try:
            pose = measured_pose(robot, messages(newest), controller.command)
        except LaminarError:  # the controller holds for that, and says why
            return None
        seen = [output.positions for output in robot.action for _ in output.names]
        return [value if there else None for value, there in zip(_numbers(pose) or [], seen, strict=True)]


class _Series:
    """Seconds that grow in number, in milliseconds."""

    def __init__(self, seconds: Sequence[float]) -> None:
        self._seconds, self._read = seconds, 0

    def told(self) -> dict[str, float | None]:
        """Return the worst since the last call, and quantiles of the last ones."""
        count = len(self._seconds)
        new, last = self._seconds[self._read : count], self._seconds[max(0, count - _SUMMED) : count]
        self._read = count
        p50, p99 = np.quantile(last, (0.5, 0.99)) if last else (math.nan, math.nan)
        return {
            name: _plain(1e3 * value)
            for name, value in (("new", max(new, default=math.nan)), ("p50", p50), ("p99", p99))
        }


def _numbers(values: Any) -> list[float | None] | None:
    return None if values is None else [_plain(value) for value in values]


def _plain(value: float) -> float | None:
    """Return a number as JSON has it: four digits, and None for what is not finite."""
    return float(f"{value:.4g}") if math.isfinite(value) else None
