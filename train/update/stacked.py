"""Several seeds of one method, updated together.

    laminar train method=ofql policy=meanflow data.path=FILE seeds=[0,1,2,3] out=runs/ofql

The replicas' states are stacked as (S, P) tensors and updated by one `torch.func.vmap` over them. Each replica begins
as a run of its own with that seed does and keeps its own generator, so its draws are the same to the bit, and its
weights to the rounding of products in another order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map  # the only public-enough name; `torch.func.vmap` uses the same trees

from ...errors import LaminarError
from ..improver import Improver
from .runners import Metrics, Program, State


def stacked(replicas: Sequence[Improver]) -> Program:
    """Join the programs of S replicas into one whose state and metrics have S rows.

    The replicas' own states become views of the rows, so each of them still saves, loads and deploys by itself.

    Raises:
        LaminarError: the method's update is not a function of tensors.
    """
    programs = [replica.program for replica in replicas if replica.program is not None]
    if len(programs) < len(replicas):
        name = type(replicas[0]).__name__
        raise LaminarError(f"{name} trains one seed at a time; give seed=K and another out= for each of the seeds")
    first = programs[0]
    state = {name: torch.stack([program.state[name] for program in programs]) for name in first.state}
    for row, replica in enumerate(replicas):
        replica.move({name: value[row] for name, value in state.items()})

    def function(state: State, batch: Any, draws: Any, rates: Tensor, act: bool) -> tuple[State, Metrics]:
        def one(state: State, batch: Any, draws: Any) -> Any:
            return first.function(state, batch, draws, rates, act)

        axes = tuple(tree_map(_axis, tree) for tree in (state, batch, draws))
        return torch.func.vmap(one, in_dims=axes)(state, batch, draws)

    def draw() -> tuple[Tensor, Any]:
        return tree_map(_stack, *(program.draw() for program in programs))

    def gather(index: Tensor) -> Any:  # (S, B): one read for all
        return tree_map(lambda value: value.unflatten(0, index.shape), first.gather(index.flatten()))

    generators = [generator for program in programs for generator in program.generators]
    return Program(state, function, draw, gather, first.schedule, generators)


def _axis(leaf: Any) -> int | None:
    return 0 if isinstance(leaf, Tensor) else None


def _stack(*leaves: Any) -> Any:
    return torch.stack(leaves) if isinstance(leaves[0], Tensor) else leaves[0]
