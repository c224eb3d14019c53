"""Real-time chunking that was trained: a chunk that begins with the actions that are executed while it is made.

While a chunk is computed, d actions of the last one are executed, so its own first d have to be those. A policy that
was trained with a prefix (`method.prefix=N` of method=bc; Black et al. 2025, arXiv 2512.05964) had the first d actions
of demonstrated chunks before it, d between 0 and N, and learned the rest. Asked for a chunk, it is given those that
will have been executed: no guidance, no gradient, one call where one call makes a chunk.

    policy = load_policy("runs/door")                            # cloned with method.prefix=4
    chunk = policy.sample(obs, prefix=prefix_for(policy, planned, delay))

Actions and their number are tensors, so that a loop that is compiled, captured or exported takes them as inputs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from ..data.spec import Spec
from ..errors import LaminarError


@dataclass(frozen=True)
class Prefix:
    """How chunks begin.

    Attributes:
        actions: (B, N, A), raw units, N of the policy.
        length: (B,) whole numbers, how many of them count; more than N are N.
    """

    actions: Tensor
    length: Tensor

    @property
    def given(self) -> Tensor:
        """(B, N) which actions count."""
        return torch.arange(self.actions.shape[1], device=self.length.device) < self.length[:, None]

    def over(self, chunk: Tensor) -> Tensor:
        """Return chunks (B, H, A) whose first actions are the given ones, to the last bit."""
        longest = self.actions.shape[1]
        first = torch.where(self.given[..., None], self.actions, chunk[:, :longest])
        return torch.cat((first, chunk[:, longest:]), dim=1)


class Begins(Protocol):
    """A policy whose chunks can be told how to begin: of tensors, accelerated or exported."""

    @property
    def spec(self) -> Spec:
        """What it sees and does."""
        ...

    @property
    def prefix(self) -> int:
        """N, actions that can be given at most; 0 where it was not trained with any."""
        ...


def prefix_for(policy: Begins, planned: Any, length: Any) -> Prefix:
    """Return how chunks begin that come `length` control periods late.

    A policy that was trained with fewer actions is given those that it knows: such a chunk is late but of use, and the
    first ones that it made itself are over when it comes.

    Args:
        policy: that was trained with a prefix.
        planned: (B, n, A), a tensor or an array, the actions from the moment of the observation on, raw units.
        length: actions that will have been executed, one number or (B,).

    Raises:
        LaminarError: the policy was trained without a prefix, or a shape does not fit.
    """
    planned = torch.as_tensor(planned, dtype=torch.float32)
    _check_trained(policy)
    if planned.ndim != 3 or planned.shape[2] != policy.spec.action_dim:
        raise LaminarError(
            f"planned actions have shape {tuple(planned.shape)}, expected (batch, any, {policy.spec.action_dim})"
        )
    longest, known = policy.prefix, planned.shape[1]
    actions = planned.new_zeros(len(planned), longest, planned.shape[2])
    actions[:, :known] = planned[:, :longest]
    length = torch.as_tensor(length, device=planned.device).expand(len(planned)).clamp(0, min(longest, known))
    return Prefix(actions, length)


def checked(policy: Begins, prefix: Prefix, batch: int, device: torch.device) -> Prefix:
    """Return a prefix on the device of a policy that takes it for so many observations.

    Raises:
        LaminarError: it does not; or an action on the host is not finite.
    """
    _check_trained(policy)
    actions, length = torch.as_tensor(prefix.actions, dtype=torch.float32), torch.as_tensor(prefix.length)
    wanted = (batch, policy.prefix, policy.spec.action_dim)
    if tuple(actions.shape) != wanted or tuple(length.shape) != (batch,) or length.is_floating_point():
        raise LaminarError(
            f"a prefix has actions {tuple(actions.shape)} and lengths {tuple(length.shape)} of {length.dtype}, "
            f"expected {wanted} and whole numbers ({batch},); `prefix_for` makes one"
        )
    if actions.device.type == "cpu" and not torch.compiler.is_compiling() and not actions.isfinite().all():
        raise LaminarError("the actions of a prefix must be finite")
    return Prefix(actions.to(device), length.to(device, torch.int64))


def _check_trained(policy: Begins) -> None:
    if not policy.prefix:
        raise LaminarError(
            "this policy was trained without a prefix, so that nothing can be given to it; clone one with "
            "method.prefix=4, or hold a flow or diffusion to what is planned by `continuing.continued`"
        )
