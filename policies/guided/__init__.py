"""A policy that acts otherwise than by a plain sample: guided by its critic, or with less noise.

    acting       the settings of all ways to decide
    choosing     best of N, and the resampling of DQL (Wang et al. 2023, N = 50) and IDQL (Hansen-Estruch et al. 2023)
    judge        the critic asked about chunks, and its gradient; along the path by `processes.guides`
    particles    Feynman-Kac particles, resampled on their way
    tree         search in a tree of denoising steps

All aim at p(a|s) exp(Q(s, a) / temperature). Low-temperature sampling is Decision Diffuser's (Ajay et al. 2023). What
offline Q-learning gives back is a guided policy that acts by plain samples: how it acts is a choice of evaluation and
deployment, which `guide` makes anew for the same weights.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, overload

import torch
from torch import Tensor

from ...data.spec import Spec
from ...errors import LaminarError
from ..module import PolicyModule
from ..networks import Network
from ..networks.critics import Critic, CriticConfig
from ..policy import Policy
from ..processes.guides import MOST_EXACT, MOST_IDENTITY, Guide
from ..processes.solver_schedules import Steps
from ..processes.solvers import Source
from ..processes.unrolled import Calls
from . import particles, tree
from .acting import SELECTIONS, Acting
from .choosing import choose
from .fitting import check_acting, check_critic, denoised_by
from .judge import Judge

__all__ = [
    "SELECTIONS",
    "Acting",
    "Guided",
    "acting_of",
    "choose",
    "claim",
    "critic_of",
    "guide",
    "new_critic",
    "restore",
]


class Guided(PolicyModule):
    """A base and a critic of its actions, deterministic in its noise like any other (except with `ddpm`).

    Acting by plain samples it is its base. Else its `noise_shape` is (N, n + 1) for a base with n numbers of noise:
    each candidate's noise, and one number that decides the draw of the softmax; or that of `particles` or `tree`.

    Attributes:
        base: the policy that is sampled.
        critic: Q of encoded observations and normalized chunks, or None.
        acting: how a chunk is decided.
    """

    def __init__(self, base: PolicyModule, critic: Critic | None = None, acting: Acting | None = None) -> None:
        """Put a critic behind a policy; weights are shared, not copied.

        Raises:
            LaminarError: a way of acting that this base or critic cannot follow.
        """
        super().__init__()
        self.spec = base.spec
        self.base = base
        self.critic = critic
        self.acting = acting or Acting()
        check_critic(critic, self.acting)
        self.register_load_state_dict_post_hook(_check_loaded)
        check_acting(base, self.acting)

    @property
    def noise_shape(self) -> tuple[int, ...]:
        """Shape of one decision's noise."""
        inner, count = self.composed_of.noise_shape, self.acting.candidates
        if self.acting.plain:
            return inner
        if not self.acting.branches:
            return (count, math.prod(inner) + 1)
        steps = denoised_by(self.composed_of).process.num_steps
        if self.acting.guidance == "fk":
            return particles.noise_shape(count, math.prod(inner), steps)
        return tree.noise_shape(count * steps, math.prod(inner), steps)

    @property
    def noise_axes(self) -> str:
        """What the axes of a batch of noise are, for messages."""
        if self.acting.plain:
            return self.composed_of.noise_axes
        axes = {"fk": "particle, calls * (chunk * action + 1)", "tree": "call + 1, chunk * action + depth"}
        return f"(batch, {axes.get(self.acting.guidance, 'candidate, chunk * action + 1')})"

    @property
    def candidates(self) -> int:
        """Chunks that are drawn for one decision."""
        return self.acting.candidates * self.composed_of.candidates

    def calls(self, steps: Steps = None) -> Calls:
        """Return the network calls of one decision.

        Raises:
            LaminarError: another number of steps than the policy's own, where the noise is of that many.
        """
        if not self.acting.branches:
            return super().calls(steps)
        policy = denoised_by(self.composed_of)
        count, own = self.acting.candidates, policy.process.num_steps
        if steps not in (None, own):
            raise LaminarError(
                f"guidance={self.acting.guidance} takes its noise for the {own} steps of the policy, and cannot make "
                "others or follow a solver schedule; leave steps out"
            )
        if self.acting.guidance == "tree":
            return Calls(None, count * own)
        times = torch.tensor([[level.time] for level in policy.process.noise_levels()[:-1]], device=policy.device)
        return Calls(times, own, rows=count)

    @property
    def prefix(self) -> int:
        """That of the base, where it is sampled as it is."""
        return self.composed_of.prefix if self.acting.plain else 0

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

        Noise is (B, *noise_shape); the rows of the network, and of further noise, are B * N; of a tree they are B.
        """
        if self.acting.plain:
            return self.composed_of.decode(cond, noise, steps, source, network)
        if not self.acting.branches:
            return self._among(cond, noise, steps, source, network)
        self.calls(steps)
        return self._branching(cond, noise, network)

    def _among(self, cond: Tensor, noise: Tensor, steps: Steps, source: Source, network: Network | None) -> Tensor:
        """Choose among finished samples."""
        chunks, _, chosen = self.drawn(cond, noise, steps, source, network)
        return chunks[torch.arange(len(cond), device=cond.device), chosen] if chunks.shape[1] > 1 else chunks[:, 0]

    def drawn(
        self, cond: Tensor, noise: Tensor, steps: Steps = None, source: Source = None, network: Network | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the finished samples (B, N, H, A) of a decision, what the critic says (B, N), and the chosen (B,).

        Zeros in place of both where there is but one to choose from.
        """
        batch, (count, _) = len(cond), self.noise_shape
        rows = self.composed_of.prepared(cond).repeat_interleave(count, dim=0)  # (B N, h, D)
        start = noise[..., :-1].reshape(-1, *self.composed_of.noise_shape)  # (B N, H, A)
        start = self.acting.noise_scale * start
        if self.acting.guidance == "gradient":
            guide = self._guide(cond.repeat_interleave(count, dim=0))
            chunks = denoised_by(self.composed_of).decode(rows, start, steps, source, network, guide)
        else:
            chunks = self.composed_of.decode(rows, start, steps, source, network)
        split = chunks.unflatten(0, (batch, count))
        if count == 1:
            return split, chunks.new_zeros(batch, 1), noise.new_zeros(batch, dtype=torch.int64)
        return split, *self.judged(cond, split, noise)

    def judged(self, cond: Tensor, chunks: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Return what the critic says (B, N) of chunks (B, N, H, A), whoever made them, and the chosen (B,)."""
        batch, count = chunks.shape[:2]
        rows = cond.repeat_interleave(count, dim=0)
        values = self._judge.of_chunks(rows, chunks.flatten(0, 1)).view(batch, count)
        return values, choose(values, noise[..., -1], self.acting)

    def _guide(self, cond: Tensor) -> Guide:
        """Return the gradient of strength * Q / temperature at the clean data, for conditions (rows, h, D)."""
        judge, scale = self._judge, self.acting.strength / self.acting.temperature
        exact = self.acting.jacobian == "exact"
        most = MOST_EXACT if exact else MOST_IDENTITY
        return Guide(lambda _, __, data: scale * judge.gradient(cond, data), exact, most)

    @torch.no_grad()
    def _branching(self, cond: Tensor, noise: Tensor, network: Network | None) -> Tensor:
        """Decide between the steps of samples."""
        policy, judge, acting = denoised_by(self.composed_of), self._judge, self.acting
        process, levels, called = policy.process, policy.process.noise_levels(), network or policy.network
        if acting.guidance == "fk":
            rows = cond.repeat_interleave(acting.candidates, dim=0)  # (B N, h, D)
            chunks = particles.sample(
                lambda x, level: process.predict_data(called, x, level, rows),
                lambda data: judge.of_data(rows, data),
                levels,
                noise,
                policy.noise_shape,
                acting,
            )
        else:
            chunks = tree.search(
                lambda x, times: process.denoise(called, x, times, cond),
                lambda data: judge.of_data(cond, data),
                levels,
                noise,
                policy.noise_shape,
                acting,
            )
        return policy.to_raw(chunks)

    @property
    def _judge(self) -> Judge:
        assert self.critic is not None  # checked at the start
        return Judge(self.composed_of, self.critic)


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


def claim(policy: PolicyModule, windows: Mapping[str, Tensor], chunks: Tensor) -> Tensor:
    """Return what a policy's critic says of chunks (B, H, A) in raw units, whoever made them: (B,).

    Args:
        policy: with a critic.
        windows: {key: (B, h, ...)} raw units.
        chunks: raw units.

    Raises:
        LaminarError: the policy has no critic.
    """
    critic = critic_of(policy)
    if critic is None:
        raise LaminarError("a policy without a critic has nothing to say about chunks; train one, such as method=iql")
    return Judge(policy, critic).of_chunks(policy.encode(windows), chunks)


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
def guide(policy: PolicyModule, how: Acting | Mapping[str, Any] | None) -> PolicyModule: ...
@overload
def guide(policy: Policy, how: Acting | Mapping[str, Any] | None) -> Policy: ...
def guide(policy: Policy, how: Acting | Mapping[str, Any] | None) -> Policy:
    """Return a policy that acts as told, of the same weights: itself where it does so already.

    Args:
        policy: any.
        how: the way to act as a whole; or by name what is not as the policy has it; or None, which leaves all as it is.

    Raises:
        LaminarError: no critic that could choose; a choice without an effect; or a policy that acts as it was built,
            because it is accelerated, exported or elsewhere.
    """
    acting = acting_of(policy).told(how)
    if acting.to_json() == acting_of(policy).to_json():  # settings without an effect make no difference
        return policy
    if not isinstance(policy, PolicyModule):
        raise LaminarError(
            f"{type(policy).__name__} acts as it was built, and cannot be told to act otherwise; guide the policy that "
            "it was built of: accelerate(guide(policy, acting))"
        )
    inside = policy.acting_as(acting)
    if inside is not None:
        return inside
    if isinstance(policy, Guided):
        return Guided(policy.composed_of, policy.critic, acting)
    if not acting_of(policy).plain:
        raise LaminarError(
            f"a part of this {policy.config['kind']} policy acts by {acting_of(policy)}; guide that part before it is "
            "composed"
        )
    return Guided(policy, critic_of(policy), acting)


def _check_loaded(policy: Guided, _: object) -> None:
    """Refuse a critic that has diverged also after weights were loaded."""
    check_critic(policy.critic, policy.acting)
