"""Activations by name, all smooth but relu."""

import torch
from torch import Tensor, nn

from ...errors import LaminarError, nearest


def mish(x: Tensor) -> Tensor:
    """Return x tanh(softplus(x)) (Misra 2019, eq. 1) elementwise, as x n / (n + 2) with n = e^x (e^x + 2)."""
    # At x = 20 the ratio is already 1 in float32 and float64, and n is far from overflowing.
    e = torch.exp(x.clamp(max=20.0))
    n = e * (e + 2.0)
    return x * (n / (n + 2.0))


class Mish(nn.Module):
    """Elementwise `mish`; for parity with published networks, SiLU is several times cheaper on a CPU."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (...) to (...)."""
        return mish(x)

    def derivative(self, x: Tensor, tangent: Tensor) -> Tensor:
        """Return mish'(x) * tangent: n / (n + 2) + 4 x e^x (e^x + 1) / (n + 2)^2, times the tangent."""
        e = torch.exp(x.clamp(max=20.0))
        n = e * (e + 2.0)
        m = n + 2.0
        return tangent * (n / m + 4.0 * x * (e / m) * ((e + 1.0) / m))


_ACTIVATIONS: dict[str, type[nn.Module]] = {"silu": nn.SiLU, "gelu": nn.GELU, "mish": Mish, "relu": nn.ReLU}


def activation(name: str) -> nn.Module:
    """Build the activation called "silu", "gelu", "mish" or "relu".

    Raises:
        LaminarError: for any other name.
    """
    if name not in _ACTIVATIONS:
        known = sorted(_ACTIVATIONS)
        raise LaminarError(f"unknown activation '{name}', expected one of {known}{nearest(name, known)}")
    return _ACTIVATIONS[name]()
