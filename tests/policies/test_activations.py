"""Mish: the formula and the way that is taken on the tape, with all their derivatives."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.autograd.forward_ad as forward_ad
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import grad, hessian, jacfwd, jvp, vmap

from laminar.errors import LaminarError
from laminar.policies.networks.activations import Mish, Tanh, activation, mish

Activation = Callable[[Tensor], Tensor]
WAYS = pytest.mark.parametrize("way", [mish, Mish()], ids=["formula", "module"])


def points(dtype: torch.dtype = torch.float64) -> Tensor:
    """Where the slope bends, where the exponential is cut off, and far beyond."""
    near = torch.linspace(-50, 50, 2001, dtype=dtype)
    return torch.cat((near, torch.tensor([-1e4, -100.0, 20.0, 100.0, 1e4], dtype=dtype)))


def slope(way: Activation, x: Tensor) -> Tensor:
    x = x.clone().requires_grad_()
    return torch.autograd.grad(way(x).sum(), x)[0]


@WAYS
@pytest.mark.parametrize(("dtype", "accuracy"), [(torch.float32, 1e-6), (torch.float64, 1e-8)])
def test_value_and_gradient_are_mishs(way: Activation, dtype: torch.dtype, accuracy: float) -> None:
    x = points(dtype)
    exact = x.double()
    torch.testing.assert_close(way(x).double(), F.mish(exact), rtol=accuracy, atol=1e-9)
    torch.testing.assert_close(slope(way, x).double(), slope(F.mish, exact), rtol=accuracy, atol=5 * accuracy)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_value_has_the_same_bits_with_and_without_the_tape(dtype: torch.dtype) -> None:
    x = points(dtype)
    assert torch.equal(Mish()(x.clone().requires_grad_()), mish(x))


def test_the_tape_keeps_only_the_input_and_the_slope() -> None:
    kept: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor.detach()), lambda _: _):
        x = torch.linspace(-3, 3, 7).requires_grad_()
        Mish()(x)
    assert len(kept) == 2
    torch.testing.assert_close(kept[0], x.detach())
    torch.testing.assert_close(kept[1], slope(F.mish, x.detach()))


def test_first_and_second_derivatives_by_finite_differences() -> None:
    x = torch.linspace(-8, 22, 31, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(Mish(), x, check_forward_ad=True, check_batched_grad=True)
    assert torch.autograd.gradgradcheck(Mish(), x, check_fwd_over_rev=True)
    across = torch.randn(2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).t().requires_grad_()
    assert torch.autograd.gradcheck(Mish(), across)  # not contiguous


def forward_over_tape(way: Activation, x: Tensor) -> Tensor:
    """Tangent of a gradient of the tape, with dual numbers."""
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(x.clone().requires_grad_(), torch.ones_like(x))
        (gradient,) = torch.autograd.grad(way(dual).sum(), dual)
        tangent = forward_ad.unpack_dual(gradient).tangent
    assert tangent is not None
    return tangent


def weight_inside_jvp(way: Activation, x: Tensor) -> Tensor:
    """Gradient of the tape in a tensor that is a constant to the transform around it."""
    weight = x.clone().requires_grad_()
    pushed = jvp(lambda scale: way(weight) * scale, (torch.ones_like(x),), (x,))[1]
    return torch.autograd.grad(pushed.sum(), weight)[0]


@pytest.mark.parametrize(
    "derive",
    [
        lambda way, x: jvp(way, (x,), (x.cos(),))[1],
        lambda way, x: grad(lambda v: way(v).sum())(x),
        lambda way, x: vmap(grad(way))(x),
        lambda way, x: vmap(grad(grad(grad(way))))(x),
        lambda way, x: jvp(grad(lambda v: way(v).sum()), (x,), (x.cos(),))[1],
        lambda way, x: grad(lambda v: jvp(way, (v,), (x.cos(),))[1].sum())(x),
        lambda way, x: jacfwd(way)(x[::50]),
        lambda way, x: hessian(lambda v: way(v).sum())(x[::50]),
        forward_over_tape,
        weight_inside_jvp,
    ],
    ids=["jvp", "grad", "vmap", "third", "forward-reverse", "reverse-forward", "jacfwd", "hessian", "dual", "constant"],
)
def test_transforms_find_the_formulas_derivatives(derive: Callable[[Activation, Tensor], Tensor]) -> None:
    x = points()
    torch.testing.assert_close(derive(Mish(), x), derive(mish, x), rtol=1e-9, atol=1e-11)


def test_derivative_is_the_jvp() -> None:
    x = points()
    tangent = torch.linspace(0.5, 1.5, len(x), dtype=x.dtype)
    expected = slope(F.mish, x) * tangent
    for pushed in (jvp(mish, (x,), (tangent,))[1], Mish().derivative(x, tangent)):
        torch.testing.assert_close(pushed, expected, rtol=1e-6, atol=1e-9)
    assert torch.isfinite(Mish().derivative(x.float(), tangent.float())).all()


def test_bfloat16_under_autocast() -> None:
    """The formula's own tape loses the slope's last digits to cancellation: 0.3 off near x = 20."""
    x = torch.linspace(-12, 30, 2001).bfloat16()
    eye = nn.Linear(1, 1)
    nn.init.ones_(eye.weight)
    nn.init.zeros_(eye.bias)
    leaf = x.float()[:, None].requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        value = Mish()(eye(leaf))
    assert value.dtype == torch.bfloat16
    torch.testing.assert_close(value[:, 0].double(), F.mish(x.double()), rtol=0.015, atol=1e-3)
    (gradient,) = torch.autograd.grad(value.sum(), leaf)
    torch.testing.assert_close(gradient[:, 0].double(), slope(F.mish, x.double()), rtol=0.0, atol=0.015)


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
def test_exporters_see_the_formula() -> None:
    network, x = nn.Sequential(nn.Linear(3, 3), Mish()), torch.randn(2, 3)
    exported = torch.export.export(network, (x,), strict=False)
    assert all(str(node.target).startswith("aten") for node in exported.graph.nodes if node.op == "call_function")
    traced = torch.jit.trace(network, x)  # pyright: ignore[reportPrivateImportUsage]
    for program in (exported.module(), traced):
        torch.testing.assert_close(program(x), network(x))


def test_unknown_name_gets_the_nearest() -> None:
    with pytest.raises(LaminarError, match=r"'mich'.*did you mean 'mish'"):
        activation("mich")


def test_a_compiled_tanh_is_tanh() -> None:
    """Far from zero too, where an exponential would overflow."""
    x = torch.cat([torch.linspace(-12, 12, 1001), torch.tensor([-1e4, 1e4])])
    compiled = torch.compile(Tanh(), backend="aot_eager", fullgraph=True)
    values = [x.clone().requires_grad_() for _ in range(2)]
    slopes = [torch.autograd.grad(f(v).sum(), v)[0] for f, v in zip((compiled, torch.tanh), values, strict=True)]
    torch.testing.assert_close(compiled(x), torch.tanh(x), rtol=0, atol=5e-7)
    torch.testing.assert_close(*slopes, rtol=0, atol=5e-7)
