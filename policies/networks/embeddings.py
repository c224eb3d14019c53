"""Time embeddings: smooth functions of float times, because mean flow differentiates through them."""

import math

import torch
from torch import Tensor, nn

from ...errors import LaminarError
from .activations import activation


class Sinusoids(nn.Module):
    """Sines and cosines of each time, concatenated: (B, n_times) -> (B, n_times * width).

    The frequencies rise geometrically from `min_frequency` to `max_frequency`, in radians per unit of time.
    They are far lower than in the usual embedding of integer steps: a fast sinusoid makes du/dt large and
    noisy, and that derivative is part of mean flow's target (Geng et al. 2025, eq. 6).
    """

    frequencies: Tensor
    phases: Tensor

    def __init__(self, width: int, min_frequency: float = 0.3, max_frequency: float = 5.0) -> None:
        """Make `width` features a time, half of them sines and half cosines.

        Raises:
            LaminarError: when the width is not even and positive, or the frequencies are not 0 < min <= max.
        """
        super().__init__()
        if width < 2 or width % 2:
            raise LaminarError(f"time_width must be even and at least 2, got {width}")
        if not 0.0 < min_frequency <= max_frequency:
            raise LaminarError(
                f"time frequencies need 0 < min_frequency <= max_frequency, got {min_frequency} and {max_frequency}"
            )
        half = width // 2
        low, high = math.log10(min_frequency), math.log10(max_frequency)
        ladder = torch.logspace(low, high, half, dtype=torch.float64)
        # cos(a) = sin(a + pi/2): one sine for both halves.
        phases = torch.tensor([0.0, math.pi / 2], dtype=torch.float64).repeat_interleave(half)
        self.register_buffer("frequencies", ladder.repeat(2).float(), persistent=False)
        self.register_buffer("phases", phases.float(), persistent=False)

    def forward(self, times: Tensor) -> Tensor:
        """Map times (B, n_times) to features (B, n_times * width)."""
        return torch.addcmul(self.phases, times.unsqueeze(2), self.frequencies).sin().flatten(1)

    def derivative(self, times: Tensor, tangent: Tensor) -> Tensor:
        """Jacobian at times (B, n_times) along tangent (B, n_times): (B, n_times * width)."""
        cosines = torch.addcmul(self.phases, times.unsqueeze(2), self.frequencies).cos()
        return (cosines * (tangent.unsqueeze(2) * self.frequencies)).flatten(1)


class TimeEmbedding(nn.Sequential):
    """Sinusoids of every time, then Linear, activation, Linear: (B, n_times) -> (B, output)."""

    def __init__(
        self,
        n_times: int,
        width: int,
        *,
        hidden: int,
        output: int,
        activation_name: str = "silu",
        min_frequency: float = 0.3,
        max_frequency: float = 5.0,
    ) -> None:
        """Embed `n_times` times with `width` sinusoids each."""
        super().__init__(
            Sinusoids(width, min_frequency, max_frequency),
            nn.Linear(n_times * width, hidden),
            activation(activation_name),
            nn.Linear(hidden, output),
        )
