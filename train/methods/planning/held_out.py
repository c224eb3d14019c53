"""What planning measures on held-out episodes: the loss of plans, and errors of the actions that follow them."""

from __future__ import annotations

import torch
from torch import nn

from ....data.episodes import Episodes
from ....data.plan_windows import PlanWindows
from ....policies.generative import GenerativePolicy
from ....policies.planners import Planner
from ....policies.planners.layout import with_goals
from ...validation import SEED, WINDOWS, Validation

BATCH = 256


class PlanValidation(Validation):
    """Held-out windows of both kinds: `improver.HeldOut` of a planner."""

    def __init__(self, held_out: Episodes, product: nn.Module, method: str, discount: float, rests: bool) -> None:
        """Pack the episodes.

        Args:
            held_out: episodes that nothing is learned from.
            product: the planner.
            method: its name, for messages.
            discount: of returns, a control step.
            rests: as in `PlanWindows`.

        Raises:
            LaminarError: a plan is longer than every held-out episode.
        """
        assert isinstance(product, Planner)
        episodes, layout = with_goals(product.planner_config, held_out), product.layout
        super().__init__(episodes, product, method)
        shape = (layout.horizon, layout.stride, discount)
        self._plans = PlanWindows(episodes, list(layout.shapes), *shape, rests, product.device)

    @torch.no_grad()
    def _loss(self, policy: GenerativePolicy) -> float:
        """Mean loss of the plans over windows spread evenly, each with the same draws at every call."""
        generator = torch.Generator(policy.device).manual_seed(SEED)
        count = min(WINDOWS, len(self._plans))
        index = torch.linspace(0, len(self._plans) - 1, count, device=policy.device).long()
        total = torch.zeros((), dtype=torch.float64, device=policy.device)
        for part in index.split(BATCH):
            total += policy.loss(self._plans.gather(part), generator)[0] * len(part)
        return float(total) / count
