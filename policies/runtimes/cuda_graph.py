"""The whole loop as one CUDA graph: one launch a chunk, no Python and no allocation in between."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ...errors import LaminarError
from ..program import Program
from . import Inputs

WARM_UPS = 3  # before a capture, in which libraries choose kernels and allocate, as PyTorch advises


def missing(device: torch.device) -> str | None:
    """Tell why `device` cannot capture; None when it can."""
    if not torch.cuda.is_available():
        return "there is no CUDA device"
    return None if device.type == "cuda" else f"the policy is on {device}; move it with policy.to('cuda')"


class Captured:
    """A captured function; reads weights and inputs where they lie, so changes in place are seen by the next replay."""

    def __init__(self, function: Callable[..., Tensor], inputs: Inputs) -> None:
        """Warm up on a side stream and capture.

        Raises:
            LaminarError: an operation cannot be captured; it is named, with the remedy.
        """
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(WARM_UPS):
                function(*inputs)
        torch.cuda.current_stream().wait_stream(side)
        self.graph = torch.cuda.CUDAGraph()
        try:
            # A pool of its own: graphs may then be replayed in any order and dropped one by one.
            with torch.cuda.graph(self.graph):
                self.output = function(*inputs)
        except RuntimeError as error:
            reason = str(error).splitlines()[0]
            raise LaminarError(
                f"the sampler cannot be captured in a CUDA graph ({reason}); use runtime=compile or runtime=eager"
            ) from error

    def __call__(self) -> Tensor:
        """Replay; the result (B, H, A) is overwritten by the next call."""
        self.graph.replay()
        return self.output

    def refresh(self) -> None:
        """Do nothing: a replay reads the weights."""


def build(program: Program, inputs: Inputs) -> Captured:
    """Capture the program."""
    return Captured(program, inputs)
