"""An actor that keeps whole plans: follows them step by step, makes the next one of the last, counts what it got.

A policy of plans is a pure map like any other, and its chunks are the first actions of a plan. What is here needs to
remember more: `Following` says what.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...errors import LaminarError
from ..acting import Actor, Decision
from ..chunks import Mask
from ..observations import Windows
from .layout import RETURN, Layout
from .planner import PlanningPolicy, acting_by
from .refinement import check_lasts
from .waypoints import AHEAD, force

LEAST_RETURN = 1 / 3
"""Share of the target below which what is asked for does not fall, as in Trajectory Diffuser's code."""


@dataclass(frozen=True)
class PlanDecision(Decision):
    """A decision with the whole plans: tokens (P, T, W), raw units, and what their numbers are."""

    tokens: Tensor
    layout: Layout

    @property
    def foreseen(self) -> dict[str, Tensor]:
        """Key -> (P, T, ...) what is to be seen, the present moment first."""
        return self.layout.foreseen(self.tokens)


class ChunkActor(Actor):
    """Acts for B slots by the first actions of plans, and says which plans these are of.

    Attributes:
        policy: a planner.
    """

    policy: PlanningPolicy

    @torch.no_grad()
    def plan(self, windows: Windows, slots: Mask, noise: Tensor | None = None) -> PlanDecision:
        """Make the plans of some slots; changes nothing."""
        seen, start = self._asked_by(windows, slots, noise)
        tokens = self.policy.plan(seen, start, self.generator).best()
        where = next(iter(seen.values())).device
        acted = self.policy.acted(tokens)
        return PlanDecision(slots, seen, start, acted.to(where), tokens.to(where), self.policy.layout)


class PlanningActor(Actor):
    """Acts for B slots by plans that it keeps.

    Attributes:
        policy: a planner, whose `planner_config.follow` says how.
    """

    policy: PlanningPolicy

    def __init__(self, policy: PlanningPolicy, generator: torch.Generator | None = None) -> None:
        """Act as the planner's settings say.

        Raises:
            LaminarError: a way to follow that its plans do not allow.
        """
        super().__init__(policy, generator)
        self._follow, self._layout = policy.planner_config.follow, policy.layout
        check_following(policy)
        self._tokens: Tensor | None = None  # (B, T, W) plans that are followed, raw
        self._asked: Tensor | None = None  # (B,) returns that are still asked for, raw
        self._age: Any = None  # (B,) control steps since a slot's plan was made; -1: it has none
        self._seen = Windows()

    def observe(self, obs: Any) -> Windows:
        """Append an observation, see `Actor.observe`."""
        self._seen = super().observe(obs)
        if self._age is None:
            self._age = np.full(self._history.slots, -1)
            self._asked = self.policy.target_return.cpu().expand(self._history.slots).clone()
        return self._seen

    def due(self) -> Mask:
        """(B,) which slots need a new plan before the next `pop`."""
        every = self.policy.spec.execute if self._follow.replan is None else self._follow.replan
        return (self._age < 0) | ((self._age >= every) & (every > 0))

    @torch.no_grad()
    def plan(self, windows: Windows, slots: Mask, noise: Tensor | None = None) -> PlanDecision:
        """Make the plans of some slots; changes nothing."""
        rows = torch.from_numpy(np.flatnonzero(slots))
        seen = windows.rows(rows)
        told = self.policy.windows(seen)
        if self._follow.track_return and self._asked is not None:
            told |= {RETURN: self._asked[rows].to(self._device)[:, None, None]}
        given = None if noise is None else torch.as_tensor(noise, dtype=torch.float32)[rows]
        start = self.policy.noise_for(told, given, self.generator)
        tokens = self._made(self.policy.encode(told), start, slots)
        where = next(iter(seen.values())).device
        return PlanDecision(slots, seen, start, self.policy.acted(tokens).to(where), tokens.to(where), self._layout)

    def _made(self, cond: Tensor, noise: Tensor, slots: Mask) -> Tensor:
        """Return plans (P, T, W): made of the last ones where that is asked for, and a slot has one."""
        steps = self._follow.warm_start
        if steps is None or self._tokens is None or (self._age[slots] < 0).all():
            return self.policy.planned(cond, noise, self.generator).best()
        age = torch.from_numpy(self._age[slots])
        before = self._shifted(self._tokens[torch.from_numpy(np.flatnonzero(slots))], age).to(cond.device)
        warm = self.policy.replanned(cond, noise, before, steps).best()
        fresh = (age < 0).to(cond.device)
        if not fresh.any():
            return warm
        return torch.where(fresh[:, None, None], self.policy.planned(cond, noise).best(), warm)

    def _shifted(self, tokens: Tensor, age: Tensor) -> Tensor:
        """Return plans (P, T, W) as they go on after (P,) control steps; at their end they stay."""
        at = torch.arange(self._layout.horizon) + age[:, None] / self._layout.stride
        return interpolated(tokens, at)

    def take(self, decision: Decision) -> None:
        """Follow the plans of a decision from now on."""
        assert isinstance(decision, PlanDecision)
        if self._tokens is None or len(self._tokens) != len(decision.slots):
            self._tokens = decision.tokens.new_zeros(len(decision.slots), *decision.tokens.shape[1:])
            self._chunks = decision.chunk.new_zeros(len(decision.slots), *decision.chunk.shape[1:])
        rows = torch.from_numpy(np.flatnonzero(decision.slots))
        self._tokens = self._tokens.index_copy(0, rows, decision.tokens)
        self._chunks = self._chunks.index_copy(0, rows, decision.chunk)
        self._age[decision.slots] = 0

    @torch.no_grad()
    def pop(self) -> Tensor:
        """(B, A) actions of this moment; every slot must have a plan.

        Raises:
            LaminarError: one has none, or its chunk is used up.
        """
        if self._tokens is None or (self._age < 0).any():
            raise LaminarError("a slot has no plan: decide, or take a decision, before you pop")
        age = torch.from_numpy(self._age)
        actions = self._chunk_actions(age) if self._follow.controller == "chunk" else self._towards(age)
        self._age = self._age + 1
        return actions

    def _chunk_actions(self, age: Tensor) -> Tensor:
        if int(age.max()) >= self._chunks.shape[1]:
            raise LaminarError(
                f"a chunk of {self._chunks.shape[1]} actions is used up; choose plan.replan of at most that, or train "
                "with a longer policy.chunk"
            )
        return self._chunks[torch.arange(len(age)), age]

    def _towards(self, age: Tensor) -> Tensor:
        """Return what leads from where the slots are to where their plans are next."""
        policy, layout = self.policy, self._layout
        state = torch.cat([self._seen[key][:, -1].flatten(1).float() for key in layout.shapes], dim=1)
        ahead = AHEAD if self._follow.controller == "waypoints" else layout.stride
        target = layout.states(interpolated(self._tokens_now, ((age + ahead) / layout.stride)[:, None]))[:, 0]
        if self._follow.controller == "waypoints":
            low, high = (limit.to(state.device) for limit in policy.action_limits)
            return force(state, target).clamp(low, high)
        return policy.between(state.to(policy.device), target.to(policy.device))[:, 0].to(state.device)

    @property
    def _tokens_now(self) -> Tensor:
        assert self._tokens is not None
        return self._tokens

    def rewarded(self, reward: Any, slots: Any) -> None:
        """Ask for what is left of the return: R becomes (R - r) / discount, not less than a third of the target."""
        if self._asked is None or not self._follow.track_return:
            return
        got = torch.as_tensor(np.asarray(reward), dtype=torch.float32)
        target, rows = float(self.policy.target_return), torch.as_tensor(list(slots))
        left = (self._asked[rows] - got[rows]) / self.policy.planner_config.discount
        least = min(LEAST_RETURN * target, target)
        self._asked = self._asked.index_copy(0, rows, left.clamp(min=least))

    def state(self) -> dict[str, Tensor]:
        """Return history, plans and returns, for `load_state`."""
        found = {f"history.{name}": value for name, value in self._history.state().items()}
        if self._age is not None and self._asked is not None:
            found |= {"planning.age": torch.from_numpy(self._age.copy()), "planning.asked": self._asked}
        if self._tokens is not None:
            found |= {"planning.tokens": self._tokens, "planning.chunks": self._chunks}
        return found

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what `state` returned."""
        history = {k.removeprefix("history."): v for k, v in state.items() if k.startswith("history.")}
        self._history.load_state(history)
        self._age = state["planning.age"].numpy().copy() if "planning.age" in state else None
        self._asked, self._tokens = state.get("planning.asked"), state.get("planning.tokens")
        if "planning.chunks" in state:
            self._chunks = state["planning.chunks"]

    def reset(self, mask: Any = None) -> None:
        """Forget history and plan of the slots in `mask` (B,) bool, or of all; call it when an episode starts."""
        super().reset(mask)
        if mask is None or self._age is None:
            self._age, self._asked, self._tokens = None, None, None
            return
        slots = np.asarray(mask.cpu() if isinstance(mask, Tensor) else mask).reshape(-1)
        self._age = np.where(slots, -1, self._age)
        fresh = self.policy.target_return.cpu().expand(len(slots))
        assert self._asked is not None
        self._asked = torch.where(torch.from_numpy(slots), fresh, self._asked)


def interpolated(tokens: Tensor, at: Tensor) -> Tensor:
    """Return plans (B, T, W) at times (B, n), counted in tokens; beyond their end they stay there: (B, n, W)."""
    last = tokens.shape[1] - 1
    at = at.to(tokens).clamp(0, last)
    low = at.floor().clamp(max=max(last - 1, 0))
    part = (at - low)[..., None]
    rows = torch.arange(len(tokens))[:, None]
    before, after = tokens[rows, low.long()], tokens[rows, (low.long() + 1).clamp(max=last)]
    return before + part * (after - before)


def check_following(policy: PlanningPolicy) -> None:
    """Refuse a way to follow plans that these plans do not allow.

    Raises:
        LaminarError: says what to choose.
    """
    follow, layout, config = policy.planner_config.follow, policy.layout, policy.planner_config
    span = (layout.horizon - 1) * layout.stride
    if follow.controller == "chunk" and (follow.replan == 0 or (follow.replan or 0) > policy.spec.chunk):
        raise LaminarError(
            f"plan.replan={follow.replan} goes beyond a chunk of {policy.spec.chunk} actions, which is followed "
            "without looking; choose plan.controller=inverse or waypoints, or a smaller plan.replan"
        )
    if follow.controller == "inverse" and policy.inverse is None:
        raise LaminarError("plan.controller=inverse needs an inverse model, and these plans have their own actions")
    if follow.controller == "waypoints" and layout.state_dim != 2 * layout.action_dim:
        raise LaminarError(
            f"plan.controller=waypoints is for states of as many positions and velocities as there are actions, "
            f"and there are {layout.state_dim} numbers and {layout.action_dim} actions; choose inverse or chunk"
        )
    if (follow.replan or 0) > span:
        raise LaminarError(f"plan.replan={follow.replan} is longer than a plan, which takes {span} control steps")
    if follow.track_return and not config.returns:
        raise LaminarError("plan.track_return is for plans that are conditioned on their return; leave it out")
    if config.ensemble is not None:
        raise LaminarError("policy.ensemble averages the chunks of an actor that keeps no plans; leave plan.* out")
    if follow.warm_start is not None:
        check_lasts(policy.plans.process, config)
        if acting_by(config).guidance == "gradient":
            raise LaminarError(
                "plan.warm_start goes by plain steps, without a gradient; choose guidance=best_of_n, or leave it out"
            )
