"""What every policy is: a pure map from observation windows and noise to a chunk of actions."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from torch import Tensor

from ..data.spec import Spec
from .observations import Observation


@runtime_checkable
class Policy(Protocol):
    """A map (windows, noise) -> chunk without any memory; an `acting.Actor` around it acts step by step.

    Policies made of tensors are `module.PolicyModule`s. An accelerated, an exported and a remote policy are policies
    too, and so is a scripted baseline: three members are all that acting and evaluation ask for.
    """

    @property
    def spec(self) -> Spec:
        """What it sees and does, how many observations, and how its chunks are executed."""
        ...

    @property
    def noise_shape(self) -> tuple[int, ...] | None:
        """Shape of the noise of one chunk; None for a policy without any."""
        ...

    def sample(self, obs: Observation, noise: Tensor | None = None) -> Tensor:
        """Map windows {key: (B, h, ...)} and noise (B, *noise_shape) to chunks (B, H, A), raw units on both sides.

        A policy that draws, given noise or not, takes a generator as third argument.
        """
        ...
