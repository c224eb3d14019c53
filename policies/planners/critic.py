"""The critic of plans: what return to expect of one, from what is seen where it begins, and from its own numbers."""

from __future__ import annotations

from torch import Tensor

from ..networks.critics import Critic, CriticConfig
from .plans import Plans


class PlanCritic(Critic):
    """A critic that is not told what return is asked for.

    While it learns that is the return which it is to find out; and when plans are chosen it is the same for all.
    """

    untold: Tensor

    def __init__(self, config: CriticConfig, plans: Plans) -> None:
        """Build an untrained one of some plans.

        Raises:
            LaminarError: a setting is outside its bounds.
        """
        super().__init__(config, plans.condition_dim, plans.layout.horizon * plans.layout.token_dim)
        self.register_buffer("untold", plans.untold.clone(), persistent=False)

    def forward(self, cond: Tensor, action: Tensor) -> Tensor:
        """Map conditions (B, D) and flat plans (B, T W) to values (heads, B), returns from 0 to 1."""
        return super().forward(cond * self.untold, action)
