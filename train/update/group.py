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

from ...errors import LaminarError


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
            _reduce(value)
            value.div_(self.size)

    def mean(self, value: Tensor) -> Tensor:
        """Return the mean of `value` over all processes, without a gradient."""
        if self.size == 1:
            return value
        whole = value.detach().clone()
        self.average(whole)
        return whole

    def same(self, number: int) -> bool:
        """Whether all processes have the same number, below 2**53."""
        if self.size == 1:
            return True
        ends = torch.tensor([number, -number], dtype=torch.float64)
        _reduce(ends, dist.ReduceOp.MAX)
        return float(ends[0]) == -float(ends[1])

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in any process."""
        if self.size == 1:
            return flag
        votes = torch.tensor(int(flag))
        _reduce(votes)
        return bool(votes)

    def barrier(self) -> None:
        """Wait for all processes."""
        if self.size > 1:
            _reduce(torch.zeros(1))


def _all_reduce(value: Tensor, how: Any = dist.ReduceOp.SUM) -> None:
    """Reduce `value` over all processes, in place.

    Raises:
        LaminarError: another process is gone.
    """
    try:
        dist.all_reduce(value, how)
    except RuntimeError as error:
        told = " ".join(str(error).strip().splitlines()[:1])
        raise LaminarError(
            f"another process of the group is gone ({told}); with torchrun --max-restarts=N the group starts anew and "
            "goes on from the last checkpoint"
        ) from error


# A compiler splits its graph here, so that the collective is the same one in all runtimes.
_reduce: Any = torch.compiler.disable(_all_reduce)


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


def restarted() -> bool:
    """Whether `torchrun` has started the group anew, after one of its processes ended badly."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0


def launcher(size: int) -> list[str]:
    """Return the words that start such a group: what `torchrun` was told, as far as the environment has it."""
    here = int(os.environ.get("LOCAL_WORLD_SIZE", size))
    words = ["torchrun", "--nproc-per-node", str(here)]
    if here < size:
        words += ["--nnodes", str(size // here), "--rdzv-backend", "c10d", "--rdzv-endpoint", "HOST:PORT"]
    return [*words, "-m", "laminar.cli"]


def leave(group: Group) -> None:
    """Leave the group."""
    if group.size > 1:
        dist.destroy_process_group()
