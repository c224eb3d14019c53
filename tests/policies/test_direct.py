"""The direct process: deterministic actors, and the one-call actor that sees its noise."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from laminar.errors import LaminarError
from laminar.policies.networks import Network
from laminar.policies.networks.mlp import MLP
from laminar.policies.networks.mlp import Config as MLPConfig
from laminar.policies.processes.direct import Config as DirectConfig
from laminar.policies.processes.direct import Direct


class Analytic(Network):
    """Any function of (x, times, cond) as a network."""

    def __init__(self, function: Callable[[Tensor, Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor, times: Tensor, cond: Tensor) -> Tensor:
        return self.function(x, times, cond)


def mlp() -> MLP:
    torch.manual_seed(0)
    return MLP(MLPConfig(width=32, depth=2), horizon=1, action_dim=2, history=1, condition_dim=1, n_times=1)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("squash", [False, True])
def test_direct_is_one_call_at_the_noise_level(squash: bool) -> None:
    """The deterministic actor sees zeros, the one-call actor its noise, both t = 1; tanh comes last."""
    network = Analytic(lambda x, times, cond: 2 * x + times[:, :, None] + cond)
    noise, cond = torch.randn(4, 1, 1, generator=generator()), torch.full((4, 1, 1), 0.5)
    for sees in (False, True):
        expected = 1.5 + 2 * noise * sees
        path = Direct(DirectConfig(noise=sees, squash=squash)).path(network, noise, cond, steps=1)
        assert len(path) == 2
        assert torch.equal(path[0], noise)
        torch.testing.assert_close(path[1], expected.tanh() if squash else expected)


@pytest.mark.parametrize("squash", [False, True])
def test_direct_regresses_to_the_data(squash: bool) -> None:
    """The error of what `sample` gives, averaged over each sample's valid actions."""
    process, network = Direct(DirectConfig(squash=squash)), mlp()
    x, cond = torch.randn(3, 1, 2, generator=generator()), torch.randn(3, 1, 1, generator=generator(1))
    assert process.draw(x, generator()) == ()
    loss, metrics = process.loss(network, x, cond, generator())
    sample = process.sample(network, torch.randn(3, 1, 2), cond)
    torch.testing.assert_close(loss, (sample - x).square().mean())
    assert torch.equal(metrics["loss"], loss.detach())
    zero, target = Analytic(lambda x, times, cond: torch.zeros_like(x)), torch.tensor([[[1.0], [5.0]]])
    masked, _ = process.loss(zero, target, cond[:1], mask=torch.tensor([[True, False]]))
    assert float(masked) == 1.0


def test_direct_with_noise_learns_from_a_teacher_alone() -> None:
    process, network = Direct(DirectConfig(noise=True)), mlp()
    noise, cond = torch.randn(64, 1, 2, generator=generator()), torch.zeros(64, 1, 1)
    with pytest.raises(LaminarError, match="method=fql"):
        process.loss(network, noise, cond, generator())
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    errors = []
    for _ in range(100):
        loss = (process.sample(network, noise, cond) - noise.sin()).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        errors.append(float(loss))
    assert errors[-1] < 0.1 * errors[0], errors[::20]


def test_direct_has_one_step() -> None:
    with pytest.raises(LaminarError, match="one network call, not with 2"):
        Direct(DirectConfig()).sample(mlp(), torch.randn(1, 1, 2), torch.zeros(1, 1, 1), steps=2)
