"""Data-parallel training under `torchrun`: every process takes its share of one large batch.

All processes draw the indices and the noise of the whole batch from the same generator and keep every n-th row, so
n processes with batch B compute what one process with batch n * B computes, and all stay in the same random state.
Gradients are one flat buffer, hence one all-reduce a step; no wrapper around the module is needed.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


@dataclass(frozen=True)
class Group:
    """The processes that train one policy together; this one is `rank` of `size`."""

    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        """Whether this process writes files and prints."""
        return self.rank == 0

    def share(self, whole: Tensor, dim: int = 0) -> Tensor:
        """Rows of the whole batch, which runs along `dim`, that belong to this process."""
        if self.size == 1:
            return whole
        return whole.index_select(dim, torch.arange(self.rank, whole.shape[dim], self.size, device=whole.device))

    def average(self, value: Tensor) -> None:
        """Replace `value` by its mean over all processes, in place."""
        if self.size > 1:
            _sum_over_processes(value)
            value.div_(self.size)

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in any process."""
        if self.size == 1:
            return flag
        votes = torch.tensor(int(flag))
        dist.all_reduce(votes)
        return bool(votes)

    def barrier(self) -> None:
        """Wait for all processes."""
        if self.size > 1:
            dist.barrier()


# A compiler splits its graph here, so that the collective is the same one in all runtimes.
_sum_over_processes: Any = torch.compiler.disable(dist.all_reduce)


def join(device: str) -> Group:
    """Join the group that `torchrun` describes in the environment; alone without it."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        return Group()
    if device.startswith("cuda"):
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))  # from now on "cuda" is this process's own device
        dist.init_process_group("cpu:gloo,cuda:nccl")
    else:
        dist.init_process_group("gloo")
    return Group(dist.get_rank(), size)


def leave(group: Group) -> None:
    """Leave the group."""
    if group.size > 1:
        dist.destroy_process_group()
