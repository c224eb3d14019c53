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

from .program import Batches, Feed, Metrics, State, UpdateProgram


def stacked(programs: Sequence[UpdateProgram]) -> UpdateProgram:
    """Join the programs of S replicas into one whose state and metrics have S rows; their batches are read at once."""
    first = programs[0]
    state = {name: torch.stack([program.state[name] for program in programs]) for name in first.state}

    def function(state: State, batch: Any, draws: Any, rates: Any, variant: bool) -> Metrics:
        def one(state: State, batch: Any, draws: Any) -> tuple[State, Metrics]:
            new = dict(state)
            metrics = first.function(new, batch, draws, rates, variant)
            return {name: value for name, value in new.items() if value is not state[name]}, metrics

        axes = tuple(tree_map(_axis, tree) for tree in (state, batch, draws))
        new, metrics = torch.func.vmap(one, in_dims=axes)(state, batch, draws)
        state.update(new)
        return metrics

    def draw() -> tuple[Tensor, Any]:
        return tree_map(_stack, *(program.feed.draw() for program in programs))

    experience = _Together([program.feed.experience for program in programs])
    generators = [generator for program in programs for generator in program.feed.generators]
    return UpdateProgram(state, function, Feed(draw, experience, generators), first.rates)


class _Together:
    """The batches of S replicas: of the same recordings, read at once, or of what each of them has seen."""

    def __init__(self, replicas: Sequence[Batches]) -> None:
        self._replicas = replicas
        self._shared = all(one is replicas[0] for one in replicas)
        self.reads_disk = any(one.reads_disk for one in replicas)

    def gather(self, index: Tensor) -> Any:
        """Return the batches of indices (S, B)."""
        if self._shared:
            whole = self._replicas[0].gather(index.flatten())
            return tree_map(lambda value: value.unflatten(0, index.shape), whole)
        return tree_map(_stack, *(one.gather(own) for one, own in zip(self._replicas, index, strict=True)))


def rows(state: State, index: int) -> State:
    """Return views of one replica's row."""
    return {name: value[index] for name, value in state.items()}


def _axis(leaf: Any) -> int | None:
    return 0 if isinstance(leaf, Tensor) else None


def _stack(*leaves: Any) -> Any:
    return torch.stack(leaves) if isinstance(leaves[0], Tensor) else leaves[0]
