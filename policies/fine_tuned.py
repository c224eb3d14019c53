"""A policy whose last denoising steps were fine-tuned: a frozen base makes the first ones, a tuned network the rest.

Diffusion policy optimization (DPPO, Ren et al. 2024) changes the last K' of K steps. The base is stored with the tuned
network, so that what comes out is a policy like any other; a function of its noise where the base is one.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any, cast

import torch
from torch import Tensor

from ..data.spec import Spec
from ..errors import LaminarError
from .generative import GenerativePolicy
from .module import PolicyModule
from .networks import Network
from .processes.solver_schedules import Steps
from .processes.solvers import Source
from .processes.unrolled import Calls, Unrolled


class FineTuned(PolicyModule):
    """A base whose last steps another network of the same settings takes.

    Attributes:
        base: the frozen policy.
        network: which takes the last steps.
        tuned_steps: K', how many these are.
    """

    def __init__(self, base: GenerativePolicy, network: Network, tuned_steps: int) -> None:
        """Put a network behind the first steps of a base; weights are shared, not copied.

        Raises:
            LaminarError: the base has not so many steps, or none that stand alone.
        """
        super().__init__()
        check_steps(base, tuned_steps)
        self.base, self.network, self.tuned_steps = base, network, tuned_steps
        self.spec = base.spec

    @property
    def generative(self) -> GenerativePolicy:
        """The base, as what it is."""
        return cast(GenerativePolicy, self.composed_of)

    @property
    def noise_shape(self) -> tuple[int, ...]:
        """(H, A), the shape of one sample's noise."""
        return self.composed_of.noise_shape

    @property
    def config(self) -> dict[str, Any]:
        """Everything but the weights and the Spec that `restore` needs, as plain values."""
        return {"kind": "fine_tuned", "tuned_steps": self.tuned_steps, "base": self.composed_of.config}

    def calls(self, steps: Steps = None) -> Calls:
        """Return the network calls of one decision.

        Raises:
            LaminarError: other steps than those that were tuned.
        """
        own = self.generative.process.num_steps
        if steps not in (None, own):
            raise LaminarError(
                f"the last {self.tuned_steps} of this policy's {own} steps were tuned as they are, so that it cannot "
                "make others or follow a solver schedule; leave steps out"
            )
        return self.composed_of.calls()

    def decode(
        self, cond: Tensor, noise: Tensor, steps: Steps = None, source: Source = None, network: Network | None = None
    ) -> Tensor:
        """Map conditions (B, h, D) and noise (B, H, A) to chunks (B, H, A), raw units; see `generate`."""
        if steps is not None:
            self.calls(steps)
        relay: Any = self._relay(network or self.generative.network)
        return self.generative.decode(cond, noise, None, source, relay)

    def _relay(self, network: Network | Unrolled) -> Relay:
        """Hand over to the tuned network; in a loop whose times are known it knows its own."""
        first = self.generative.process.num_steps - self.tuned_steps
        if not isinstance(network, Unrolled):
            return Relay(network, self.network, first)
        before, after = network.times[:first], network.times[first:]
        return Relay(Unrolled(network.network, before), Unrolled(self.network, after), first)


class Relay:
    """Two networks in one sampling loop: the first makes so many calls, the second all others."""

    def __init__(self, first: Network | Unrolled, second: Network | Unrolled, calls: int) -> None:
        """Begin a loop; a relay is for one."""
        self._networks, self._left = (first, second), calls

    def __call__(self, x: Tensor, times: Tensor, cond: Tensor) -> Tensor:
        """Evaluate the network whose turn it is; see `Network.forward`."""
        self._left -= 1
        return self._networks[self._left < 0](x, times, cond)


def check_steps(base: GenerativePolicy, tuned_steps: int) -> None:
    """Refuse a number of steps that a policy does not have, and a solver whose steps cannot be told apart.

    Raises:
        LaminarError: says what to choose.
    """
    steps = base.process.num_steps
    if not 1 <= tuned_steps <= steps:
        raise LaminarError(
            f"the policy makes {steps} denoising step{'s' * (steps > 1)}, and the last {tuned_steps} of them were to "
            f"be tuned; choose 1 to {steps}"
        )
    zeros, unchanged = torch.zeros(1, 1, 1), cast(Network, lambda x, times, cond: x)
    base.process.kernel(unchanged, zeros, steps - tuned_steps, zeros)  # raises where steps do not stand alone


def restore(config: Mapping[str, Any], spec: Spec, base: PolicyModule | None) -> FineTuned:
    """Build a fine-tuned policy without its weights from its `config`."""
    if not isinstance(base, GenerativePolicy):
        raise LaminarError(
            "a fine-tuned policy needs a generative base, and its config.json names none; use another checkpoint"
        )
    return FineTuned(base, deepcopy(base.network), config["tuned_steps"])
