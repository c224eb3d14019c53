"""What the numbers of a plan are: T tokens, each a state and maybe the actions that follow it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ...data.episodes import Episodes
from ...data.spec import Feature, Spec
from ...errors import LaminarError
from .config import PlannerConfig

GOAL = "goal"
"""Observation that says where a plan is to end, and key of `Episodes.infos` where recordings have it."""
RETURN = "return_to_go"
"""What a plan is conditioned on beside observations: (return from 0 to 1, 1), or zeros where none is told."""


@dataclass(frozen=True)
class Layout:
    """Sizes of a plan.

    Attributes:
        shapes: observations that make up a state -> their shapes, in order.
        goal_dim: G, first numbers of a state that are the goal of the last one; 0 without goals.
        action_dim: A.
        horizon: T.
        stride: m.
        actions: tokens have the m actions that follow their state.
        returns: plans are conditioned on their return.
    """

    shapes: Mapping[str, tuple[int, ...]]
    goal_dim: int
    action_dim: int
    horizon: int
    stride: int
    actions: bool
    returns: bool

    @classmethod
    def of(cls, config: PlannerConfig, spec: Spec) -> Layout:
        """Return the layout of a planner that sees and does what `spec` says.

        Raises:
            LaminarError: a plan of pictures or instructions, or a goal that is no part of a state.
        """
        shapes = {key: feature.shape for key, feature in spec.observation.items() if key != GOAL}
        odd = [key for key in shapes if spec.observation[key].dtype != "float32" or key == "instruction"]
        if odd or not shapes:
            seen = f"observation '{odd[0]}' is {spec.observation[odd[0]].dtype}" if odd else "there is nothing else"
            raise LaminarError(
                f"plans are made of states, numbers in single precision, and {seen}; choose others by data.observation"
            )
        goal = spec.observation[GOAL].width if GOAL in spec.observation else 0
        found = cls(
            shapes, goal, spec.action_dim, config.horizon, config.stride, bool(config.actions), bool(config.returns)
        )
        if goal > found.state_dim:
            raise LaminarError(f"a goal of {goal} numbers is no part of a state of {found.state_dim}")
        return found

    @property
    def state_dim(self) -> int:
        """S."""
        return sum(math.prod(shape) for shape in self.shapes.values())

    @property
    def token_dim(self) -> int:
        """W, the width of a token: the state first."""
        return self.state_dim + (self.stride * self.action_dim if self.actions else 0)

    def plan_spec(self, spec: Spec) -> Spec:
        """Return the spec of a policy whose actions are the tokens of a plan."""
        told = {RETURN: Feature((2,))} if self.returns else {}
        tokens = Feature((self.token_dim,))
        return replace(spec, observation=spec.observation | told, action=tokens, action_low=None, action_high=None)

    def tokens(self, state: Tensor, action: Tensor) -> Tensor:
        """Return plans (B, T, W) of states (B, T, S) and the actions (B, T - 1, m, A) between them; zeros end them."""
        if not self.actions:
            return state
        rest = torch.zeros_like(action[:, :1])
        return torch.cat((state, torch.cat((action, rest), dim=1).flatten(2)), dim=2)

    def relative(self, plan: Tensor) -> Tensor:
        """Return plans (..., T, W) with states as their difference to the first, which stays as it is."""
        return plan - self._first(plan)

    def absolute(self, plan: Tensor) -> Tensor:
        """Return what `relative` was made of."""
        return plan + self._first(plan)

    def _first(self, plan: Tensor) -> Tensor:
        """(..., T, W) the first state in all tokens but the first, zeros elsewhere."""
        first = F.pad(plan[..., :1, : self.state_dim], (0, self.token_dim - self.state_dim))
        return torch.cat((torch.zeros_like(first), first.expand(*plan.shape[:-2], self.horizon - 1, -1)), dim=-2)

    def states(self, plan: Tensor) -> Tensor:
        """(..., T, S) of a plan (..., T, W)."""
        return plan[..., : self.state_dim]

    def foreseen(self, plan: Tensor) -> dict[str, Tensor]:
        """Return the states of a plan (..., T, W) as the observations that they are made of, {key: (..., T, ...)}."""
        parts = self.states(plan).split([math.prod(shape) for shape in self.shapes.values()], dim=-1)
        return {key: part.unflatten(-1, shape) for (key, shape), part in zip(self.shapes.items(), parts, strict=True)}

    def planned_actions(self, plan: Tensor) -> Tensor:
        """(..., (T - 1) m, A) of a plan (..., T, W) that has them."""
        own = plan[..., :-1, self.state_dim :]
        return own.unflatten(-1, (self.stride, self.action_dim)).flatten(-3, -2)

    def observed(self, state: Tensor, returns: Tensor | None = None) -> dict[str, Tensor]:
        """Return what is seen at the beginning of recorded states (B, T, S): windows {key: (B, 1, ...)}.

        The goal is where they end. Returns are (B, 2), as `RETURN` says.
        """
        seen = self.foreseen(state[:, :1])
        if self.goal_dim:
            seen[GOAL] = state[:, -1:, : self.goal_dim]
        return seen if returns is None else seen | {RETURN: returns[:, None]}


def with_goals(config: PlannerConfig, episodes: Episodes) -> Episodes:
    """Return recordings whose observations have a goal, if plans are to end at one, and else none.

    Raises:
        LaminarError: goals are asked for, and the recordings have none.
    """
    recorded = episodes.observation.get(GOAL, episodes.infos.get(GOAL))
    wanted = recorded is not None if config.goals is None else config.goals
    others = [key for key in episodes.observation if key != GOAL]
    if not wanted:
        return _seeing(episodes, others)
    if recorded is None:
        raise LaminarError(
            f"{episodes.source}: policy.goals=true needs recordings with goals, an observation '{GOAL}' or "
            f"infos/{GOAL}, and there is none; leave it out"
        )
    if GOAL in episodes.observation:
        return episodes
    goal = np.asarray(recorded, np.float32).reshape(len(episodes), -1)
    return replace(
        episodes,
        observation=episodes.observation | {GOAL: goal},
        final_observation=episodes.final_observation | {GOAL: goal[episodes.ends - 1]},
        spec=replace(episodes.spec, observation=episodes.spec.observation | {GOAL: Feature((goal.shape[1],))}),
    )


def _seeing(episodes: Episodes, keys: list[str]) -> Episodes:
    if len(keys) == len(episodes.observation):
        return episodes
    features = {key: episodes.spec.observation[key] for key in keys}
    return replace(
        episodes,
        observation={key: episodes.observation[key] for key in keys},
        final_observation={key: episodes.final_observation[key] for key in keys},
        spec=replace(episodes.spec, observation=features),
    )
