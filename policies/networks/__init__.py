"""Networks: the functions that a process trains. One module a network, found by its file name."""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ...registry import Family
from ...settings import check

CORNERS = (nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.RReLU, nn.Threshold, nn.Hardtanh)
"""Activations with a jump in their derivative."""


class Network(nn.Module, ABC):
    """A smooth map (noisy chunk, times, condition) -> chunk, shared by all processes.

    A subclass lives alone in its module, beside a dataclass ``Config`` whose ``name`` is the file name. It is
    built by ``__init__(config, *, horizon, action_dim, history, condition_dim, n_times)``: H, A, h, D and the
    number of times.

    Mean flow differentiates through the network in forward mode, and updates are compiled or captured as one
    graph. So a network is smooth in `times`, has no dropout and no batch statistics, and never branches on
    the values of tensors.
    """

    def __init__(self, config: Any = None, **sizes: int) -> None:
        """Take the settings; a subclass calls this first, and builds its layers.

        Args:
            config: the network's `Config`; None for a stand-in that has no settings.
            sizes: horizon, action_dim, history, condition_dim and n_times; nothing here depends on them.

        Raises:
            LaminarError: a setting is outside its bounds.
        """
        super().__init__()
        if config is not None:
            check(config, "network")

    @property
    def smooth(self) -> bool:
        """Whether the network's derivative is continuous; not so with activations such as relu."""
        return not any(isinstance(module, CORNERS) for module in self.modules())

    @abstractmethod
    def forward(self, x: Tensor, times: Tensor, cond: Tensor) -> Tensor:
        """Evaluate the network.

        Args:
            x: (B, H, A) chunk of normalized actions at time t.
            times: (B, n_times) float times in [0, 1], 0 is data and 1 is noise.
            cond: (B, h, D) encoded observations, the current one last.

        Returns:
            (B, H, A): noise, data or velocity, as the process defines it.
        """

    def jvp(
        self, x: Tensor, times: Tensor, cond: Tensor, x_tangent: Tensor, times_tangent: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Evaluate the network and its derivative along a direction in (x, times), in one forward pass.

        Args:
            x: (B, H, A), as in `forward`.
            times: (B, n_times).
            cond: (B, h, D), held fixed.
            x_tangent: (B, H, A) direction in x.
            times_tangent: (B, n_times) direction in the times.

        Returns:
            The output and its directional derivative, (B, H, A) each. The same numbers as `torch.func.jvp`; a
            network overrides it where a hand-written pass is faster.
        """
        primals, tangents = (x, times), (x_tangent, times_tangent)
        result = torch.func.jvp(lambda x, times: self(x, times, cond), primals, tangents)
        return result[0], result[1]

    def conditions(self, times: Tensor, cond: Tensor) -> list[Any]:
        """Compute, for K calls on the same observations, everything that does not depend on the chunk.

        ``body(x, conditions(times, cond)[k])`` is ``forward(x, times[k], cond)`` up to rounding. A sampling loop whose
        times are known beforehand then pays for embeddings and projections once a chunk; a network overrides both
        methods where that saves something.

        Args:
            times: (K, n_times), the same for all rows of a batch.
            cond: (B, h, D).

        Returns:
            K conditions, whatever `body` takes.
        """
        return [(row.expand(len(cond), -1), cond) for row in times]

    def body(self, x: Tensor, condition: Any) -> Tensor:
        """Evaluate the network for a chunk x (B, H, A) under one of `conditions`: (B, H, A)."""
        times, cond = condition
        return self(x, times, cond)

    if TYPE_CHECKING:

        def __call__(self, x: Tensor, times: Tensor, cond: Tensor) -> Tensor:
            """Evaluate `forward`, typed."""
            ...


NETWORKS = Family("network", __name__, Network)
"""All networks, by name."""
