"""torch.compile of the loop, captured in a CUDA graph: fused kernels and one launch."""

from __future__ import annotations

import torch

from . import Inputs, cuda_graph
from . import compile as inductor
from .program import SamplingProgram


def missing(device: torch.device) -> str | None:
    """Tell why the loop cannot be compiled and captured on `device`; None when it can."""
    return cuda_graph.missing(device) or inductor.missing(device)


def build(program: SamplingProgram, inputs: Inputs) -> cuda_graph.CapturedProgram:
    """Compile in the warm-up of the capture, then capture."""
    return cuda_graph.CapturedProgram(inductor.compiled(program), inputs)
