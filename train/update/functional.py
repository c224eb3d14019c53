"""What methods share whose update is a function of tensors, which can be compiled, captured and stacked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch._C._functorch import maybe_current_level
from torch.func import grad_and_value

from ...errors import LaminarError
from ...policies.processes import Metrics
from ..improver import Context, Improver
from .flat import Layout
from .runners import Program, State, runner

Objective = Callable[[State], tuple[Tensor, Metrics]]


class FunctionalImprover(Improver):
    """Improver with a `Program`, whose state holds the parameters of one module in flat buffers.

    Attributes:
        deployed: parts of the state that `policy()` holds, so that they are saved with it.
    """

    deployed: tuple[str, ...]

    def __init__(self, module: nn.Module, layouts: Mapping[str, Layout], program: Program, context: Context) -> None:
        """Choose how the update is run, and make the module's parameters views of the state.

        Args:
            module: holds all policies and critics.
            layouts: part of the state -> where the module's parameters, by their names, lie in it.
            program: the update.
            context: of the run.
        """
        self.context = context
        self._module, self._layouts, self._program = module, layouts, program
        self._run = runner(program, context.compiled, context.captured, context.updates_per_launch)
        self._bind()

    def update(self, step: int) -> dict[str, Tensor]:
        """Take one update, or one launch of several, and return detached metrics, still on the device."""
        return self._run(step)

    @property
    def program(self) -> Program:
        """The update as a function of tensors."""
        return self._program

    def move(self, state: State) -> None:
        """Go on with tensors that lie elsewhere, see `Improver.move`."""
        self._program.state = state
        self._bind()

    def _bind(self) -> None:
        """Make the module's parameters views of the state, so that they are always up to date."""
        named = dict(self._module.named_parameters())
        for part, layout in self._layouts.items():
            for name, view in layout.views(self._program.state[part]).items():
                named[name].data = view

    def state(self) -> dict[str, Tensor]:
        """All tensors, besides what `policy()` holds, that an exact resume needs."""
        kept = {name: value for name, value in self._program.state.items() if name not in self.deployed}
        return kept | {"generator": self.context.generator.get_state()}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Restore what `state` returned; the policy is loaded from its own file."""
        for name, value in state.items():
            if name != "generator":
                self._program.state[name].copy_(value)
        self.context.generator.set_state(state["generator"])


def check_processes(context: Context, recipe: str) -> None:
    """Refuse to run data parallel.

    Raises:
        LaminarError: there is more than one process.
    """
    if context.processes.count > 1:
        raise LaminarError(f"{recipe} runs in one process; start it without torchrun")


def check_capture(context: Context, reads_disk: bool) -> None:
    """Refuse to capture reads of the disk.

    Raises:
        LaminarError: the update is to be captured and its batches are not all in memory.
    """
    if context.captured and reads_disk:
        raise LaminarError("images on disk cannot be read inside a CUDA graph; use runtime=cuda")


def precision(device: torch.device, autocast: bool) -> AbstractContextManager[Any]:
    """Run products in bfloat16 inside the block, if `autocast` says so."""
    return torch.autocast(device.type, torch.bfloat16) if autocast else nullcontext()


def gradients_of(objective: Objective, flats: State) -> tuple[State, Metrics]:
    """Gradients of a loss in some flat parameters, and its metrics.

    Eagerly by the tape: `torch.func` records the backward pass too, in case it is derived again, and then takes the
    activations' slow formulas instead of their kernels. Only `vmap` needs it, and the compiler, which drops the excess.
    """
    if torch.compiler.is_compiling() or _in_transform():
        gradients, (_, metrics) = grad_and_value(objective, has_aux=True)(flats)
        return gradients, metrics
    leaves = {part: flat.detach().requires_grad_() for part, flat in flats.items()}
    with torch.enable_grad():
        loss, metrics = objective(leaves)
    gradients = torch.autograd.grad(loss, list(leaves.values()), materialize_grads=True)  # zeros, as torch.func gives
    return dict(zip(leaves, gradients, strict=True)), metrics


def _in_transform() -> bool:
    """Whether a `torch.func` transform runs this code; there is no public way to ask."""
    return maybe_current_level() is not None
