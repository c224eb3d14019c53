"""Runtimes: ways to run a policy's whole sampling loop. One module a runtime, found by its file name.

`program` is the loop as one function of tensors, `prepared` holds one that a runtime has built, `accelerated` is a
policy made of them, and `accelerate` chooses.

A runtime module defines

    def missing(device: torch.device) -> str | None        why it cannot be used here; None when it can
    def build(program: SamplingProgram, inputs: Inputs) -> Run     the program, reading its inputs where they lie

The inputs stay at the same place for the life of a `Run`; the caller writes into them and calls it.
"""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from ...registry import Family

RUNTIMES: Family[None] = Family("runtime", __name__, required=("build", "missing"))
"""All runtimes, by name."""

Inputs = tuple[Tensor, ...]
"""Noise (B, *noise_shape); further noise (inner_draws, rows, H, A) if the solver draws any; then the windows."""


class Run(Protocol):
    """A program that has been built."""

    def __call__(self) -> Tensor:
        """Map what the inputs hold now to chunks (B, H, A); may write into the same tensor every time."""
        ...

    def refresh(self) -> None:
        """Take up weights that changed in place; nothing to do where they are read anew in each call."""
        ...
