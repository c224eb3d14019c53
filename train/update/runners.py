"""How an update is run: eagerly, compiled, or captured whole in a CUDA graph.

The mathematics is the same and the eager path is the reference. `runner` makes a function of the update's number from
an `UpdateProgram`, which changes the program's state in place:

    laminar train method=ofql policy=meanflow runtime=eager …
    laminar train method=ofql policy=meanflow runtime=compile …        the whole update as one compiled graph
    laminar train method=ofql policy=meanflow runtime=cuda_graph …     draws, batch and update in one launch
    laminar train … runtime=cuda_graph runtime.compiled=true runtime.updates_per_launch=10
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
from torch import Tensor

from ...errors import LaminarError
from ..config import RuntimeConfig
from .program import Metrics, UpdateProgram

Runner = Callable[[int], Metrics]
WARM_UPS = 3  # updates before a capture, in which libraries choose kernels and allocate, as PyTorch advises


def runner(program: UpdateProgram, runtime: RuntimeConfig, whole: bool = True) -> Runner:
    """Return a function that takes one update, or one launch of several, and returns its metrics on the device.

    Args:
        program: the update.
        runtime: `compiled` as one graph of `torch.compile`, which is made at the first update; `captured` in a CUDA
            graph, together with the draws and the batch, then `updates_per_launch` at once, whose metrics are means.
        whole: compile as one graph or fail; data parallel, the sum over processes divides it.

    Raises:
        LaminarError: capture without a CUDA device or of reads from the disk, or several updates a launch without it.
    """
    advance: Any = torch.compile(program.advance, fullgraph=whole) if runtime.compiled else program.advance
    if runtime.captured:
        _check_capture(program)
        return CapturedUpdate(program, advance, runtime.updates_per_launch)
    if runtime.updates_per_launch != 1:
        raise LaminarError(
            f"runtime.updates_per_launch={runtime.updates_per_launch} needs a captured update; use runtime=cuda_graph"
        )

    def update(step: int) -> Metrics:
        rates, variant = program.rates(step)
        batch, draws = program.feed.next()
        return advance(batch, draws, _to_device(rates, program.device) if runtime.compiled else rates, variant)

    return update


def _check_capture(program: UpdateProgram) -> None:
    if program.device.type != "cuda":
        raise LaminarError(
            f"a CUDA graph needs a CUDA device, the update is on {program.device.type}; use runtime=compile there"
        )
    if program.feed.experience.reads_disk:
        raise LaminarError("images on disk cannot be read inside a CUDA graph; use runtime=cuda")


class CapturedUpdate:
    """A program in CUDA graphs: one launch draws, gathers and updates, and the host only tells the rates.

    There is one graph for each pattern of variants within a launch. The generators are registered with the graph, so
    replays draw the numbers that eager updates would, and the generators' states stay right for checkpoints.
    """

    def __init__(self, program: UpdateProgram, advance: Callable[..., Metrics], updates_per_launch: int) -> None:
        """Prepare; graphs are captured when they are first needed."""
        self._program, self._advance = program, advance
        self._updates = range(updates_per_launch)
        rates, _ = program.rates(0)
        self._rates = torch.zeros(updates_per_launch, len(rates), device=program.device)
        self._graphs: dict[tuple[bool, ...], tuple[torch.cuda.CUDAGraph, list[str], Tensor]] = {}

    def __call__(self, step: int) -> Metrics:
        """Take the updates step, step + 1, … of one launch; return the mean of each metric, () or (seeds,) each."""
        plan = [self._program.rates(step + index) for index in self._updates]
        variants = tuple(variant for _, variant in plan)
        self._rates.copy_(_to_device([rates for rates, _ in plan], self._rates.device))
        if variants not in self._graphs:
            self._graphs[variants] = self._capture(variants)
        graph, names, values = self._graphs[variants]
        graph.replay()
        return dict(zip(names, values.clone().unbind(), strict=True))  # the next replay writes over `values`

    def launch(self, variants: tuple[bool, ...]) -> tuple[list[str], Tensor]:
        """Take one launch's updates eagerly: what a graph records. Returns metrics' names and values (M, …)."""
        found: dict[str, list[Tensor]] = {}
        for rates, variant in zip(self._rates.unbind(), variants, strict=True):
            index, draws = self._program.feed.draw()
            for name, value in self._advance(
                self._program.feed.experience.gather(index), draws, rates, variant
            ).items():
                found.setdefault(name, []).append(value)
        means = [torch.stack(values).mean(dim=0) if len(values) > 1 else values[0] for values in found.values()]
        return list(found), torch.stack(means)

    def _capture(self, variants: tuple[bool, ...]) -> tuple[torch.cuda.CUDAGraph, list[str], Tensor]:
        """Record a launch. The warm-up takes true updates, so all that it changed is put back."""
        program: Any = self._program
        state = {name: value.clone() for name, value in program.state.items()}
        generators = [generator.get_state() for generator in program.feed.generators]
        side = torch.cuda.Stream(program.device)  # libraries must not set themselves up on the captured stream
        side.wait_stream(torch.cuda.current_stream(program.device))
        with torch.cuda.stream(side):
            for _ in range(WARM_UPS):
                self.launch(variants)
        torch.cuda.current_stream(program.device).wait_stream(side)
        for name, value in state.items():
            program.state[name].copy_(value)
        for generator, saved in zip(program.feed.generators, generators, strict=True):
            generator.set_state(saved)
        graph: Any = torch.cuda.CUDAGraph()  # Any: builds without CUDA lack the next method
        for generator in program.feed.generators:
            graph.register_generator_state(generator)
        with torch.cuda.graph(graph):
            names, values = self.launch(variants)
        return graph, names, values


def float32_products(name: str, device: str) -> str:
    """Return torch's name of the precision of float32 products: as it is, or what "auto" means on this machine.

    "auto" is "medium" on a CPU whose products stay as accurate as float32's with it, and "highest" everywhere else.
    """
    if name != "auto":
        return name
    return "medium" if torch.device(device).type == "cpu" and _medium_is_exact() else "highest"


@cache
def _medium_is_exact() -> bool:
    """Whether products keep float32's accuracy with "medium", which lets a CPU with bfloat16 units round the inputs."""
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(256, 256, generator=generator) for _ in range(2))
    exact = a.double() @ b.double()
    with matmul_precision("medium"):
        error = ((a @ b).double() - exact).abs().max() / exact.abs().max()
    return bool(error < 1e-5)  # float32 is at 1e-7 to 1e-6, bfloat16 at 1e-3


@contextmanager
def matmul_precision(name: str) -> Generator[None]:
    """Let torch multiply float32 matrices with this precision inside the block only.

    Evaluation stays outside: products of one row get four times slower with "medium" on some CPUs.
    """
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(name)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def _to_device(numbers: Any, device: torch.device) -> Tensor:
    """Copy numbers without waiting for the device: from pinned memory, which PyTorch keeps until it was read."""
    cuda = device.type == "cuda"
    return torch.tensor(numbers, dtype=torch.float32, pin_memory=cuda).to(device, non_blocking=True)
