"""What a policy promises and a robot checks: keys, shapes, units, limits, rates."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ..errors import LaminarError, nearest


def joined(tree: Mapping[Any, Any], prefix: str = "") -> dict[str, Any]:
    """Return dictionaries in a dictionary as one, with keys like "arm/joints": those of recordings and environments.

    Raises:
        LaminarError: two come to the same key.
    """
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        inside = joined(value, f"{prefix}{key}/") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
        twice = sorted(flat.keys() & inside.keys())
        if twice:
            raise LaminarError(f"observation '{twice[0]}' is there twice; give each a key of its own")
        flat |= inside
    return flat


@dataclass(frozen=True)
class Feature:
    """One named array at one time step: `shape` without batch or time, numpy `dtype` name, physical `unit`."""

    shape: tuple[int, ...]
    dtype: str = "float32"
    unit: str = ""
    names: tuple[str, ...] = ()

    @property
    def width(self) -> int:
        """Number of scalars in one time step."""
        width = 1
        for size in self.shape:
            width *= size
        return width

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Feature:
        """Rebuild a feature from `dataclasses.asdict` that went through JSON (lists become tuples)."""
        return cls(tuple(stored["shape"]), stored["dtype"], stored["unit"], tuple(stored["names"]))


@dataclass(frozen=True)
class Spec:
    """The contract between data, policy, environment and robot.

    Attributes:
        observation: key -> feature, in the order in which encoders concatenate the keys.
        action: one action; its shape is ``(A,)``.
        action_low: lower limit per action dimension in raw units, or None when unbounded.
        action_high: upper limit per action dimension in raw units, or None when unbounded.
        history: number of observations a policy sees, the current one included.
        chunk: number of consecutive actions a policy predicts, the first for the current observation.
        rate_hz: control rate, None when unknown.
        execute: actions of a chunk that are executed before planning again.
        ensemble: decay of temporal ensembling, which plans at every step; None executes chunks open loop.
    """

    observation: dict[str, Feature]
    action: Feature
    action_low: tuple[float, ...] | None = None
    action_high: tuple[float, ...] | None = None
    history: int = 1
    chunk: int = 1
    rate_hz: float | None = None
    execute: int = 1
    ensemble: float | None = None

    def __post_init__(self) -> None:
        """Check that the numbers make sense together.

        Raises:
            LaminarError: names the field and its value.
        """
        if (self.action_low is None) != (self.action_high is None):
            raise LaminarError("a spec has one action limit without the other; give both or none")
        if self.action_low is not None and self.action_high is not None:
            if not len(self.action_low) == len(self.action_high) == self.action_dim:
                raise LaminarError(
                    f"a spec has {len(self.action_low)} lower and {len(self.action_high)} upper action limits for "
                    f"{self.action_dim} actions"
                )
            if not all(low <= high for low, high in zip(self.action_low, self.action_high, strict=True)):
                raise LaminarError(
                    f"a spec's action limits are inverted, or no numbers: {self.action_low} to {self.action_high}"
                )
        if self.history < 1 or self.chunk < 1:
            raise LaminarError(f"a spec needs history and chunk of at least 1, got {self.history} and {self.chunk}")
        if self.rate_hz is not None and not 0 < self.rate_hz < math.inf:
            raise LaminarError(f"a spec's control rate must be above 0 Hz and finite, got {self.rate_hz}")

    @property
    def action_dim(self) -> int:
        """Width of one action."""
        return self.action.width

    @property
    def action_labels(self) -> tuple[str, ...]:
        """A name for each number of an action; "action[0]", "action[1]", … where they have none, or some are alike."""
        names = self.action.names
        plain = len(names) == self.action_dim == len(set(names)) and all(names)
        return names if plain else tuple(f"action[{index}]" for index in range(self.action_dim))

    def to_json(self) -> dict[str, Any]:
        """Return plain dictionaries, lists and numbers."""
        return asdict(self)

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Spec:
        """Rebuild a Spec written by `to_json`."""
        low, high = stored["action_low"], stored["action_high"]
        return cls(
            observation={key: Feature.from_json(feature) for key, feature in stored["observation"].items()},
            action=Feature.from_json(stored["action"]),
            action_low=None if low is None else tuple(low),
            action_high=None if high is None else tuple(high),
            history=stored["history"],
            chunk=stored["chunk"],
            rate_hz=stored["rate_hz"],
            # Absent in files of before: the policy's own settings say the same.
            execute=stored.get("execute", 1),
            ensemble=stored.get("ensemble"),
        )

    def check_compatible(self, other: Spec, mine: str = "the policy", theirs: str = "the environment") -> None:
        """Raise unless observations and actions of both specs are the same arrays.

        History, chunk, its execution and limits belong to the policy alone and are not compared.

        Raises:
            LaminarError: names the first key that differs, with both shapes.
        """
        for key, feature in self.observation.items():
            if key not in other.observation:
                hint = nearest(key, other.observation)
                raise LaminarError(
                    f"{mine} needs observation '{key}', which {theirs} lacks (it has {sorted(other.observation)}){hint}"
                )
            _check_feature(f"observation '{key}'", feature, other.observation[key], mine, theirs)
        extra = sorted(set(other.observation) - set(self.observation))
        if extra:
            raise LaminarError(f"{theirs} gives observations {extra} that {mine} was not trained on")
        _check_feature("action", self.action, other.action, mine, theirs)
        if self.rate_hz and other.rate_hz and abs(self.rate_hz - other.rate_hz) > 0.01 * self.rate_hz:
            raise LaminarError(
                f"control rate differs: {mine} runs at {self.rate_hz:g} Hz, {theirs} at {other.rate_hz:g} Hz; "
                "use the environment or data of the same rate"
            )


def _check_feature(what: str, a: Feature, b: Feature, mine: str, theirs: str) -> None:
    if a.shape != b.shape:
        raise LaminarError(f"{what} has shape {a.shape} for {mine} but {b.shape} for {theirs}")
    if a.unit and b.unit and a.unit != b.unit:
        raise LaminarError(
            f"{what} is '{a.unit}' for {mine} but '{b.unit}' for {theirs}; choose data, environment and settings that "
            "agree on it"
        )
