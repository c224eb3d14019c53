"""What learns: a module whose parameters are parts of an update's state, and one step of descent on some of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value

from ...policies.processes import Metrics
from .adam import Rate, adam, clip_norm, transformed
from .flat import Layout
from .group import Group
from .program import State

Loss = Callable[..., tuple[Tensor, Metrics]]
"""(module, *inputs) -> scalar loss and detached metrics."""


class Learner:
    """A module whose parameters lie in flat buffers, one a part; the buffers are the state of an update.

    Eagerly a loss is called with the module itself, whose parameters are views of the state, and gradients come from
    the tape. Under `torch.func.vmap` and in a compiler the module is given its weights by `functional_call`, so that
    the same code updates the stacked weights of several seeds, or becomes one graph.

    Attributes:
        module: holds all policies and critics.
        layouts: part -> its parameters.
    """

    def __init__(
        self,
        module: nn.Module,
        part_of: Callable[[str], str | None],
        group: Group | None = None,
        autocast: bool = False,
    ) -> None:
        """Divide a module's parameters into parts.

        Args:
            module: holds all that learns, and its slow copies.
            part_of: name of a parameter -> its part; None for one that never changes.
            group: processes over which gradients are averaged.
            autocast: run the products of losses in bfloat16.
        """
        self.module = module.requires_grad_(False)
        self._caller = _Caller(module)
        self._group, self._autocast = group or Group(), autocast
        parts: dict[str, dict[str, Tensor]] = {}
        for name, parameter in module.named_parameters():
            part = part_of(name)
            if part is not None:
                parts.setdefault(part, {})[name] = parameter
        self.layouts = {part: Layout(parameters) for part, parameters in parts.items()}
        named = dict(module.named_parameters())
        self._parameters = {part: [named[name] for name in layout.names] for part, layout in self.layouts.items()}
        self._trained: list[str] = []  # parts whose parameters require a gradient now

    def start(self, learned: Sequence[str]) -> State:
        """Return fresh tensors: all parts as they are in the module, and zero moments of those that are learned."""
        state: State = {part: layout.flatten(self._parameters[part]) for part, layout in self.layouts.items()}
        for part in learned:
            state[f"{part}_first"] = torch.zeros_like(state[part])
            state[f"{part}_second"] = torch.zeros_like(state[part])
        return state

    def bind(self, state: State) -> None:
        """Make the module's parameters views of a state, so that they are always up to date."""
        for part, layout in self.layouts.items():
            for parameter, view in zip(self._parameters[part], layout.views(state[part]).values(), strict=True):
                parameter.data = view

    def descend(
        self,
        state: State,
        parts: Sequence[str],
        loss: Loss,
        inputs: Sequence[Any],
        lr: Rate,
        counter: str,
        max_grad_norm: float | None = None,
        beta2: float = 0.999,
        weight_decay: float = 0.0,
    ) -> Metrics:
        """Take one step of Adam on some parts, down one loss; replaces or overwrites their entries in `state`.

        Args:
            state: of this update, see `UpdateProgram`.
            parts: what is learned; the gradient is clipped over all of them.
            loss: called with the module and `inputs`.
            inputs: batch, draws and what else the loss takes.
            lr: learning rate.
            counter: entry of the state that counts the updates of these parts.
            max_grad_norm: None does not clip.
            beta2: see `adam`.
            weight_decay: see `adam`.

        Returns:
            The loss's metrics, and "grad_norm" before clipping.
        """
        gradients, metrics = self.gradients(state, parts, loss, inputs)
        whole = gradients[0] if len(gradients) == 1 else torch.cat(gradients)
        if self._group.size > 1:
            self._group.average(whole)
        whole, norm = clip_norm(whole, max_grad_norm)
        state[counter] = state[counter] + 1 if transformed() else state[counter].add_(1)
        for part, gradient in zip(parts, whole.split([self.layouts[part].size for part in parts]), strict=True):
            moments = (state[f"{part}_first"], state[f"{part}_second"])
            state[part], moments = adam(state[part], gradient, moments, state[counter], lr, beta2, weight_decay)
            state[f"{part}_first"], state[f"{part}_second"] = moments
        return metrics | {"grad_norm": norm}

    def evaluate(self, state: State, function: Callable[..., Any], inputs: Sequence[Any]) -> Any:
        """Return function(module, *inputs) by the weights of a state; under `vmap` the module itself has others."""
        with torch.no_grad(), self._precision(state):
            if not transformed():
                return function(self.module, *inputs)
            weights = self._weights({part: state[part] for part in self.layouts})
            return functional_call(self._caller, weights, (function, *inputs))

    def gradients(
        self, state: State, parts: Sequence[str], loss: Loss, inputs: Sequence[Any]
    ) -> tuple[list[Tensor], Metrics]:
        """Return the gradient (P,) in each part, and the loss's metrics."""
        if transformed():
            return self._functional_gradients(state, parts, loss, inputs)
        self._train(parts)
        with torch.enable_grad(), self._precision(state):
            value, metrics = loss(self.module, *inputs)
        leaves = [parameter for part in parts for parameter in self._parameters[part]]
        found = iter(torch.autograd.grad(value, leaves, materialize_grads=True))  # zeros, as torch.func gives
        pieces = {part: [next(found) for _ in self._parameters[part]] for part in parts}
        return [self.layouts[part].flatten(pieces[part]) for part in parts], metrics

    def _functional_gradients(
        self, state: State, parts: Sequence[str], loss: Loss, inputs: Sequence[Any]
    ) -> tuple[list[Tensor], Metrics]:
        """Do the same by `torch.func`; the tape records the backward pass too there, which a compiler drops."""
        fixed = self._weights({part: state[part] for part in self.layouts if part not in parts})

        def objective(flats: State) -> tuple[Tensor, Metrics]:
            with self._precision(flats):
                return functional_call(self._caller, fixed | self._weights(flats), (loss, *inputs))

        found, (_, metrics) = grad_and_value(objective, has_aux=True)({part: state[part] for part in parts})
        return [found[part] for part in parts], metrics

    def _weights(self, flats: State) -> dict[str, Tensor]:
        return {f"module.{k}": v for part, flat in flats.items() for k, v in self.layouts[part].views(flat).items()}

    def _precision(self, state: State) -> AbstractContextManager[Any]:
        device = next(iter(state.values())).device.type
        return torch.autocast(device, torch.bfloat16) if self._autocast else nullcontext()

    def _train(self, parts: Sequence[str]) -> None:
        """Let these parts alone require gradients, so that the tape computes no others."""
        if list(parts) == self._trained:
            return
        for part in {*parts, *self._trained}:
            for parameter in self._parameters[part]:
                parameter.requires_grad_(part in parts)
        self._trained = list(parts)


def average(state: State, slow: str, fast: str, renewed: Rate) -> None:
    """Move a slow copy a share of the way to what it follows; replaces or overwrites its entry in `state`."""
    if transformed():
        state[slow] = torch.lerp(state[slow], state[fast], renewed)
    else:
        state[slow].lerp_(state[fast], renewed)


class _Caller(nn.Module):
    """Calls any function of a module: `functional_call` knows no other way to it than `forward`."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, function: Callable[..., Any], *inputs: Any) -> Any:
        return function(self.module, *inputs)
