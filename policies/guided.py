"""A policy that acts otherwise than by a plain sample: by its critic's choice among several, or with less noise.

Best of N, and the resampling of DQL (Wang et al. 2023, N = 50) and IDQL (Hansen-Estruch et al. 2023); low-temperature
sampling as Decision Diffuser's (Ajay et al. 2023). What offline Q-learning gives back is a guided policy that acts by
plain samples: how it acts is a choice of evaluation and deployment, which `guide` makes anew for the same weights.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, overload

import torch
from torch import Tensor

from ..data.spec import Spec
from ..errors import LaminarError
from ..settings import check, choice, number
from .generative import generative_in
from .module import PolicyModule
from .networks import Network
from .networks.critics import Critic, CriticConfig
from .policy import Policy
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
        temperature: of the softmax, in units of Q; returns of other sizes need another one. Its limit 0 is "argmax".
        noise_scale: factor of the noise that a sample starts from; 0 starts from its mean, which is deterministic.
    """

    candidates: int = number(1, least=1)
    selection: str = choice("softmax", *SELECTIONS)
    temperature: float = number(1.0, above=0)
    noise_scale: float = number(1.0, least=0)

    def __post_init__(self) -> None:
        """Refuse settings that make no sense, alone or together.

        Raises:
            LaminarError: names the setting.
        """
        check(self)
        if self.noise_scale == 0 and self.candidates > 1:
            raise LaminarError(
                f"noise_scale=0 makes all {self.candidates} candidates the same; give candidates=1, or more noise"
            )

    @property
    def plain(self) -> bool:
        """Whether this is a single sample from all the noise, as the base gives it."""
        return self.candidates == 1 and self.noise_scale == 1

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


class Guided(PolicyModule):
    """A base and a critic of its actions, deterministic in its noise like any other (except with `ddpm`).

    Acting by plain samples it is its base. Else its `noise_shape` is (N, n + 1) for a base with n numbers of noise:
    each candidate's noise, and one number that decides the draw of the softmax.

    Attributes:
        base: the policy that is sampled.
        critic: Q of encoded observations and normalized chunks, or None.
        acting: how a chunk is decided.
    """

    def __init__(self, base: PolicyModule, critic: Critic | None = None, acting: Acting | None = None) -> None:
        """Put a critic behind a policy; weights are shared, not copied.

        Raises:
            LaminarError: several candidates and no critic, or one that has diverged; or less noise for a solver that
                draws more of it on the way.
        """
        super().__init__()
        self.spec = base.spec
        self.base = base
        self.critic = critic
        self.acting = acting or Acting()
        _check_critic(self)
        self.register_load_state_dict_post_hook(_check_loaded)
        inner = generative_in(base)
        if self.acting.noise_scale != 1 and inner is not None and inner.process.inner_draws:
            raise LaminarError(
                f"noise_scale={self.acting.noise_scale:g} needs a policy that is a function of its starting noise, and "
                "this one's solver draws more on the way; act with noise_scale=1, or train with "
                "policy.process.solver=ddim"
            )

    @property
    def noise_shape(self) -> tuple[int, ...]:
        """Shape of one decision's noise: the base's, or (N, n + 1)."""
        if self.acting.plain:
            return self.composed_of.noise_shape
        return (self.acting.candidates, math.prod(self.composed_of.noise_shape) + 1)

    @property
    def noise_axes(self) -> str:
        """What the axes of a batch of noise are, for messages."""
        return self.composed_of.noise_axes if self.acting.plain else "(batch, candidate, chunk * action + 1)"

    @property
    def candidates(self) -> int:
        """Chunks that are drawn for one decision."""
        return self.acting.candidates * self.composed_of.candidates

    @property
    def config(self) -> dict[str, Any]:
        """Everything but the weights and the Spec that `restore` needs, as plain values."""
        critic = None if self.critic is None else asdict(self.critic.config)
        judged = None if self.critic is None else self.critic.action_dim // self.spec.action_dim
        own = {"kind": "guided", "acting": self.acting.to_json(), "critic": critic, "judged": judged}
        return own | {"base": self.composed_of.config}

    def decode(
        self, cond: Tensor, noise: Tensor, steps: Steps = None, source: Source = None, network: Network | None = None
    ) -> Tensor:
        """Draw N chunks for each condition (B, h, D) and return the chosen one, (B, H, A); see `PolicyModule.generate`.

        Noise is (B, *noise_shape); the rows of the network, and of further noise, are B * N.
        """
        if self.acting.plain:
            return self.composed_of.decode(cond, noise, steps, source, network)
        batch, (count, _) = len(cond), self.noise_shape
        cond = cond.repeat_interleave(count, dim=0)  # (B N, h, D)
        start = noise[..., :-1].reshape(-1, *self.composed_of.noise_shape)  # (B N, H, A)
        start = self.acting.noise_scale * start
        chunks = self.composed_of.decode(cond, start, steps, source, network)
        if count == 1:
            return chunks
        chosen = choose(self._values(cond, chunks).view(batch, count), noise[..., -1], self.acting)
        return chunks.unflatten(0, (batch, count))[torch.arange(batch, device=cond.device), chosen]

    def _values(self, cond: Tensor, chunks: Tensor) -> Tensor:
        """(B N,) least value of the heads, of what the environment would get."""
        assert self.critic is not None  # checked at the start
        normalized = self.composed_of.normalized(chunks)
        judged = normalized.flatten(1)[:, : self.critic.action_dim]  # a critic may judge what is executed of a chunk
        return self.critic(cond.flatten(1), judged).amin(dim=0)


def restore(config: Mapping[str, Any], spec: Spec, base: PolicyModule | None) -> Guided:
    """Build a guided policy without its weights from its `config`."""
    if base is None:
        raise LaminarError("a guided policy needs a base, and its config.json names none; use another checkpoint")
    judged = config.get("judged")  # all, in files of before
    critic = config["critic"] and new_critic(base, CriticConfig(**config["critic"]), judged)
    return Guided(base, critic or None, Acting.from_json(config["acting"]))


def new_critic(policy: PolicyModule, config: CriticConfig, judged: int | None = None) -> Critic:
    """Build an untrained critic of a policy's encoded observations and normalized chunks, or of their first actions."""
    spec = policy.spec
    return Critic(config, spec.history * policy.condition_dim, (judged or spec.chunk) * spec.action_dim)


def critic_of(policy: Policy) -> Critic | None:
    """Return the critic that comes with a policy or with what it is composed of, None where there is none."""
    inner = _guided_in(policy)
    return None if inner is None else inner.critic


def acting_of(policy: Policy) -> Acting:
    """Return how a policy, or what it is composed of, decides: a plain sample, unless it says otherwise."""
    inner = _guided_in(policy)
    return getattr(policy, "acting", Acting()) if inner is None else inner.acting


def _guided_in(policy: Policy) -> Guided | None:
    inner = policy if isinstance(policy, PolicyModule) else None
    while inner is not None and not isinstance(inner, Guided):
        inner = inner.base
    return inner


@overload
def guide(policy: PolicyModule, acting: Acting) -> PolicyModule: ...
@overload
def guide(policy: Policy, acting: Acting) -> Policy: ...
def guide(policy: Policy, acting: Acting) -> Policy:
    """Return a policy that acts as told, of the same weights: itself where it does so already.

    Raises:
        LaminarError: no critic that could choose; or a policy that acts as it was built, because it is accelerated,
            exported or elsewhere.
    """
    if acting.to_json() == acting_of(policy).to_json():  # settings without an effect make no difference
        return policy
    if not isinstance(policy, PolicyModule):
        raise LaminarError(
            f"{type(policy).__name__} acts as it was built, and cannot be told to act otherwise; guide the policy that "
            "it was built of: accelerate(guide(policy, acting))"
        )
    if isinstance(policy, Guided):
        return Guided(policy.composed_of, policy.critic, acting)
    if not acting_of(policy).plain:
        raise LaminarError(
            f"a part of this {policy.config['kind']} policy acts by {acting_of(policy)}; guide that part before it is "
            "composed"
        )
    return Guided(policy, critic_of(policy), acting)


def _check_loaded(policy: Guided, _: object) -> None:
    _check_critic(policy)


def _check_critic(policy: Guided) -> None:
    """Refuse a choice without a critic that could make it, also after weights were loaded."""
    if policy.acting.candidates == 1:
        return
    if policy.critic is None:
        raise LaminarError(
            f"candidates={policy.acting.candidates} need a critic to choose, and the policy has none: train it with a "
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
