"""What an evaluation found out about its environment, beside how well the policy did."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from ...envs.fitting import unseen_remark
from ...envs.limits import Clipping
from ...envs.step_cap import cap_remark


@dataclass(frozen=True)
class Starts:
    """Whether the seeds decide how episodes start, from the first observations of a few resets.

    Attributes:
        repeat: whether one seed gives one start; None: not tried.
        differ: whether seeds give starts that look different; None: not tried, or `repeat` is not true.
        seeds: that were tried.
        unlike: observation -> largest difference between two starts of one seed; of those that did not repeat.
        reason: why nothing was tried; "" where it was.
    """

    repeat: bool | None = None
    differ: bool | None = None
    seeds: tuple[int, ...] = ()
    unlike: dict[str, float] = field(default_factory=dict[str, float])
    reason: str = ""

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Starts:
        """Rebuild what `dataclasses.asdict` gave, after JSON."""
        seeds, unlike = tuple(stored["seeds"]), dict(stored["unlike"])
        return cls(stored["repeat"], stored["differ"], seeds, unlike, stored["reason"])

    @property
    def remark(self) -> str:
        """What a reader of the figures must know; "" where seeds do what they should."""
        if self.repeat is False:
            keys = ", ".join(f"'{key}' by up to {gap:.3g}" for key, gap in self.unlike.items())
            return (
                f"starts do not repeat: two resets with seed {self.seeds[0]} differ in {keys}; the same seeds will not "
                "give these episodes again, nor another policy the same starts"
            )
        if self.differ is False:
            return (
                f"starts look alike: what is shown at the start is equal for all {len(self.seeds)} seeds that were "
                "tried; the seed may decide what is not shown"
            )
        return ""


GIVEN = Starts(reason="every episode starts in a state that the protocol gives")


@dataclass(frozen=True)
class Findings:
    """What was found.

    Attributes:
        clipping: of the executed actions; None in records of before.
        starts: what seeds do; None in records of before.
        step_cap: control steps after which laminar stopped the episodes of an environment that names no limit.
        unseen: observations that the environment shows and the policy does not see.
    """

    clipping: Clipping | None = None
    starts: Starts | None = None
    step_cap: int | None = None
    unseen: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "clipped_actions": None if self.clipping is None else self.clipping.to_json(),
            "starts": None if self.starts is None else asdict(self.starts) | {"seeds": list(self.starts.seeds)},
            "step_cap": self.step_cap,
            "unseen_observations": list(self.unseen),
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Findings:
        """Rebuild what `to_json` wrote into a record; records of before have none of it."""
        clipped, starts = stored.get("clipped_actions"), stored.get("starts")
        return cls(
            None if clipped is None else Clipping.from_json(clipped),
            None if starts is None else Starts.from_json(starts),
            stored.get("step_cap"),
            tuple(stored.get("unseen_observations", ())),
        )

    def remarks(self, env_id: str, lengths: list[int]) -> list[str]:
        """Return what a reader of the figures must know.

        Args:
            env_id: environment, its arguments included.
            lengths: control steps of the episodes.
        """
        cut = 0 if self.step_cap is None else sum(length >= self.step_cap for length in lengths)
        clipped = self.clipping.text if self.clipping else ""
        found = [
            f"actions were clipped to the environment's limits in {clipped}" if clipped else "",
            cap_remark(env_id, self.step_cap, len(lengths), cut) if self.step_cap is not None and cut else "",
            self.starts.remark if self.starts else "",
            unseen_remark(env_id, self.unseen),
        ]
        return [remark for remark in found if remark]
