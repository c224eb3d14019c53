"""A runtime of one's own: sampling in double precision, which shows how much of a chunk is rounding.

    python examples/own/runtime.py bench policy.path=runs/maze runtimes=[eager,double]
    python examples/own/runtime.py eval policy.path=runs/maze policy.runtime=double env.id=laminar/PointMaze-v0

`disagreement(accelerate(policy, "double"))` of `laminar.policies.runtimes.fastest` is then eager's own rounding error.
"""

from __future__ import annotations

import sys
from copy import deepcopy

import torch
from torch import Tensor

import laminar
from laminar.cli import main
from laminar.policies.runtimes import Inputs
from laminar.policies.runtimes.program import SamplingProgram

NAME = "double"  # in place of the file's name


def missing(device: torch.device) -> str | None:
    """Tell why it cannot run a policy of `device`; None when it can."""
    return "Apple's GPUs have no double precision" if device.type == "mps" else None


class DoubleProgram:
    """A copy of the program in double precision; reads its inputs where they lie, and gives chunks in single."""

    def __init__(self, program: SamplingProgram, inputs: Inputs) -> None:
        """Bind the inputs, which stay where they are."""
        self.program, self.inputs = program, inputs
        self.refresh()

    def __call__(self) -> Tensor:
        """Return chunks (B, H, A)."""
        return self.double.reference(*(t.double() if t.is_floating_point() else t for t in self.inputs)).float()

    def refresh(self) -> None:
        """Copy the weights, which have changed."""
        self.double = deepcopy(self.program).double()


def build(program: SamplingProgram, inputs: Inputs) -> DoubleProgram:
    """Build from a policy's whole sampling loop."""
    return DoubleProgram(program, inputs)


if __name__ == "__main__":
    laminar.register("runtime", sys.modules[__name__])
    sys.exit(main(sys.argv[1:]))
