"""The limits of an environment's actions: what is executed is clipped to them, counted and told.

A simulator may do anything with an action outside of its space: clip it, refuse it, or charge for it. D4RL's own
environments, Stable-Baselines3 and others clip before the step, so this is what scores are measured with.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

Array = NDArray[Any]
_ROUNDING = 1e-6  # of a limit: float32 has seven digits, and what exceeds by the last one is not told
_NAMED = 3  # dimensions that a sentence names, the rest is in eval.json


@dataclass(frozen=True)
class Clipped:
    """One dimension of the actions that were cut.

    Attributes:
        low, high: its limits; infinite where there is none.
        steps: control steps in which it was cut.
        lowest, highest: the farthest that was asked for.
        name: of the dimension, where the environment tells it.
    """

    low: float
    high: float
    steps: int
    lowest: float
    highest: float
    name: str = ""

    def joined(self, other: Clipped) -> Clipped:
        """Return what happened here and there together."""
        reach = min(self.lowest, other.lowest), max(self.highest, other.highest)
        return Clipped(self.low, self.high, self.steps + other.steps, *reach, self.name)

    def text(self, dimension: int, steps: int) -> str:
        """Return for example ``0 (x) in 12 %, up to 0.93 where 0.4 is the limit``."""
        reach = [f"down to {self.lowest:.4g} where {self.low:.4g} is the limit"] if self.lowest < self.low else []
        reach += [f"up to {self.highest:.4g} where {self.high:.4g} is the limit"] if self.highest > self.high else []
        name = f" ({self.name})" if self.name else ""
        return f"{dimension}{name} in {percent(self.steps, steps)}, {' and '.join(reach)}"


@dataclass
class Clipping:
    """How much of what was to be executed an environment's limits cut off.

    Attributes:
        steps: executed control steps.
        clipped: those in which a number of the action was cut.
        dimensions: number of the dimension -> what was cut of it, only those that were.
    """

    steps: int = 0
    clipped: int = 0
    dimensions: dict[int, Clipped] = field(default_factory=dict[int, Clipped])

    def add(self, other: Clipping) -> None:
        """Count what happened elsewhere too, in another process for example."""
        self.steps += other.steps
        self.clipped += other.clipped
        for index, more in other.dimensions.items():
            here = self.dimensions.get(index)
            self.dimensions[index] = more if here is None else here.joined(more)

    def to_json(self) -> dict[str, Any]:
        """Return plain numbers; a dimension that has no lower or upper limit has null there."""
        rows = [
            {"dimension": index, "name": one.name, "low": _finite(one.low), "high": _finite(one.high)}
            | {"steps": one.steps, "share": one.steps / self.steps, "lowest": one.lowest, "highest": one.highest}
            for index, one in sorted(self.dimensions.items())
        ]
        share = self.clipped / self.steps if self.steps else 0.0
        return {"steps": self.steps, "clipped_steps": self.clipped, "share": share, "dimensions": rows}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Clipping:
        """Rebuild what `to_json` wrote."""
        dimensions = {
            row["dimension"]: Clipped(
                -np.inf if row["low"] is None else row["low"],
                np.inf if row["high"] is None else row["high"],
                *(row[name] for name in ("steps", "lowest", "highest", "name")),
            )
            for row in stored["dimensions"]
        }
        return cls(stored["steps"], stored["clipped_steps"], dimensions)

    @property
    def text(self) -> str:
        """What was cut: share, then dimensions, the one that was cut most first; "" where nothing was."""
        if not self.clipped:
            return ""
        worst = sorted(self.dimensions.items(), key=lambda item: -item[1].steps)
        told = "; ".join(one.text(index, self.steps) for index, one in worst[:_NAMED])
        more = f"; and {len(worst) - _NAMED} more dimensions" if len(worst) > _NAMED else ""
        return f"{percent(self.clipped, self.steps)} of {self.steps} steps, dimension {told}{more}"


class ActionLimits:
    """Clips chunks to an environment's action space; counts in `clipping`.

    Attributes:
        low, high: (A,) float32, infinite where there is no limit.
        bounded: whether there is any.
        clipping: what was cut of the executed actions so far.
    """

    def __init__(self, space: spaces.Box, names: Sequence[str] = ()) -> None:
        """Take the limits of a `space` of vectors (A,), whose numbers may have `names`."""
        self._names = tuple(names)
        low, high = np.asarray(space.low, np.float64), np.asarray(space.high, np.float64)
        self.low, self.high = _inside(low, high)
        self.bounded = bool(np.isfinite(low).any() or np.isfinite(high).any())
        with np.errstate(over="ignore"):  # as in `_single`
            self._least = _single(low - _ROUNDING * np.abs(np.where(np.isfinite(low), low, 0.0)))
            self._most = _single(high + _ROUNDING * np.abs(np.where(np.isfinite(high), high, 0.0)))
        self.clipping = Clipping()

    def clip(self, chunks: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return a copy of chunks (B, H, A) within the limits; nothing is counted before it is executed."""
        # np.clip takes four times as long for small arrays
        return np.minimum(np.maximum(chunks, self.low), self.high) if self.bounded else chunks.copy()

    def count(self, asked: Array, clipped: Array, slots: Iterable[int], steps: NDArray[np.int64]) -> None:
        """Count what was cut of the steps (B,) that some slots executed of their chunks (B, H, A)."""
        if self.bounded and asked.tobytes() != clipped.tobytes():
            rows = [asked[slot, : steps[slot]] for slot in slots]
            self.clipping.add(self.beyond(np.concatenate([asked[:0, 0], *rows])))
        else:
            self.clipping.steps += sum(steps.tolist())  # quicker than an array's sum for a few slots

    def beyond(self, actions: Array) -> Clipping:
        """Return what is cut of actions (N, A)."""
        below, above = actions < self._least, actions > self._most
        cut = below | above
        found = Clipping(len(actions), int(cut.any(axis=1).sum()))
        for index in np.flatnonzero(cut.any(axis=0)).tolist():
            column = actions[:, index]
            limits = float(self.low[index]), float(self.high[index])
            reach = float(column.min()), float(column.max())
            name = self._names[index] if index < len(self._names) else ""
            found.dimensions[index] = Clipped(*limits, int(cut[:, index].sum()), *reach, name)
        return found


class ClipActions(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Clips actions to the space, as D4RL's own environments do; the space stays as it is."""

    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        """Wrap an environment whose actions are vectors."""
        super().__init__(env)
        space: Any = env.action_space
        self._low, self._high = space.low, space.high

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Advance one step with the clipped action."""
        return self.env.step(np.minimum(np.maximum(action, self._low), self._high))


def stepped(env: gymnasium.Env[Any, Any]) -> gymnasium.Env[Any, Any]:
    """Return what to step with actions that are clipped already."""
    return env.env if isinstance(env, ClipActions) else env


def percent(part: int, whole: int) -> str:
    """Return for example ``12 %``; less than one of a hundred is not called none."""
    share = 100 * part / whole
    return f"{share:.0f} %" if share >= 1 or not part else f"{share:.1g} %"


def _inside(low: Array, high: Array) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return limits in float32 that are inside of those of an environment that counts in float64."""
    lower, upper = _single(low), _single(high)
    inner_low = np.where(lower < low, np.nextafter(lower, np.float32(np.inf)), lower)
    inner_high = np.where(upper > high, np.nextafter(upper, np.float32(-np.inf)), upper)
    crossed = inner_low > inner_high  # a dimension that is fixed
    return np.where(crossed, lower, inner_low), np.where(crossed, upper, inner_high)


def _single(limits: Array) -> NDArray[np.float32]:
    """Return limits in float32; one beyond the largest number there is becomes infinite, as nothing exceeds it."""
    with np.errstate(over="ignore"):
        return limits.astype(np.float32)


def _finite(limit: float) -> float | None:
    return limit if np.isfinite(limit) else None
