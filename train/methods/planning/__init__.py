"""A planner is learned from recordings: plans, what drafts them, what makes actions of them, and a critic of plans.

laminar train method=planning policy=diffuser data.path=FILE env.id=ID out=runs/planner

Each part has its own loss and its own optimizer; no gradient goes from one to another.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ....data.episodes import Episodes
from ....data.plan_windows import PlanWindows
from ....errors import LaminarError
from ....policies.module import PolicyModule
from ....policies.planners import Planner
from ....policies.planners.layout import with_goals
from ....policies.processes import Draws, Metrics
from ....settings import check
from ...improver import Context, Improver, need
from ...update.learner import Learner, average
from ...update.program import State
from ...update.rates import ema_decay, warmup_cosine
from .config import Config
from .held_out import PlanValidation
from .losses import critic_loss, draft_loss, inverse_loss, plan_loss
from .parts import Parts

__all__ = ["Config", "Planning"]


class Planning(Improver):
    """Improver that learns a planner. `product()` has averaged weights."""

    def __init__(self, policy: PolicyModule, recorded: Episodes | None, config: Config, context: Context) -> None:
        check(config, "method")
        if not isinstance(policy, Planner):
            raise LaminarError(
                "method=planning trains planners, and this policy is none; choose policy=diffuser, decision_diffuser, "
                "trajectory_diffuser or veteran"
            )
        self.config, layout = config, policy.layout
        like = context.like
        if isinstance(like, Planning):
            self.windows = like.windows
        else:
            self.windows = _windows(policy, need(recorded, "planning"), context)
        low, high = torch.aminmax(self.windows.returns)
        policy.plans.return_range.copy_(torch.stack((low, torch.where(high > low, high, low + 1))))
        self.parts = Parts(policy).to(context.device)
        self.weight = torch.ones(layout.horizon, layout.token_dim, device=context.device)
        executed = -(-policy.spec.execute // layout.stride)  # tokens whose actions are executed
        self.weight[:executed, layout.state_dim :] = config.action_weight
        learner = Learner(self.parts, _part, context.group, context.runtime.autocast)
        names = ("plans", "inverse", "drafter", "critic")
        self.learned = [name for name in names if name in learner.layouts]
        counters = [f"{name}_step" for name in self.learned]
        self._learn(
            context, learner, self.windows, self.learned, counters, [f"averaged_{name}" for name in self.learned]
        )

    def _draw(self) -> tuple[Tensor, tuple[Draws, Draws]]:
        """Draw for the whole batch, of which this process takes its share: of plans, and of the inverse model."""
        group, generator = self.context.group, self.context.generator
        size = self.config.batch_size * group.size
        index = self.windows.draw(size, generator)
        planner, layout = self.parts.online, self.parts.online.layout
        none = torch.empty(1, device=self.context.device)
        state = none.expand(size, layout.horizon, layout.state_dim)
        plans = planner.plans.draw({"state": state}, generator)
        inverse: Draws = ()
        if planner.inverse is not None:
            pairs = min(self.config.pairs, layout.horizon - 1)
            acted = none.expand(size * pairs, *planner.inverse.noise_shape)
            inverse = planner.inverse.draw({"action": acted}, generator)
        return group.share(index), (tuple(map(group.share, plans)), tuple(map(group.share, inverse)))

    def _rates(self, step: int) -> tuple[tuple[float, float], bool]:
        """Return the share of the peak learning rates and the share of the average that is renewed."""
        c = self.config
        left = warmup_cosine(step, self.context.steps, c.warmup, c.final_lr)
        return (left, 1 - ema_decay(step, c.ema_decay, c.ema_power)), True

    def _update(self, state: State, batch: Mapping[str, Any], draws: Any, rates: Any, variant: bool) -> Metrics:
        """One update of every part: gradient, clip, AdamW, average."""
        (left, renewed), c = rates, self.config
        plans, inverse = draws
        batch = {**batch, "weight": self.weight}
        losses = {
            "plans": (plan_loss, (batch, plans), c.lr),
            "inverse": (inverse_loss, (batch, inverse, c.pairs), c.inverse_lr),
            "drafter": (draft_loss, (batch, c.draft_batch), c.lr),
            "critic": (critic_loss, (batch,), c.critic_lr),
        }
        found: Metrics = {}
        for name in self.learned:
            loss, inputs, lr = losses[name]
            adam = (c.max_grad_norm, c.beta2, c.weight_decay)
            metrics = self.learner.descend(state, [name], loss, inputs, left * lr, f"{name}_step", *adam)
            found |= metrics if name == "plans" else {f"{name}_{key}": value for key, value in metrics.items()}
            average(state, f"averaged_{name}", name, renewed)
        return found

    def held_out(self, episodes: Episodes, learned: Episodes, method: str) -> PlanValidation:
        """Return what is measured on held-out episodes: the loss of plans, and errors of actions."""
        return PlanValidation(episodes, self.product(), method, self.windows.discount, self.windows.rests)

    def product(self) -> Planner:
        """Return the planner with averaged weights."""
        return self.parts.averaged


def _part(name: str) -> str:
    """Part that a parameter belongs to."""
    copy, _, inside = name.partition(".")
    part = inside.split(".")[0]
    if part == "base":
        part = next((one for one in ("drafter", "critic") if one in inside.split(".")), "plans")
    return part if copy == "online" else f"averaged_{part}"


def _windows(planner: Planner, recorded: Episodes, context: Context) -> PlanWindows:
    layout, plans = planner.layout, planner.planner_config
    if not recorded.has_reward and (layout.returns or planner.critic is not None):
        what = "plans are conditioned on their return" if layout.returns else "a critic chooses among plans"
        raise LaminarError(f"{recorded.source}: {what}, and there are no rewards; choose a planner of goals alone")
    episodes = with_goals(plans, recorded)
    rest = layout.goal_dim > 0
    return PlanWindows(
        episodes, list(layout.shapes), layout.horizon, layout.stride, plans.discount, rest, context.device
    )
