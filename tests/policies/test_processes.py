"""Losses and samplers of the processes against closed forms."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from laminar.data.episodes import Episodes
from laminar.errors import LaminarError
from laminar.policies import NETWORKS, PROCESSES, GenerativePolicy, PolicyConfig
from laminar.policies.networks import Network
from laminar.policies.networks.mlp import MLP
from laminar.policies.networks.mlp import Config as MLPConfig
from laminar.policies.processes import Process, squared_error
from laminar.policies.processes.diffusion import Config as DiffusionConfig
from laminar.policies.processes.diffusion import Diffusion
from laminar.policies.processes.direct import Config as DirectConfig
from laminar.policies.processes.flow import Config as FlowConfig
from laminar.policies.processes.flow import Flow
from laminar.policies.processes.meanflow import Config as MeanFlowConfig
from laminar.policies.processes.meanflow import MeanFlow


class Analytic(Network):
    """Any function of (x, times, cond) as a network."""

    def __init__(self, function: Callable[[Tensor, Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor, times: Tensor, cond: Tensor) -> Tensor:
        return self.function(x, times, cond)


def mlp(n_times: int, width: int = 32, depth: int = 2, action_dim: int = 2) -> MLP:
    torch.manual_seed(0)
    return MLP(
        MLPConfig(width=width, depth=depth),
        horizon=1,
        action_dim=action_dim,
        history=1,
        condition_dim=1,
        n_times=n_times,
    )


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def point_mass_velocity(x: Tensor, times: Tensor, cond: Tensor) -> Tensor:
    """Velocity towards the data point c: on x_t = (1 - t) c + t eps it is (x - c) / t."""
    return (x - cond) / times[:, :1, None]


@pytest.mark.parametrize("steps", [1, 3, 10])
@pytest.mark.parametrize("solver", ["euler", "heun"])
def test_flow_reaches_a_point_mass_exactly(steps: int, solver: str) -> None:
    cond = torch.full((5, 1, 1), 0.3)
    sample = Flow(FlowConfig(solver=solver)).sample(Analytic(point_mass_velocity), torch.randn(5, 1, 1), cond, steps)
    torch.testing.assert_close(sample, cond)


@pytest.mark.parametrize("steps", [1, 4])
def test_meanflow_reaches_a_point_mass_exactly(steps: int) -> None:
    """Straight paths: the average velocity over any span is the velocity itself."""
    cond = torch.full((5, 1, 1), -0.8)
    sample = MeanFlow(MeanFlowConfig()).sample(Analytic(point_mass_velocity), torch.randn(5, 1, 1), cond, steps)
    torch.testing.assert_close(sample, cond)


def test_meanflow_with_r_equal_t_is_flow_matching() -> None:
    network = mlp(2)
    process, flow = MeanFlow(MeanFlowConfig(flow_ratio=1.0)), Flow(FlowConfig())
    x, cond = torch.randn(16, 1, 2), torch.randn(16, 1, 1)
    noise, t, r = process.draw(x, generator())
    assert torch.equal(t, r)
    same_time = Analytic(lambda x, times, cond: network(x, torch.cat([times, torch.zeros_like(times)], 1), cond))
    expected, _ = flow.loss(same_time, x, cond, draws=(noise, t))
    got, _ = process.loss(network, x, cond, draws=(noise, t, r))
    torch.testing.assert_close(got, expected)


def test_meanflow_target_against_finite_differences() -> None:
    """u_tgt = v - (t - r) d/dt u(x_t + v dt, r, t + dt), the total derivative along the path."""
    network = mlp(2).double()
    process = MeanFlow(MeanFlowConfig(flow_ratio=0.25))
    x, cond = torch.randn(8, 1, 2).double(), torch.randn(8, 1, 1).double()
    noise, t, r = (draw.double() for draw in process.draw(x, generator()))
    t_ = t[:, :, None]
    x_t, velocity = (1 - t_) * x + t_ * noise, noise - x
    h = 1e-6

    def u(step: float) -> Tensor:
        return network(x_t + step * velocity, torch.cat([t + step, t + step - r], 1), cond)

    expected = velocity - (t - r)[:, :, None] * (u(h) - u(-h)) / (2 * h)
    got = process._target(network, x_t, velocity, t, r, cond)
    torch.testing.assert_close(got, expected, rtol=1e-6, atol=1e-7)
    assert not got.requires_grad


def test_meanflow_times() -> None:
    process = MeanFlow(MeanFlowConfig(flow_ratio=0.5))
    _, t, r = process.draw(torch.zeros(4000, 1, 1), generator())
    assert ((r > 0) & (r <= t) & (t < 1)).all()
    assert int((t == r).sum()) == 2000
    logit = torch.logit(t[:2000])
    assert abs(float(logit.mean()) + 0.4) < 0.06
    assert abs(float(logit.std()) - 1.0) < 0.06


def test_meanflow_draws_the_pair_of_one_call_sampling() -> None:
    """Exactly (0, 1) in the last rows, and the other rows as without the share."""
    x = torch.zeros(50, 1, 1)
    noise, t, r = MeanFlow(MeanFlowConfig(flow_ratio=0.5, one_step_share=0.1)).draw(x, generator())
    assert (noise.shape, t.shape, r.shape) == (x.shape, (50, 1), (50, 1))
    assert (t[45:] == 1).all()
    assert (r[45:] == 0).all()
    usual = MeanFlow(MeanFlowConfig(flow_ratio=0.5)).draw(x, generator())
    assert ((usual[2] > 0) & (usual[1] < 1)).all()
    for got, expected in zip((noise, t[:45], r[:45]), (usual[0], usual[1][:45], usual[2][:45]), strict=True):
        assert torch.equal(got, expected)
    _, t, r = MeanFlow(MeanFlowConfig(flow_ratio=0.9, one_step_share=0.1)).draw(x, generator())
    assert int((t == r).sum()) == 45
    assert int((t - r == 1).sum()) == 5


def test_meanflow_loss_sees_the_network_where_one_call_sampling_calls_it() -> None:
    seen = []

    def record(x: Tensor, times: Tensor, cond: Tensor) -> Tensor:
        seen.append((x, times))
        return torch.zeros_like(x)

    process = MeanFlow(MeanFlowConfig(flow_ratio=0.5, one_step_share=0.5))
    x, cond = torch.randn(4, 1, 1, generator=generator(1)), torch.zeros(4, 1, 1)
    draws = process.draw(x, generator())
    process.objective(Analytic(record), x, cond, None, draws)
    process.sample(Analytic(record), draws[0], cond)
    loss, sample = seen[0], seen[-1]
    assert torch.equal(loss[1][2:], sample[1][2:])
    assert torch.equal(loss[0][2:], sample[0][2:])


def test_meanflow_adaptive_weight() -> None:
    """Power 1 divides each sample's error by itself (plus 0.001), without a gradient through the weight."""
    network = Analytic(lambda x, times, cond: torch.zeros_like(x))
    x, cond = torch.randn(64, 1, 2), torch.zeros(64, 1, 1)
    process = MeanFlow(MeanFlowConfig(adaptive_power=1.0))
    loss, metrics = process.loss(network, x, cond, generator())
    assert abs(float(loss) - 1.0) < 0.05
    assert float(metrics["squared_error"]) > 1.0


@pytest.mark.parametrize("prediction", ["epsilon", "data", "velocity"])
@pytest.mark.parametrize("levels", [5, None])
def test_diffusion_predictions_recover_the_data(prediction: str, levels: int | None) -> None:
    """A network that knows the data c answers right in each parametrization; one DDIM step then returns c."""
    process = Diffusion(DiffusionConfig(schedule="vp", levels=levels, prediction=prediction, clip=None, steps=3))

    def answer(x: Tensor, times: Tensor, cond: Tensor) -> Tensor:
        alpha, sigma = process.schedule.alpha_sigma(times)
        noise = (x - alpha * cond) / sigma
        return {"epsilon": noise, "data": cond, "velocity": alpha * noise - sigma * cond}[prediction]

    cond = torch.full((6, 1, 1), 0.4)
    torch.testing.assert_close(process.sample(Analytic(answer), torch.randn(6, 1, 1), cond), cond, rtol=1e-3, atol=1e-3)
    loss, _ = process.loss(Analytic(answer), cond, cond, generator())
    assert float(loss) < 1e-6


@pytest.mark.parametrize("prediction", ["epsilon", "data", "velocity"])
@pytest.mark.parametrize("clip", [None, 0.05])
def test_diffusion_one_call_gives_loss_and_estimate(prediction: str, clip: float | None) -> None:
    """One network call: the loss of `objective`, and what `predict_data` sees in the same noised action."""
    process = Diffusion(DiffusionConfig(schedule="vp", levels=5, steps=5, prediction=prediction, clip=clip))
    network, cond = mlp(1), torch.randn(8, 1, 1, generator=generator(2))
    calls = []
    network.register_forward_hook(lambda *call: calls.append(call))
    x = 0.3 * torch.randn(8, 1, 2, generator=generator(1))
    noise, _ = process.draw(x, generator())
    for step in range(1, 6):
        draws, level = (noise, torch.full((8, 1), step / 5)), process.schedule.level(step / 5)
        calls.clear()
        loss, metrics, data = process.one_call(network, x, cond, None, draws)
        assert len(calls) == 1
        assert torch.equal(loss, process.objective(network, x, cond, None, draws)[0])
        assert torch.equal(metrics["loss"], loss.detach())
        expected = process.predict_data(network, level.alpha * x + level.sigma * noise, level, cond)
        torch.testing.assert_close(data, expected)
        if clip is None:  # beyond the bound there is no gradient
            gradients = torch.autograd.grad(data.sum(), list(network.parameters()))
            assert all(gradient.any() for gradient in gradients)
        else:
            assert float(data.detach().abs().max()) == pytest.approx(clip)


def test_diffusion_clips_inside_the_solver() -> None:
    process = Diffusion(DiffusionConfig(schedule="vp", levels=5, steps=5, prediction="data"))
    wild = Analytic(lambda x, times, cond: torch.full_like(x, 7.0))
    for solver in ("ddim", "ddpm", "dpmpp_1", "dpmpp_2m", "dpmpp_2s"):
        process.config.solver = solver
        sample = process.sample(wild, torch.randn(4, 1, 1), torch.zeros(4, 1, 1), generator=generator())
        torch.testing.assert_close(sample, torch.ones(4, 1, 1))


def test_ddpm_noise_comes_from_the_generator() -> None:
    process = Diffusion(DiffusionConfig(solver="ddpm"))
    network, noise, cond = mlp(1), torch.randn(4, 1, 2), torch.zeros(4, 1, 1)
    first = process.sample(network, noise, cond, generator=generator(1))
    assert torch.equal(first, process.sample(network, noise, cond, generator=generator(1)))
    assert not torch.equal(first, process.sample(network, noise, cond, generator=generator(2)))


def test_ddpm_takes_noise_drawn_before() -> None:
    """The same numbers as a stream and as a tensor give the same sample, and `inner_draws` is how many it takes."""
    process = Diffusion(DiffusionConfig(solver="ddpm", schedule="vp", levels=5, steps=5, clip=None))
    network, noise, cond = mlp(1), torch.randn(6, 1, 2, generator=generator(2)), torch.zeros(6, 1, 1)
    source = generator(1)
    chain = torch.stack([torch.randn(6, 1, 2, generator=source) for _ in range(process.inner_draws)])
    sample = process.sample(network, noise, cond, generator=chain)
    assert torch.equal(sample, process.sample(network, noise, cond, generator=generator(1)))
    with pytest.raises(StopIteration):
        process.sample(network, noise, cond, generator=chain[1:])
    last = torch.cat([chain[:-1], chain[-1:] + 1])
    assert not torch.equal(sample, process.sample(network, noise, cond, generator=last))
    assert Diffusion(DiffusionConfig(solver="ddim")).inner_draws == 0
    assert Flow(FlowConfig()).inner_draws == MeanFlow(MeanFlowConfig()).inner_draws == 0


def test_squared_error_averages_within_a_sample_first() -> None:
    error = squared_error(
        torch.tensor([[[1.0], [3.0]], [[2.0], [9.0]]]),
        torch.zeros(2, 2, 1),
        torch.tensor([[True, True], [True, False]]),
    )
    assert error.tolist() == [5.0, 4.0]


def test_bad_settings_name_the_nearest() -> None:
    with pytest.raises(LaminarError, match="did you mean 'heun'"):
        Flow(FlowConfig(solver="huen"))
    with pytest.raises(LaminarError, match="did you mean 'dpmpp_2m'"):
        Diffusion(DiffusionConfig(solver="dpmpp2m"))
    with pytest.raises(LaminarError, match=r"policy\.process\.prediction must be epsilon, data or velocity, got score"):
        Diffusion(DiffusionConfig(prediction="score"))
    with pytest.raises(LaminarError, match=r"20 sampling steps.*5 levels"):
        Diffusion(DiffusionConfig(levels=5, steps=20))
    with pytest.raises(LaminarError, match="flow_ratio"):
        MeanFlow(MeanFlowConfig(flow_ratio=1.5))
    for share in (-0.1, math.nan):
        with pytest.raises(LaminarError, match=rf"one_step_share must be a share between 0 and 1, got {share}"):
            MeanFlow(MeanFlowConfig(one_step_share=share))
    with pytest.raises(LaminarError, match=r"one_step_share=0.6.*flow_ratio=0.5"):
        MeanFlow(MeanFlowConfig(one_step_share=0.6))
    with pytest.raises(LaminarError, match=r"policy\.process\.steps must be at least 1, got 0"):
        MeanFlow(MeanFlowConfig(steps=0))
    with pytest.raises(LaminarError, match=r"network\.width must be at least 1, got -3"):
        mlp(1, width=-3)
    with pytest.raises(LaminarError, match="at least one step"):
        Flow(FlowConfig()).sample(mlp(1), torch.randn(1, 1, 2), torch.zeros(1, 1, 1), steps=0)


def test_mean_flow_refuses_a_network_with_corners(episodes: Episodes) -> None:
    network = MLPConfig(width=8, activation="relu")
    with pytest.raises(LaminarError, match=r"relu is not smooth.*activation=gelu"):
        GenerativePolicy.build(PolicyConfig(process=MeanFlowConfig()), network, episodes)
    GenerativePolicy.build(PolicyConfig(process=DirectConfig()), network, episodes)


def test_registry_names_are_file_names(make_policy: Callable[..., GenerativePolicy]) -> None:
    assert {"ctm", "diffusion", "direct", "flow", "meanflow"} <= set(PROCESSES.names())
    for family in (PROCESSES, NETWORKS):
        for name in family.names():
            assert family.config_class(name)().name == name
    with pytest.raises(LaminarError, match=r"no process is called 'meanflo'.*did you mean 'meanflow'"):
        PROCESSES.config_class("meanflo")
    with pytest.raises(LaminarError, match="no setting 'step'; did you mean 'steps'"):
        PROCESSES.config_from_json({"name": "flow", "step": 3})


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow) if name == "ctm" else name  # half a minute
        for name in PROCESSES.names()
        if name != "direct"
    ],
)
def test_two_modes_keep_their_weights(name: str) -> None:
    """70 % of the data at +0.6, 30 % at -0.6, both with a spread of 0.1; the condition tells nothing."""
    process: Process = PROCESSES.member_class(name)(PROCESSES.config_class(name)())
    network = mlp(process.n_times, width=64, depth=3, action_dim=1)
    updates = 3000
    optimizer = torch.optim.Adam(network.parameters(), lr=2e-3, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, updates)
    source = generator(1)
    cond = torch.zeros(256, 1, 1)
    for _ in range(updates):
        side = torch.where(torch.rand(256, 1, 1, generator=source) < 0.7, 0.6, -0.6)
        x = side + 0.1 * torch.randn(256, 1, 1, generator=source)
        loss, _ = process.loss(network, x, cond, source)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        noise = torch.randn(4000, 1, 1, generator=source)
        sample = process.sample(network, noise, torch.zeros(4000, 1, 1), generator=source).flatten()
    right, left = (sample - 0.6).abs() < 0.3, (sample + 0.6).abs() < 0.3
    # One call is a smooth function of the noise and must cross the gap between the modes somewhere.
    floor = 0.8 if name in ("ctm", "meanflow") else 0.9
    assert float((right | left).float().mean()) > floor
    share = float(right.sum() / (right | left).sum())
    assert math.isclose(share, 0.7, abs_tol=0.06), share
