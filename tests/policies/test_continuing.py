"""Real-time chunking: closed forms of its weights, a Gaussian whose conditional mean is known, and its limits."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from laminar.errors import LaminarError
from laminar.policies import GenerativePolicy
from laminar.policies.continuing import MOST, Inpainting, continued, prefix_weights
from laminar.policies.processes.solvers import Level
from laminar.policies.runtimes.accelerate import accelerate


def test_weights() -> None:
    found = prefix_weights(8, delay=2, execute=3)
    c = np.array([1.0, 1.0, 0.75, 0.5, 0.25])  # (5 - i) / 4 of i = 2, 3, 4
    assert found[:2].tolist() == [1.0, 1.0]
    assert found[2:5].numpy() == pytest.approx(c[2:] * np.expm1(c[2:]) / (math.e - 1))
    assert found[5:].tolist() == [0.0] * 3
    assert prefix_weights(4, 0, 4).tolist() == [0.0] * 4
    assert prefix_weights(8, 5, 3).tolist() == [1.0] * 5 + [0.0] * 3
    for delay, execute in ((6, 3), (-1, 3), (0, 9), (0, 0)):
        with pytest.raises(LaminarError, match="bridges a delay of 0 to"):
            prefix_weights(8, delay, execute)


@pytest.mark.parametrize("tau", [0.05, 0.3, 0.5, 0.8, 0.99])
def test_the_weight_is_the_papers(tau: float) -> None:
    """v += min(beta, (1 - tau) / (tau r^2)) J^T W (y - data), and a change of v is (1 - tau) times one of the data."""
    squared = (1 - tau) ** 2 / (tau**2 + (1 - tau) ** 2)
    paper = min(MOST, (1 - tau) / (tau * squared))
    guide = Inpainting(lambda _, __, data: data, exact=True)
    assert guide.weight(Level(1 - tau, tau, 1 - tau)) == pytest.approx((1 - tau) * paper)
    assert guide.weight(Level(1.0, 0.0, 1.0)) == MOST
    assert Inpainting(lambda _, __, data: data).weight(Level(1.0, 0.0, 1.0)) == 1.0


class GaussianFlow(torch.nn.Module):
    """The velocity of x_0 ~ N(0, covariance over the H actions): what a network would learn without an error."""

    def __init__(self, covariance: Tensor) -> None:
        super().__init__()
        self.covariance = covariance

    def forward(self, x: Tensor, t: Tensor, cond: Tensor) -> Tensor:
        time = t[0, 0]
        alpha, eye = 1 - time, torch.eye(len(self.covariance))
        gain = alpha * self.covariance @ torch.linalg.inv(alpha**2 * self.covariance + time**2 * eye)
        return (x - torch.einsum("ij,bja->bia", gain, x)) / time


@pytest.fixture
def smooth(make_policy: Callable[..., GenerativePolicy]) -> tuple[GenerativePolicy, Tensor]:
    """A flow of smooth chunks of 8: the correlation of two actions falls with their distance; and its covariance."""
    policy = make_policy("flow", settings={"steps": 40}, chunk=8)
    place = torch.arange(8.0)
    covariance = 0.15 * torch.exp(-(((place[:, None] - place) / 4) ** 2)) + 1e-3 * torch.eye(8)
    policy.network = GaussianFlow(covariance)  # type: ignore[assignment]
    return policy, covariance


def test_the_rest_follows_what_is_held(smooth: tuple[GenerativePolicy, Tensor]) -> None:
    """The conditional mean of the Gaussian, Sigma_rp Sigma_pp^-1 y, is what the guidance approximates.

    The network's Jacobian carries a change of the prefix over to the rest of the chunk; the identity leaves the rest
    where it was. The prefix is the planned one to the last digit, whatever the guidance left over.
    """
    policy, covariance = smooth
    prefix, rows = 3, 400
    planned = policy.to_raw(torch.full((rows, 8, 2), 0.4))
    weights = torch.where(torch.arange(8) < prefix, 1.0, 0.0)
    noise = torch.randn(rows, 8, 2, generator=torch.Generator().manual_seed(0))
    obs = torch.zeros(rows, 3)
    wanted = covariance[:, :prefix] @ torch.linalg.solve(covariance[:prefix, :prefix], torch.full((prefix,), 0.4))
    found = {
        name: policy.normalized(continued(policy, obs, planned, weights * held, noise, exact=exact)).detach()
        for name, held, exact in (("plain", 0.0, True), ("exact", 1.0, True), ("identity", 1.0, False))
    }
    apart = {name: (chunk[:, :prefix] - 0.4).abs().mean().item() for name, chunk in found.items()}
    assert max(apart["identity"], apart["exact"]) < 1e-6 < apart["plain"]
    missed = {name: (chunk.mean(dim=(0, 2)) - wanted)[prefix:].abs().max().item() for name, chunk in found.items()}
    assert missed["exact"] < 0.5 * missed["plain"]
    assert missed["exact"] < 0.9 * missed["identity"]


def test_a_chunk_that_takes_over_is_as_smooth_as_others(smooth: tuple[GenerativePolicy, Tensor]) -> None:
    """Elsewhere what the guidance leaves over is a jump, from the action executed last to the new chunk's next one."""
    policy, _ = smooth
    planned = policy.to_raw(torch.full((400, 8, 2), 0.4))
    noise = torch.randn(400, 8, 2, generator=torch.Generator().manual_seed(0))
    found = policy.normalized(continued(policy, torch.zeros(400, 3), planned, prefix_weights(8, 3, 2), noise)).detach()
    plain = policy.normalized(policy.sample(torch.zeros(400, 3), noise)).detach()
    usual = (plain[:, 1:] - plain[:, :-1]).abs().mean().item()
    assert (found[:, 3] - 0.4).abs().mean() < 1.3 * usual < 0.5 * (plain[:, 3] - 0.4).abs().mean()
    assert (found[:, 3:] - found[:, 2:-1]).abs().mean() < 1.3 * usual


@pytest.mark.parametrize(
    ("process", "settings"), [("flow", {"steps": 5}), ("diffusion", {"steps": 6, "prediction": "velocity"})]
)
@pytest.mark.parametrize("exact", [True, False])
def test_policies(
    make_policy: Callable[..., GenerativePolicy], process: str, settings: dict[str, Any], exact: bool
) -> None:
    policy = make_policy(process, settings=settings, chunk=8)
    noise = torch.randn(3, 8, 2, generator=torch.Generator().manual_seed(1))
    obs = torch.full((3, 3), 5.0)
    last = policy.sample(obs, torch.randn(3, 8, 2, generator=torch.Generator().manual_seed(2)))
    plain = policy.sample(obs, noise)
    free = continued(policy, obs, last[:, 4:], torch.zeros(8), noise, exact=exact)
    torch.testing.assert_close(free, plain)
    found = continued(policy, obs, last[:, 4:], prefix_weights(8, 2, 4), noise, exact=exact)
    scale = policy.action_scale
    before, after = ((chunk[:, :2] - last[:, 4:6]).div(scale).abs().mean() for chunk in (plain, found))
    assert after < 0.5 * before
    assert (found[:, :2] <= torch.tensor([2.0, 20.0])).all()
    again = continued(policy, obs, last[:, 4:], prefix_weights(8, 2, 4), noise, exact=exact)
    assert torch.equal(found, again)


def test_what_is_missing_is_the_last_action_not_the_mean(make_policy: Callable[..., GenerativePolicy]) -> None:
    """Elsewhere a short rest was filled up with zeros, which are the mean of the data, and the arm jerked."""
    policy = make_policy("flow", settings={"steps": 20}, chunk=8)
    planned = policy.to_raw(torch.full((1, 2, 2), 0.9))
    noise = torch.randn(1, 8, 2, generator=torch.Generator().manual_seed(0))
    found = continued(policy, torch.zeros(1, 3), planned, torch.ones(8), noise, exact=False)
    assert policy.normalized(found).detach() == pytest.approx(np.full((1, 8, 2), 0.9), abs=0.02)


def test_mistakes(make_policy: Callable[..., GenerativePolicy]) -> None:
    policy, obs = make_policy("flow", chunk=8), torch.zeros(1, 3)
    for shape in ((1, 0, 2), (2, 4, 2), (1, 4, 3), (4, 2)):
        with pytest.raises(LaminarError, match="planned actions have shape"):
            continued(policy, obs, torch.zeros(shape), torch.zeros(8))
    for planned, weights in (
        (np.full((1, 4, 2), np.nan), torch.zeros(8)),
        (np.zeros((1, 4, 2)), torch.full((8,), np.nan)),
    ):
        with pytest.raises(LaminarError, match="must be finite"):
            continued(policy, obs, planned, weights)
    with pytest.raises(LaminarError, match="not of Accelerated; give the policy itself"):
        continued(accelerate(policy, "eager"), obs, np.zeros((1, 4, 2)), torch.zeros(8))
    with pytest.raises(LaminarError, match=r"weights have shape \(7,\), expected \(8,\)"):
        continued(policy, obs, torch.zeros(1, 4, 2), torch.zeros(7))
    for process in ("meanflow", "ctm", "direct"):
        with pytest.raises(LaminarError, match=f"this policy is of {process}.*policy=flow"):
            continued(make_policy(process, chunk=8), obs, torch.zeros(1, 4, 2), torch.ones(8))
