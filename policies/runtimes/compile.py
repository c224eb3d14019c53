"""torch.compile of the whole loop: fused kernels, the same weights."""

from __future__ import annotations

import shutil
from collections.abc import Callable

import torch
from torch import Tensor

from . import Inputs
from .eager import BoundFunction
from .program import SamplingProgram


def missing(device: torch.device) -> str | None:
    """Tell why kernels cannot be compiled for `device`; None when they can."""
    if not any(map(shutil.which, ("g++", "clang++", "c++"))):
        return "there is no C++ compiler; install g++"
    return None


def compiled(program: SamplingProgram) -> Callable[..., Tensor]:
    """Return the program as a compiled function: one graph, shapes fixed, compiled on its first call."""

    def sample(*inputs: Tensor) -> Tensor:
        return program(*inputs)

    # The compiler counts what it has made of one piece of code, and past a few gives up: a piece for each program.
    sample.__code__ = sample.__code__.replace()
    return torch.compile(sample, fullgraph=True, dynamic=False)


def build(program: SamplingProgram, inputs: Inputs) -> BoundFunction:
    """Compile now."""
    run = BoundFunction(compiled(program), inputs)
    for _ in range(2):
        run()
    return run
