"""PyTorch, operation by operation: the reference."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from . import Inputs
from .program import SamplingProgram


def missing(device: torch.device) -> str | None:
    """Return None: it works everywhere."""
    return None


class BoundFunction:
    """Calls a function of the inputs; sees changed weights because it reads them."""

    def __init__(self, function: Callable[..., Tensor], inputs: Inputs) -> None:
        """Bind the inputs."""
        self.function, self.inputs = function, inputs

    def __call__(self) -> Tensor:
        """Return chunks (B, H, A)."""
        return self.function(*self.inputs)

    def refresh(self) -> None:
        """Do nothing."""


def build(program: SamplingProgram, inputs: Inputs) -> BoundFunction:
    """Return the policy's own `generate`."""
    return BoundFunction(program.reference, inputs)
