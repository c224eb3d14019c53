"""Recurrent state-space model with categorical latents (Hafner et al. 2019, 2021; here as DiWA has it)."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Latent(NamedTuple):
    """State of B worlds.

    Attributes:
        memory: (B, deter) what the recurrent network remembers.
        code: (B, groups * classes) a choice in each group, one-hot.
        shown: (B, N) the numbers that are observed, normalized: as they were seen, or as they are imagined.
        speed: (B, N) how they changed in the last step, in deviations of such changes.
    """

    memory: Tensor
    code: Tensor
    shown: Tensor
    speed: Tensor

    @property
    def features(self) -> Tensor:
        """(B, deter + groups * classes + 2 N): all of it, which heads and classifiers read."""
        return torch.cat(self, dim=-1)


class Dense(nn.Module):
    """Linear, layer normalization, SiLU."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.linear, self.norm = nn.Linear(inputs, outputs, bias=False), nn.LayerNorm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., inputs) to (..., outputs)."""
        return F.silu(self.norm(self.linear(x)))


class RSSM(nn.Module):
    """h' = GRU(h, z, a); z ~ prior(h) where nothing is seen, z ~ posterior(h, e) where something is.

    A code has `groups` categorical variables of `classes` each. Draws are one-hot, their gradient that of the
    probabilities (straight through; Hafner et al. 2021, alg. 1), to which `unimix` of the uniform ones is added so
    that no divergence is infinite. All randomness is an argument: uniform numbers, one a group.
    """

    def __init__(
        self, deter: int, groups: int, classes: int, hidden: int, embedding: int, inputs: int, unimix: float
    ) -> None:
        """Build for embeddings (B, embedding) and inputs (B, inputs): actions, and what was shown."""
        super().__init__()
        self.groups, self.classes, self.unimix, self.deter = groups, classes, unimix, deter
        self.code_dim = groups * classes
        self.enter = Dense(self.code_dim + inputs, hidden)
        self.gates = nn.Linear(hidden + deter, 3 * deter, bias=False)
        self.norm = nn.LayerNorm(3 * deter)
        self.prior_hidden, self.prior_logits = Dense(deter, hidden), nn.Linear(hidden, self.code_dim)
        self.posterior_hidden = Dense(deter + embedding, hidden)
        self.posterior_logits = nn.Linear(hidden, self.code_dim)
        self.first = nn.Parameter(torch.zeros(deter))  # memory of who has seen nothing yet

    def begin(self, batch: int) -> Tensor:
        """Return the memory (batch, deter) before anything was seen."""
        return torch.tanh(self.first).expand(batch, -1)

    def remember(self, latent: Latent, action: Tensor) -> Tensor:
        """Return the memory after an action (B, A): a GRU whose gates are normalized together (Hafner et al. 2021)."""
        entered = self.enter(torch.cat((latent.code, action, latent.shown, latent.speed), dim=1))
        gates = self.norm(self.gates(torch.cat((entered, latent.memory), dim=1)))
        reset, candidate, update = gates.chunk(3, dim=1)
        update = torch.sigmoid(update - 1)  # at first it rather keeps than forgets
        return torch.lerp(latent.memory, torch.tanh(torch.sigmoid(reset) * candidate), update)

    def prior(self, memory: Tensor) -> Tensor:
        """Probabilities (..., groups, classes) of the code by memory alone."""
        return self._probabilities(self.prior_logits(self.prior_hidden(memory)))

    def posterior(self, memory: Tensor, embedding: Tensor) -> Tensor:
        """Probabilities (..., groups, classes) of the code where (..., embedding) is seen too."""
        return self._probabilities(self.posterior_logits(self.posterior_hidden(torch.cat((memory, embedding), dim=-1))))

    def draw(self, probabilities: Tensor, uniform: Tensor) -> Tensor:
        """Draw a code (B, groups * classes) by uniform numbers (B, groups), with a straight-through gradient."""
        with torch.no_grad():
            passed = probabilities.cumsum(dim=2) < uniform.unsqueeze(2)
            index = passed.sum(dim=2).clamp(max=self.classes - 1)
            # Not F.one_hot, which looks at the values: several seeds that train together are one batch of models.
            hard = (index.unsqueeze(2) == torch.arange(self.classes, device=index.device)).to(probabilities.dtype)
        return (hard + probabilities - probabilities.detach()).flatten(1)

    def _probabilities(self, logits: Tensor) -> Tensor:
        shares = logits.unflatten(-1, (self.groups, self.classes)).softmax(dim=-1)
        return (1 - self.unimix) * shares + self.unimix / self.classes


def divergence(p: Tensor, q: Tensor) -> Tensor:
    """KL(p || q) summed over groups: (..., groups, classes) twice -> (...)."""
    return (p * (p.log() - q.log())).sum(dim=(-2, -1))


def balanced_divergence(posterior: Tensor, prior: Tensor, balance: float, free: float) -> Tensor:
    """KL with balancing (Hafner et al. 2021, alg. 2): `balance` of it teaches the prior, the rest the posterior.

    Args:
        posterior: (..., groups, classes).
        prior: (..., groups, classes).
        balance: share of the gradient that goes into the prior.
        free: nats below which a divergence teaches nothing.

    Returns:
        (...), whose value is KL(posterior || prior) where that is above `free`.
    """
    to_prior = divergence(posterior.detach(), prior)
    to_posterior = divergence(posterior, prior.detach())
    return balance * to_prior.clamp(min=free) + (1 - balance) * to_posterior.clamp(min=free)
