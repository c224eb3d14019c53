"""How a functional update is run: eagerly, compiled, or captured whole in a CUDA graph.

The mathematics is the same and the eager path is the reference. An improver describes its update as a `Program`;
`runner` makes a function of the update's number from it, which changes the program's state in place:

    laminar train method=ofql policy=meanflow runtime=eager …
    laminar train method=ofql policy=meanflow runtime=compile …        the whole update as one compiled graph
    laminar train method=ofql policy=meanflow runtime=cuda_graph …     draws, batch and update in one launch
    laminar train … runtime=cuda_graph runtime.compiled=true runtime.updates_per_launch=10
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor

from ...errors import LaminarError

Metrics = dict[str, Tensor]
State = dict[str, Tensor]
Runner = Callable[[int], Metrics]
WARM_UPS = 3  # updates before a capture, in which libraries choose kernels and allocate, as PyTorch advises


@dataclass
class Program:
    """One update as a function of tensors, and what feeds it.

    Attributes:
        state: all that an update changes. Written in place: whoever holds these tensors sees the newest values.
        function: (state, batch, draws, rates (R,), act) -> (new state, metrics); pure, and `act` is a Python bool.
        draw: all the randomness of one update, from `generators` alone -> (index, draws).
        gather: index -> batch, from data on the device.
        schedule: number of the update, from 0 -> (its R rates, `act`); no tensors.
        generators: one for each seed.
    """

    state: State
    function: Callable[[State, Any, Any, Tensor, bool], tuple[Mapping[str, Tensor], Metrics]]
    draw: Callable[[], tuple[Tensor, Any]]
    gather: Callable[[Tensor], Any]
    schedule: Callable[[int], tuple[Sequence[float], bool]]
    generators: Sequence[torch.Generator]

    @property
    def device(self) -> torch.device:
        """Where the state lies."""
        return next(iter(self.state.values())).device

    def advance(self, batch: Any, draws: Any, rates: Tensor, act: bool) -> Metrics:
        """Update the state in place, so that a compiled update writes each value once; return detached metrics."""
        state, metrics = self.function(self.state, batch, draws, rates, act)
        for name, value in state.items():
            self.state[name].copy_(value)
        return metrics


def runner(program: Program, compiled: bool = False, captured: bool = False, updates_per_launch: int = 1) -> Runner:
    """Return a function that takes one update, or one launch of several, and returns its metrics on the device.

    Args:
        program: the update.
        compiled: as one graph of `torch.compile`, which is made at the first update.
        captured: in a CUDA graph, together with the draws and the batch.
        updates_per_launch: of a captured graph; the metrics are then means over a launch.

    Raises:
        LaminarError: capture without a CUDA device, or several updates a launch without capture.
    """
    advance = torch.compile(program.advance, fullgraph=True) if compiled else program.advance
    if captured:
        if program.device.type != "cuda":
            raise LaminarError(
                f"a CUDA graph needs a CUDA device, the update is on {program.device.type}; use runtime=compile there"
            )
        return Captured(program, advance, updates_per_launch)
    if updates_per_launch != 1:
        raise LaminarError(
            f"runtime.updates_per_launch={updates_per_launch} needs a captured update; use runtime=cuda_graph"
        )

    def update(step: int) -> Metrics:
        rates, act = program.schedule(step)
        index, draws = program.draw()
        return advance(program.gather(index), draws, _to_device(rates, program.device), act)

    return update


class Captured:
    """A program in CUDA graphs: one launch draws, gathers and updates, and the host only tells the rates.

    There is one graph for each pattern of `act` within a launch. The generators are registered with the graph, so
    replays draw the numbers that eager updates would, and the generators' states stay right for checkpoints.
    """

    def __init__(self, program: Program, advance: Callable[..., Metrics], updates_per_launch: int) -> None:
        """Prepare; graphs are captured when they are first needed."""
        self._program, self._advance = program, advance
        self._updates = range(updates_per_launch)
        rates, _ = program.schedule(0)
        self._rates = torch.zeros(updates_per_launch, len(rates), device=program.device)
        self._graphs: dict[tuple[bool, ...], tuple[torch.cuda.CUDAGraph, list[str], Tensor]] = {}

    def __call__(self, step: int) -> Metrics:
        """Take the updates step, step + 1, … of one launch; return the mean of each metric, () or (seeds,) each."""
        plan = [self._program.schedule(step + index) for index in self._updates]
        acts = tuple(act for _, act in plan)
        self._rates.copy_(_to_device([rates for rates, _ in plan], self._rates.device))
        if acts not in self._graphs:
            self._graphs[acts] = self._capture(acts)
        graph, names, values = self._graphs[acts]
        graph.replay()
        return dict(zip(names, values.clone().unbind(), strict=True))  # the next replay writes over `values`

    def launch(self, acts: tuple[bool, ...]) -> tuple[list[str], Tensor]:
        """Take one launch's updates eagerly: what a graph records. Returns metrics' names and values (M, …)."""
        found: dict[str, list[Tensor]] = {}
        for rates, act in zip(self._rates.unbind(), acts, strict=True):
            index, draws = self._program.draw()
            for name, value in self._advance(self._program.gather(index), draws, rates, act).items():
                found.setdefault(name, []).append(value)
        means = [torch.stack(values).mean(dim=0) if len(values) > 1 else values[0] for values in found.values()]
        return list(found), torch.stack(means)

    def _capture(self, acts: tuple[bool, ...]) -> tuple[torch.cuda.CUDAGraph, list[str], Tensor]:
        """Record a launch. The warm-up takes true updates, so all that it changed is put back."""
        program: Any = self._program
        state = {name: value.clone() for name, value in program.state.items()}
        generators = [generator.get_state() for generator in program.generators]
        side = torch.cuda.Stream(program.device)  # libraries must not set themselves up on the captured stream
        side.wait_stream(torch.cuda.current_stream(program.device))
        with torch.cuda.stream(side):
            for _ in range(WARM_UPS):
                self.launch(acts)
        torch.cuda.current_stream(program.device).wait_stream(side)
        for name, value in state.items():
            program.state[name].copy_(value)
        for generator, saved in zip(program.generators, generators, strict=True):
            generator.set_state(saved)
        graph: Any = torch.cuda.CUDAGraph()  # Any: builds without CUDA lack the next method
        for generator in program.generators:
            graph.register_generator_state(generator)
        with torch.cuda.graph(graph):
            names, values = self.launch(acts)
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
