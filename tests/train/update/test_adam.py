"""Adam on flat buffers: the fused kernel, the formulas that a compiler fuses, and torch's own optimizers agree."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from laminar.train.update import adam as module
from laminar.train.update.adam import adam, clip_norm

SIZE, STEPS = 1000, 50
SCALE = torch.logspace(-8, 3, SIZE) * (torch.arange(SIZE) % 10 > 0)
DECAYS = [0.0, 0.1]


def gradients(seed: int = 0) -> list[Tensor]:
    """Return the gradients (P,) of many updates: of all sizes, and zeros as of weights that a loss leaves out."""
    generator = torch.Generator().manual_seed(seed)
    return [SCALE * torch.randn(SIZE, generator=generator) for _ in range(STEPS)]


def start(seed: int = 1) -> Tensor:
    return torch.randn(SIZE, generator=torch.Generator().manual_seed(seed))


def rate(step: int) -> float:
    """Return a learning rate that changes, as warm-up and cosine do."""
    return 1e-2 * (step + 1) / STEPS


def trained(beta2: float, weight_decay: float) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    values, moments, count = start(), (torch.zeros(SIZE), torch.zeros(SIZE)), torch.zeros(())
    for step, gradient in enumerate(gradients()):
        values, moments = adam(values, gradient, moments, count.add_(1), rate(step), beta2, weight_decay)
    return values, moments


@pytest.mark.parametrize("weight_decay", DECAYS)
def test_eagerly_it_is_torchs_fused_kernel_to_the_bit(weight_decay: float) -> None:
    parameter = nn.Parameter(start())
    settings: dict[str, Any] = {"betas": (0.9, 0.99), "weight_decay": weight_decay, "fused": True}
    optimizer = torch.optim.AdamW([parameter], lr=torch.tensor(1.0), **settings)
    for step, gradient in enumerate(gradients()):
        optimizer.param_groups[0]["lr"] = rate(step)
        parameter.grad = gradient.clone()
        optimizer.step()
    values, (first, second) = trained(0.99, weight_decay)
    assert torch.equal(values, parameter)
    assert torch.equal(first, optimizer.state[parameter]["exp_avg"])
    assert torch.equal(second, optimizer.state[parameter]["exp_avg_sq"])


@pytest.mark.parametrize("weight_decay", DECAYS)
@pytest.mark.parametrize("beta2", [0.999, 0.95])
def test_the_formulas_are_the_kernel(beta2: float, weight_decay: float, monkeypatch: pytest.MonkeyPatch) -> None:
    fused, moments = trained(beta2, weight_decay)
    monkeypatch.setattr(module, "transformed", lambda: True)
    written_out, other_moments = trained(beta2, weight_decay)
    torch.testing.assert_close(written_out, fused, rtol=1e-6, atol=1e-6)
    assert ((other_moments[0] - moments[0]).abs() <= 1e-6 * SCALE).all()  # a mean of both signs may be small by chance
    torch.testing.assert_close(other_moments[1], moments[1], rtol=2e-5, atol=0)  # 1 - 0.999 in float32 is off by 1.3e-5


@pytest.mark.parametrize("transformed", [False, True])
def test_it_is_the_papers_algorithm(transformed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kingma and Ba 2015, algorithm 1, in double precision, with the decoupled decay of Loshchilov and Hutter 2019."""
    monkeypatch.setattr(module, "transformed", lambda: transformed)
    found, _ = trained(0.99, 0.1)
    theta, m, v = start().double(), torch.zeros(SIZE).double(), torch.zeros(SIZE).double()
    for t, g in enumerate((gradient.double() for gradient in gradients()), start=1):
        lr = rate(t - 1)
        theta = theta - lr * 0.1 * theta
        m, v = 0.9 * m + 0.1 * g, 0.99 * v + 0.01 * g**2
        theta = theta - lr * (m / (1 - 0.9**t)) / ((v / (1 - 0.99**t)).sqrt() + 1e-8)
    torch.testing.assert_close(found.double(), theta, rtol=1e-5, atol=2e-6)


def test_eagerly_everything_is_written_in_place() -> None:
    values, moments = start(), (torch.zeros(SIZE), torch.zeros(SIZE))
    new, new_moments = adam(values, gradients()[0], moments, torch.ones(()), 0.1)
    assert new is values
    assert all(one is other for one, other in zip(new_moments, moments, strict=True))
    assert not torch.equal(values, start())
    assert all(moment.any() for moment in moments)


def test_nothing_is_written_in_place_under_vmap() -> None:
    """And each row of stacked seeds is the update that it would be alone."""
    values = torch.stack([start(1), start(2)])
    gradient = torch.stack([gradients(3)[0], gradients(4)[0]])
    moments, before = (torch.zeros(2, SIZE), torch.zeros(2, SIZE)), values.clone()
    step = torch.ones(2)
    new, _ = torch.func.vmap(lambda v, g, m, s: adam(v, g, m, s, 0.1, 0.999, 0.1))(values, gradient, moments, step)
    assert torch.equal(values, before)
    assert not moments[0].any()
    for row in range(2):
        alone, _ = adam(
            values[row].clone(), gradient[row], (torch.zeros(SIZE), torch.zeros(SIZE)), step[row], 0.1, 0.999, 0.1
        )
        torch.testing.assert_close(new[row], alone, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("max_norm", [0.01, 1e6, float("inf"), None])
def test_a_clipped_norm_is_that_of_clip_grad_norm(max_norm: float | None) -> None:
    """A gradient below the limit stays as it is: made longer, Adam's moments would forget how small it was."""
    values = nn.Parameter(torch.zeros(3))
    values.grad = torch.tensor([3.0, 0.0, -4.0])
    clipped, norm = clip_norm(values.grad.clone(), max_norm)
    torch.testing.assert_close(norm, torch.tensor(5.0))
    if max_norm is not None:
        nn.utils.clip_grad_norm_([values], max_norm)
    torch.testing.assert_close(clipped, values.grad)
