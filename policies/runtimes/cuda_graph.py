"""The whole loop as one CUDA graph: one launch a chunk, no Python and no allocation in between."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ...errors import LaminarError
from . import Inputs
from .program import SamplingProgram

WARM_UPS = 3  # before a capture, in which libraries choose kernels and allocate, as PyTorch advises


def missing(device: torch.device) -> str | None:
    """Tell why `device` cannot capture; None when it can."""
    if not torch.cuda.is_available():
        return "there is no CUDA device"
    return None if device.type == "cuda" else f"the policy is on {device}; move it with policy.to('cuda')"


class CapturedProgram:
    """A captured function; reads weights and inputs where they lie, so changes in place are seen by the next replay."""

    def __init__(self, function: Callable[..., Tensor], inputs: Inputs) -> None:
        """Warm up on a side stream and capture.

        Raises:
            LaminarError: an operation cannot be captured; it is named, with the remedy.
        """
        # The inputs may be on another device than the current one; and a capture that fails leaves its stream current.
        with torch.cuda.device(inputs[0].device), torch.cuda.stream(torch.cuda.current_stream(inputs[0].device)):
            side = torch.cuda.Stream()
            side.wait_stream(torch.cuda.current_stream())
            try:
                with torch.cuda.stream(side):
                    _warm_up(function, inputs)
                torch.cuda.current_stream().wait_stream(side)
                self.graph = torch.cuda.CUDAGraph()
                # A pool of its own: graphs may then be replayed in any order and dropped one by one.
                with torch.cuda.graph(self.graph):
                    self.output = function(*inputs)
            except RuntimeError as error:
                raise LaminarError(
                    f"the sampler cannot be captured in a CUDA graph ({_first(error)}); use runtime=compile or "
                    "runtime=eager"
                ) from error

    def __call__(self) -> Tensor:
        """Replay; the result (B, H, A) is overwritten by the next call."""
        self.graph.replay()
        return self.output

    def refresh(self) -> None:
        """Do nothing: a replay reads the weights."""


def _warm_up(function: Callable[..., Tensor], inputs: Inputs) -> None:
    """Run a few times, in the end with waits for the device forbidden.

    A wait would make the capture fail, after which PyTorch's generators and pools of memory are in disorder.
    """
    for _ in range(WARM_UPS - 1):
        function(*inputs)
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        function(*inputs)
    finally:
        torch.cuda.set_sync_debug_mode(before)


def _first(error: BaseException) -> str:
    """Return the cause: the end of a capture that failed raises once more, and says less."""
    while error.__context__ is not None:
        error = error.__context__
    return (str(error).splitlines() or [type(error).__name__])[0]


def build(program: SamplingProgram, inputs: Inputs) -> CapturedProgram:
    """Capture the program."""
    return CapturedProgram(program, inputs)
