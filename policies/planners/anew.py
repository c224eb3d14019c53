"""A saved planner that acts otherwise than it was trained to: choices of acting, which evaluations make anew."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from ...errors import LaminarError
from ...settings import check, choice, number
from ..policy import Policy
from .config import CONTROLLERS, PlannerConfig
from .following import check_following
from .planner import PlanningPolicy
from .refinement import check_lasts


@dataclass(frozen=True)
class Anew:
    """What is chosen anew; None leaves it as it was saved.

    Attributes:
        controller: how plans are followed, see `config.Following`.
        replan: control steps until the next plan; 0 makes one an episode.
        warm_start: last steps of the process that the plan of before goes through; 0 begins with noise.
        draft_steps: last steps of the process that a draft goes through; 0 leaves drafts out.
        track_return: what is still asked for falls by the rewards that are got.
        target_return: that is asked for, raw.
        execute: actions of a chunk that are executed.
    """

    controller: str | None = choice(None, *CONTROLLERS, null=True)
    replan: int | None = number(None, least=0, null=True)
    warm_start: int | None = number(None, least=0, null=True)
    draft_steps: int | None = number(None, least=0, null=True)
    track_return: bool | None = None
    target_return: float | None = number(None, null=True)
    execute: int | None = number(None, least=1, null=True)

    def __post_init__(self) -> None:
        """Refuse what makes no sense by itself.

        Raises:
            LaminarError: names the setting.
        """
        check(self, "plan")

    @classmethod
    def of(cls, settings: Any) -> Anew | None:
        """Return what an object's attributes of the same names choose anew; None where that is nothing."""
        found = cls(**{one.name: getattr(settings, one.name) for one in fields(cls)})
        return found if found.to_json() else None

    def to_json(self) -> dict[str, Any]:
        """Return what is chosen anew, by name."""
        return {name: value for name, value in vars(self).items() if value is not None}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any] | None) -> Anew | None:
        """Rebuild what `to_json` wrote; records of before, and of other policies, have none."""
        return cls(**stored) if stored else None

    def applied(self, config: PlannerConfig) -> PlannerConfig:
        """Return the settings of a planner that acts so."""
        chosen = self.to_json()
        own = {name: chosen.pop(name) for name in ("target_return", "execute") if name in chosen}
        if chosen.get("warm_start") == 0:
            chosen["warm_start"] = None
        if "draft_steps" in chosen:
            own["draft"] = replace(config.draft, steps=chosen.pop("draft_steps"))
        return replace(config, **own, follow=replace(config.follow, **chosen))


def acting_anew(policy: Policy, anew: Anew) -> PlanningPolicy:
    """Return a planner, of the same weights, that acts as told.

    Raises:
        LaminarError: the policy is no planner, or one that cannot act so.
    """
    if not isinstance(policy, PlanningPolicy):
        chosen = ", ".join(f"plan.{name}" for name in anew.to_json())
        raise LaminarError(f"{chosen}: this policy makes no plans that could be followed otherwise; leave it out")
    if anew.target_return is not None and not policy.layout.returns:
        raise LaminarError("plan.target_return is for plans that are conditioned on their return; leave it out")
    if anew.draft_steps is not None and policy.plans.drafter is None:
        raise LaminarError("plan.draft_steps is for plans that begin with a draft; leave it out")
    found = policy.configured(anew.applied(policy.planner_config))
    check_lasts(found.plans.process, found.planner_config)
    if found.remembers:
        check_following(found)
    return found
