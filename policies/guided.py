"""A policy that acts otherwise than by a plain sample: by its critic's choice among several, or with less noise.

Best of N, and the resampling of DQL (Wang et al. 2023, N = 50) and IDQL (Hansen-Estruch et al. 2023); low-temperature
sampling as Decision Diffuser's (Ajay et al. 2023). Acting this way is a choice of evaluation and deployment, no part of
a checkpoint: any saved policy with a critic can act with any N, and most can with any noise.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import LaminarError, nearest
from .acting import History, RecedingHorizon, TemporalEnsemble
from .generative import GenerativePolicy
from .networks import Network
from .processes.solver_schedules import Steps
from .processes.solvers import Source

SELECTIONS = ("softmax", "argmax")
_TAIL = 10.0  # deviations; float32 still tells the normal distribution function from 0 and 1 there


@dataclass(frozen=True)
class Acting:
    """How a policy decides: by a single sample, or by its critic's choice among several; and with how much noise.

    Attributes:
        candidates: chunks drawn for each decision; 1 is the single sample.
        selection: "softmax" takes a candidate with probability proportional to exp(Q / temperature), "argmax" the best.
        temperature: of the softmax, in units of Q; returns of other sizes need another one.
        noise_scale: factor of the noise that a sample starts from; 0 starts from its mean, which is deterministic.
    """

    candidates: int = 1
    selection: str = "softmax"
    temperature: float = 1.0
    noise_scale: float = 1.0

    def __post_init__(self) -> None:
        """Refuse settings that make no sense.

        Raises:
            LaminarError: names the setting.
        """
        if self.candidates < 1:
            raise LaminarError(f"candidates must be at least 1, got {self.candidates}")
        if self.selection not in SELECTIONS:
            known = ", ".join(SELECTIONS)
            hint = nearest(self.selection, SELECTIONS)
            raise LaminarError(f"no selection is called '{self.selection}' (known: {known}){hint}")
        if not (math.isfinite(self.temperature) and self.temperature > 0):
            raise LaminarError(
                f"temperature must be above 0, got {self.temperature}; selection=argmax is the limit of temperature 0"
            )
        if not (math.isfinite(self.noise_scale) and self.noise_scale >= 0):
            raise LaminarError(f"noise_scale must be at least 0 and finite, got {self.noise_scale}")
        if self.noise_scale == 0 and self.candidates > 1:
            raise LaminarError(
                f"noise_scale=0 makes all {self.candidates} candidates the same; give candidates=1, or more noise"
            )

    def to_json(self) -> dict[str, Any]:
        """Return ``{"candidates", "selection", "temperature", "noise_scale"}``; what has no effect is None."""
        chooses, drawn = self.candidates > 1, self.candidates > 1 and self.selection == "softmax"
        return {
            "candidates": self.candidates,
            "selection": self.selection if chooses else None,
            "temperature": self.temperature if drawn else None,
            "noise_scale": self.noise_scale,
        }

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Acting:
        """Rebuild what `to_json` wrote."""
        return cls(**{name: value for name, value in stored.items() if value is not None})

    def __str__(self) -> str:
        """Return for example ``softmax of Q / 1 among 50 candidates`` or ``single sample, noise x 0.5``."""
        rule = f"softmax of Q / {self.temperature:g}" if self.selection == "softmax" else "best Q"
        how = "single sample" if self.candidates == 1 else f"{rule} among {self.candidates} candidates"
        return how if self.noise_scale == 1 else f"{how}, noise x {self.noise_scale:g}"


class Guided(GenerativePolicy):
    """A policy around the weights of another one, deterministic in its noise like any other (except with `ddpm`).

    Its `noise_shape` is (N, H * A + 1): each candidate's noise, and one number that decides the draw of the softmax.
    Weights, normalizers and limits are those of the given policy, not copies; history and pending chunk are its own.
    """

    def __init__(self, policy: GenerativePolicy, acting: Acting) -> None:
        """Let `policy` act this way.

        Raises:
            LaminarError: several candidates and no critic, or one that has diverged; or less noise for a solver that
                draws more of it on the way.
        """
        nn.Module.__init__(self)  # not Policy's, which would draw new weights
        vars(self).update(vars(policy))
        if acting.candidates > 1:
            _check_critic(policy, acting)
        if acting.noise_scale != 1 and policy.process.inner_draws:
            raise LaminarError(
                f"noise_scale={acting.noise_scale:g} needs a policy that is a function of its starting noise, and this "
                "one's solver draws more on the way; act with noise_scale=1, or train with policy.process.solver=ddim"
            )
        self.acting = acting
        config = policy.policy_config
        self._history = History(config.history)
        self._chunks = RecedingHorizon(config.execute) if config.ensemble is None else TemporalEnsemble(config.ensemble)

    @property
    def noise_shape(self) -> tuple[int, int]:
        """(N, H * A + 1), the shape of one decision's noise."""
        return (self.candidates, self.spec.chunk * self.spec.action_dim + 1)

    @property
    def candidates(self) -> int:
        """Chunks that are drawn for one decision."""
        return self.acting.candidates

    @property
    def noise_axes(self) -> str:
        """What the axes of a batch of noise are, for messages."""
        return "(batch, candidate, chunk * action + 1)"

    def generate(
        self,
        windows: Mapping[str, Tensor],
        noise: Tensor,
        steps: Steps = None,
        source: Source = None,
        network: Network | None = None,
    ) -> Tensor:
        """Draw N chunks for each observation window and return the chosen one, (B, H, A); see `GenerativePolicy.generate`.

        Noise is (B, N, H * A + 1); the rows of the network, and of further noise, are B * N.
        """
        cond = self.encode(windows)  # (B, h, D), encoded once for all candidates
        batch, (count, _) = len(cond), self.noise_shape
        cond = cond.repeat_interleave(count, dim=0)  # (B N, h, D)
        start = noise[..., :-1].reshape(-1, self.spec.chunk, self.spec.action_dim)  # (B N, H, A)
        start = self.acting.noise_scale * start
        chunks = self._to_raw(self.process.sample(network or self.network, start, cond, steps, source))
        if count == 1:
            return chunks
        chosen = choose(self._values(cond, chunks).view(batch, count), noise[..., -1], self.acting)
        return chunks.unflatten(0, (batch, count))[torch.arange(batch, device=cond.device), chosen]

    def _values(self, cond: Tensor, chunks: Tensor) -> Tensor:
        """(B N,) least value of the heads, of what the environment would get."""
        assert self.critic is not None  # checked at the start
        normalized = self.action_normalizer({"action": chunks})["action"]
        return self.critic(cond.flatten(1), normalized.flatten(1)).amin(dim=0)


def guide(policy: GenerativePolicy, acting: Acting) -> GenerativePolicy:
    """Return the policy itself for a plain single sample, or one that acts as told.

    Raises:
        LaminarError: its critic cannot choose, or the policy is accelerated, and would be run eagerly from here.
    """
    from .runtimes.accelerated import Accelerated  # builds its loops of guided policies

    if isinstance(policy, Accelerated):
        if acting != getattr(policy, "acting", Acting()):
            raise LaminarError(
                "an accelerated policy acts as it was built; tell it how before: accelerate(guide(policy, acting))"
            )
        return policy
    plain = acting.candidates == 1 and acting.noise_scale == 1
    return policy if plain and not isinstance(policy, Guided) else Guided(policy, acting)


def _check_critic(policy: GenerativePolicy, acting: Acting) -> None:
    if policy.critic is None:
        raise LaminarError(
            f"candidates={acting.candidates} need a critic to choose, and the policy has none: train it with a "
            "method that learns one, such as method=ofql, or act with candidates=1"
        )
    if not all(bool(weight.isfinite().all()) for weight in policy.critic.parameters()):
        raise LaminarError("the policy's critic is not finite: its training diverged; choose an earlier checkpoint")


def choose(values: Tensor, noise: Tensor, acting: Acting) -> Tensor:
    """Choose one of N candidates; the first of several equal ones where nothing is drawn.

    Args:
        values: (B, N) of the candidates.
        noise: (B, N) standard normal. u = Phi(noise) is uniform, g = -log(-log u) is a Gumbel variable, and the
            candidate with the highest Q + temperature * g is a draw from the softmax (Maddison et al. 2014).
        acting: selection and temperature.

    Returns:
        (B,) indices.
    """
    if acting.selection == "softmax":
        gumbel = -(-torch.special.log_ndtr(noise.clamp(-_TAIL, _TAIL))).log()
        values = values + acting.temperature * gumbel
    return values.argmax(dim=1)
