"""Adam with decoupled weight decay, on flat buffers: one fused kernel eagerly, formulas where a compiler fuses them."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch._C._functorch import maybe_current_level

BETA1, EPSILON = 0.9, 1e-8
Rate = float | Tensor
"""A number of Python's eagerly; () where it must not become a constant of a compiled or captured update."""


def transformed() -> bool:
    """Whether a compiler or a `torch.func` transform runs this code, where nothing may be written in place."""
    return torch.compiler.is_compiling() or maybe_current_level() is not None  # there is no public way to ask for both


def adam(
    values: Tensor,
    gradient: Tensor,
    moments: tuple[Tensor, Tensor],
    step: Tensor,
    lr: Rate,
    beta2: float = 0.999,
    weight_decay: float = 0.0,
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """Take one step of Adam (Kingma and Ba 2015, algorithm 1) with decoupled weight decay (Loshchilov and Hutter 2019).

    Eagerly the given buffers are written in place, by PyTorch's fused kernel: one pass through memory.

    Args:
        values: (P,) parameters.
        gradient: (P,).
        moments: first and second, (P,) each.
        step: () number of this update, from 1.
        lr: learning rate.
        beta2: decay of the second moment.
        weight_decay: share of the parameters, times `lr`, that goes every update.

    Returns:
        The new parameters and moments; eagerly the given ones.
    """
    if not transformed():
        _fused(values, gradient, moments, step, lr, beta2, weight_decay)
        return values, moments
    first = torch.lerp(gradient, moments[0], BETA1)
    second = torch.lerp(gradient.square(), moments[1], beta2)
    correction = (1 - beta2**step).sqrt()
    size = lr * correction / (1 - BETA1**step)
    # In place on one fresh buffer: temporaries of this size cost more than the arithmetic.
    change = second.sqrt().add_(EPSILON * correction).reciprocal_().mul_(first).mul_(size)
    kept = values * (1 - lr * weight_decay) if weight_decay else values
    return kept - change, (first, second)


def _fused(
    values: Tensor,
    gradient: Tensor,
    moments: tuple[Tensor, Tensor],
    step: Tensor,
    lr: Rate,
    beta2: float,
    weight_decay: float,
) -> None:
    kernel: Any = torch._fused_adamw_  # pyright: ignore[reportPrivateUsage, reportPrivateImportUsage]  # what torch.optim.AdamW(fused=True) calls
    numbers = {"lr": lr, "beta1": BETA1, "beta2": beta2, "weight_decay": weight_decay, "eps": EPSILON}
    buffers = ([values], [gradient], [moments[0]], [moments[1]], [], [step])
    kernel(*buffers, **numbers, amsgrad=False, maximize=False)


def clip_norm(gradient: Tensor, max_norm: float | None) -> tuple[Tensor, Tensor]:
    """Scale (P,) down to `max_norm`, unless it is None or infinite; return it and its norm before. No host sync."""
    norm = gradient.norm()
    if max_norm is None or max_norm == math.inf:
        return gradient, norm
    return gradient * (max_norm / norm.clamp(min=max_norm)), norm
