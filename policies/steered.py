"""A policy that is steered: a learned actor chooses the noise that a frozen base makes its chunk of.

Diffusion steering (DSRL, Wagenmaker et al. 2025). The base is any policy that is a function of its noise; it is stored
with the actor, so that what comes out is a policy like any other.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ..data.spec import Spec
from ..errors import LaminarError
from .generative import generative_in
from .module import PolicyModule, sampled_otherwise
from .networks import Network
from .networks.noise_actor import NoiseActor, NoiseActorConfig, described_actor
from .policy import Policy
from .processes.solver_schedules import Steps
from .processes.solvers import Source


class Steered(PolicyModule):
    """A noise actor in front of a base; its own noise is what the actor draws by, of the same shape as the base's.

    Attributes:
        base: the frozen policy.
        noise_actor: (encoded observation, standard normal noise) -> noise of the base.
        repeated: the actor chooses one vector of noise, which all steps of the chunk get.
    """

    def __init__(self, base: PolicyModule, actor: NoiseActor, repeated: bool = False) -> None:
        """Stand in front of a base; weights are shared, not copied.

        Raises:
            LaminarError: the base's chunk is no function of its noise.
        """
        super().__init__()
        check_base(base)
        self.base, self.noise_actor, self.repeated = base, actor, repeated
        self.spec = base.spec

    @property
    def noise_shape(self) -> tuple[int, ...]:
        """Shape of the noise of one chunk."""
        shape = self.composed_of.noise_shape
        return shape[1:] if self.repeated else shape

    @property
    def noise_axes(self) -> str:
        """What the axes of a batch of noise are, for messages."""
        return "(batch, action)" if self.repeated else self.composed_of.noise_axes

    @property
    def config(self) -> dict[str, Any]:
        """Everything but the weights and the Spec that `restore` needs, as plain values."""
        actor = self.noise_actor.described
        return {"kind": "steered", "actor": actor, "repeated": self.repeated, "base": self.composed_of.config}

    def decode(
        self, cond: Tensor, noise: Tensor, steps: Steps = None, source: Source = None, network: Network | None = None
    ) -> Tensor:
        """Map conditions (B, h, D) and noise (B, *noise_shape) to chunks (B, H, A), raw units; see `generate`."""
        chosen = self.noise_actor.sample(cond.flatten(1), noise.flatten(1))
        return self.composed_of.decode(cond, as_noise(self, chosen), steps, source, network)


def as_noise(policy: Steered, chosen: Tensor) -> Tensor:
    """Return what an actor chose, (B, n), as noise of the base, (B, *its noise_shape)."""
    return shaped_noise(chosen, policy.composed_of.noise_shape, policy.repeated)


def shaped_noise(chosen: Tensor, shape: tuple[int, ...], repeated: bool) -> Tensor:
    """Return chosen numbers (B, n) as noise (B, *shape); `repeated` ones are a vector for all steps of the chunk."""
    return chosen.unsqueeze(1).expand(-1, *shape) if repeated else chosen.view(-1, *shape)


def chosen_dim(shape: tuple[int, ...], repeated: bool) -> int:
    """Return n, how many numbers of noise are chosen for a base whose noise has this shape.

    Raises:
        LaminarError: one vector for all steps, and the noise has no steps.
    """
    if repeated and len(shape) < 2:
        raise LaminarError(
            f"noise can be repeated over the steps of a chunk, and this base's of shape {shape} has none"
        )
    return math.prod(shape[1:] if repeated else shape)


def check_base(base: Policy) -> None:
    """Refuse a policy that noise cannot steer.

    Raises:
        LaminarError: says why, and what to do.
    """
    otherwise = sampled_otherwise(base)
    if otherwise is not None:
        raise LaminarError(f"steering samples the policy: {otherwise}")
    inner = generative_in(base) if isinstance(base, PolicyModule) else None
    if inner is not None and inner.process.inner_draws:
        raise LaminarError(
            "steering needs a policy whose chunk is a function of its starting noise, and this one's solver draws more "
            "on the way; choose policy.process.solver=ddim when it is cloned"
        )
    if not base.noise_shape or (inner is not None and inner.process.deterministic):
        raise LaminarError(
            "steering needs a policy that begins with noise, and this one is deterministic; clone another one with "
            "policy=meanflow, flow or diffusion"
        )


def new_actor(base: PolicyModule, config: NoiseActorConfig, bound: float, repeated: bool) -> NoiseActor:
    """Build a fresh noise actor for a base."""
    return NoiseActor(config, *_widths(base, repeated), bound)


def _widths(base: PolicyModule, repeated: bool) -> tuple[int, int]:
    """Return how many numbers an actor sees and chooses."""
    return base.spec.history * base.condition_dim, chosen_dim(base.noise_shape, repeated)


def restore(config: Mapping[str, Any], spec: Spec, base: PolicyModule | None) -> Steered:
    """Build a steered policy without its weights from its `config`."""
    if base is None:
        raise LaminarError("a steered policy needs a base, and its config.json names none; use another checkpoint")
    repeated = config["repeated"]
    return Steered(base, described_actor(config["actor"], *_widths(base, repeated)), repeated)
