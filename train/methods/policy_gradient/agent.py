"""What on-policy improvement trains beside a frozen policy: a copy of its network, a value function, a noise head."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import Tensor, nn

from ....errors import LaminarError
from ....policies.fine_tuned import FineTuned, check_steps
from ....policies.generative import GenerativePolicy
from ....policies.module import PolicyModule
from ....policies.networks import Network
from ....policies.networks.critics import Critic
from ....policies.networks.noise_head import NoiseHead
from ...start import clone_of
from .config import Config


class Agent(nn.Module):
    """Everything that learns, and the policy that does not.

    Attributes:
        base: frozen; it encodes, and makes the first denoising steps.
        clone: frozen network of the last steps, as the policy that is improved had it.
        tuned: the network that learns, for the last steps.
        value: V(s) of conditions.
        head: of objective=noise_head, how far steps deviate.
        old: of objective=matching, the network that acted in this iteration.
        averaged: slow copy of the tuned network, if there is one; it is what is saved then.
        steps: K, denoising steps of the policy.
        tuned_steps: K', how many of them learn.
    """

    head: NoiseHead
    old: Network
    averaged: Network
    clip: Tensor  # (K',) of each tuned step, from the noisiest
    fade: Tensor  # (K',) what is left of an advantage there

    def __init__(self, policy: PolicyModule, config: Config) -> None:
        """Build what learns: as the policy is.

        Raises:
            LaminarError: the policy has no steps of the kind that this objective needs.
        """
        super().__init__()
        self.base, self.clone, self.tuned_steps = start(policy, config)
        self.config, self.steps = config, self.base.process.num_steps
        self.tuned = deepcopy(self.clone)
        spec = self.base.spec
        self.executed, width = spec.execute, spec.history * self.base.condition_dim
        self.value = Critic(config.value, width, 0)
        if config.objective == "noise_head":
            self.head = NoiseHead(config.noise_head, width, self.base.noise_shape)
        if config.objective == "matching":
            self.old = deepcopy(self.clone)
        if config.average:
            self.averaged = deepcopy(self.clone)
        self.register_buffer("clip", torch.tensor(clips(config, self.tuned_steps)), persistent=False)
        left = [config.denoising_discount ** (self.tuned_steps - 1 - i) for i in range(self.tuned_steps)]
        self.register_buffer("fade", torch.tensor(left), persistent=False)

    @property
    def first(self) -> int:
        """Number of the first step that learns."""
        return self.steps - self.tuned_steps

    @property
    def learned(self) -> list[str]:
        """Parts that the policy's losses change."""
        return ["tuned", *(["head"] if self.config.objective == "noise_head" else [])]

    def part_of(self, name: str) -> str | None:
        """Part that a parameter belongs to; None for those that never change."""
        part = name.split(".")[0]
        return None if part in ("base", "clone") else part

    def values(self, cond: Tensor) -> Tensor:
        """Map conditions (B, h, D) to V (B,)."""
        return self.value(cond.flatten(1), cond.new_empty(len(cond), 0))[0]

    def policy(self) -> PolicyModule:
        """Return the policy whose last steps are the learned ones, of shared weights."""
        network = self.averaged if self.config.average else self.tuned
        if self.tuned_steps < self.steps:
            return FineTuned(self.base, network, self.tuned_steps).eval()
        whole = deepcopy(self.base)
        whole.network = network
        return whole.eval()


def start(policy: PolicyModule, config: Config) -> tuple[GenerativePolicy, Network, int]:
    """Return the base, the network of its last steps, and how many of these are to learn.

    Raises:
        LaminarError: a policy that was tuned in other steps before, or one without such steps.
    """
    if isinstance(policy, FineTuned):
        base, network, least = policy.generative, policy.network, policy.tuned_steps
    else:
        base = clone_of(policy)
        network, least = base.network, 1
    steps = base.process.num_steps
    wanted = steps if config.tuned_steps is None or config.objective == "matching" else config.tuned_steps
    tuned = min(wanted, steps)
    if isinstance(policy, FineTuned) and tuned != least:
        raise LaminarError(
            f"the policy's last {least} steps were tuned before, and now {tuned} were to be; give "
            f"method.tuned_steps={least}, and no objective that tunes all"
        )
    if config.objective == "matching":
        if not base.process.regresses:
            raise LaminarError(
                "method.objective=matching needs a training loss that is a squared error, which meanflow, flow and "
                f"diffusion have, and this policy is of {base.policy_config.process.name}; take method=dppo"
            )
        return base, network, tuned
    check_steps(base, tuned)
    if config.objective == "noise_head" and base.process.inner_draws:
        raise LaminarError(
            "method.objective=noise_head gives noise to steps that have none, and this policy's solver draws its own; "
            "take method=dppo, or clone it with policy.process.solver=ddim"
        )
    return base, network, tuned


def clips(config: Config, tuned_steps: int) -> list[float]:
    """Return the clip of each tuned step, growing from `clip_first` to `clip`: noisier steps may change less.

    eps_i = first + (eps - first) (e^(3 i / (K' - 1)) - 1) / (e^3 - 1), as DPPO's code has it; of a single step eps,
    where that code divides by zero.
    """
    if tuned_steps == 1:
        return [config.clip]
    place = torch.linspace(0, 1, tuned_steps, dtype=torch.float64)
    grown = torch.expm1(3 * place) / torch.expm1(torch.tensor(3.0, dtype=torch.float64))
    return (config.clip_first + (config.clip - config.clip_first) * grown).tolist()
