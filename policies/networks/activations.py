"""Activations by name, all smooth but relu."""

from typing import Any

import torch
from torch import Tensor, nn

from ...errors import LaminarError, nearest


def mish(x: Tensor) -> Tensor:
    """Return x tanh(softplus(x)) (Misra 2019, eq. 1) elementwise, as x h / (h + 1) with h = e^x (e^x + 2) / 2."""
    # At x = 20 the ratio is already 1 in float32 and float64, and h is far from overflowing.
    e = torch.exp(x.clamp(max=20.0))
    h = torch.addcmul(e, e, e, value=0.5)
    return x * (h / (h + 1.0))


class _TapedMish(torch.autograd.Function):
    """`mish` and its slope by one exponential, in buffers that are written over.

    Several times cheaper than the plain formula on the tape, which keeps five tensors and walks through them again.
    Further derivatives and `torch.func` work too: the slope is an output, with a derivative of its own.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor) -> tuple[Tensor, Tensor]:
        """Return x gate and gate + x s with gate = h / (h + 1) and s = gate' = e^x (e^x + 1) d^2, d = 1 / (h + 1)."""
        e = x.clamp(max=20.0).exp_()
        h = torch.addcmul(e, e, e, value=0.5)
        d = h + 1.0
        gate = h.div_(d)  # as `mish` does: the value has the same bits on and off the tape
        d.reciprocal_()
        e.mul_(d)
        s = d.add_(e).mul_(e)
        slope = torch.addcmul(gate, s, x)
        return gate.mul_(x), slope

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: tuple[Tensor, Tensor]) -> None:
        ctx.set_materialize_grads(False)  # only a second derivative asks for the slope's
        ctx.save_for_backward(inputs[0], output[1])
        ctx.save_for_forward(inputs[0], output[1])

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor | None) -> Tensor | None:
        (x, slope), (grad, slope_grad) = ctx.saved_tensors, grad_outputs
        result = None if grad is None else grad * slope
        if slope_grad is None:
            return result
        change = slope_grad * _curvature(x)
        return change if result is None else result + change

    @staticmethod
    def jvp(ctx: Any, *grad_inputs: Tensor) -> tuple[Tensor, Tensor]:
        (x, slope), (tangent,) = ctx.saved_tensors, grad_inputs
        return tangent * slope, tangent * _curvature(x)


def _curvature(x: Tensor) -> Tensor:
    """Return mish''(x) = s (2 + x (1 + e^x / (e^x + 1) - 2 e^x (e^x + 1) d)), with s and d of `_TapedMish.forward`."""
    e = torch.exp(x.clamp(max=20.0))
    above = e + 1.0
    d = 2.0 / (above.square() + 1.0)
    s = (e * d) * (above * d)
    return s * (2.0 + x * (1.0 + e / above - 2.0 * e * (above * d)))


def _on_tape(x: Tensor) -> bool:
    """Whether autograd records what is done to `x` here and now; compilers and tracers get the plain formula."""
    if not (x.requires_grad and torch.is_grad_enabled()):
        return False
    tracing = torch.jit.is_tracing()  # pyright: ignore[reportPrivateImportUsage]  # in PyTorch's public documentation
    return not (tracing or torch.compiler.is_compiling())


class Mish(nn.Module):
    """Elementwise `mish`; for parity with published networks, SiLU is several times cheaper on a CPU."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (...) to (...)."""
        if _on_tape(x):
            return _TapedMish.apply(x)[0]
        return mish(x)

    def derivative(self, x: Tensor, tangent: Tensor) -> Tensor:
        """Return mish'(x) * tangent: n / (n + 2) + 4 x e^x (e^x + 1) / (n + 2)^2 with n = e^x (e^x + 2)."""
        e = torch.exp(x.clamp(max=20.0))
        n = e * (e + 2.0)
        m = n + 2.0
        return tangent * (n / m + 4.0 * x * (e / m) * ((e + 1.0) / m))


class Tanh(nn.Tanh):
    """Elementwise tanh; as a sigmoid where a compiler makes code for a CPU, which is twice as fast (PyTorch 2.13)."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  # PyTorch's name of it
        """Map (...) to (...)."""
        if input.device.type == "cpu" and torch.compiler.is_compiling() and not torch.compiler.is_exporting():
            return 2.0 * torch.sigmoid(2.0 * input) - 1.0
        return torch.tanh(input)


ACTIVATIONS: dict[str, type[nn.Module]] = {
    "silu": nn.SiLU,
    "gelu": nn.GELU,
    "mish": Mish,
    "relu": nn.ReLU,
    "tanh": Tanh,
}
"""By the names that settings have."""


def activation(name: str) -> nn.Module:
    """Build the activation of a name in `ACTIVATIONS`.

    Raises:
        LaminarError: for any other name.
    """
    if name not in ACTIVATIONS:
        known = sorted(ACTIVATIONS)
        raise LaminarError(f"unknown activation '{name}', expected one of {known}{nearest(name, known)}")
    return ACTIVATIONS[name]()
