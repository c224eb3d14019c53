"""torch.compile of the loop, captured in a CUDA graph: fused kernels and one launch."""

from __future__ import annotations

from ..program import Program
from . import Inputs, cuda_graph
from .compile import compiled

missing = cuda_graph.missing


def build(program: Program, inputs: Inputs) -> cuda_graph.Captured:
    """Compile in the warm-up of the capture, then capture."""
    return cuda_graph.Captured(compiled(program), inputs)
