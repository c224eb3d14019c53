"""What planning trains, as one module."""

from __future__ import annotations

from copy import deepcopy

from torch import nn

from ....policies.planners import Planner


class Parts(nn.Module):
    """The planner that learns, and its slow copy, which acts."""

    def __init__(self, planner: Planner) -> None:
        super().__init__()
        self.online, self.averaged = planner.train(), deepcopy(planner).eval()
