"""What counts as the same numbers: rounding, also where a policy amplifies it, and nothing else."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from laminar.policies import GenerativePolicy
from laminar.policies.networks import Network
from laminar.policies.runtimes.accelerate import accelerate
from laminar.policies.runtimes.agreement import LIMIT, TOLERANCE, Agreement, Draw, agreement, sampler_agreement
from laminar.policies.runtimes.fastest import compare
from laminar.policies.runtimes.program import SamplingProgram

Make = Callable[..., GenerativePolicy]


class Echo(Network):
    """Predicts that all of x is noise: what a trained network nearly does at t = 1."""

    def __init__(self, last_digits: float = 0.0) -> None:
        super().__init__()
        self.last_digits = last_digits

    def forward(self, x: Tensor, times: Tensor, cond: Tensor) -> Tensor:
        return x * (1 + self.last_digits)


@pytest.fixture
def steep(make_policy: Make) -> SamplingProgram:
    """Return the program of a policy whose first prediction lies inside the clip, carrying last digits 2,000 times."""
    policy = make_policy("diffusion", "mlp", {"steps": 5}, chunk=4).eval()
    policy.network = Echo()
    return SamplingProgram(policy)


@pytest.fixture
def smooth(make_policy: Make) -> SamplingProgram:
    torch.manual_seed(0)
    return SamplingProgram(make_policy("flow", "mlp", {"steps": 5}, chunk=4).eval())


def judged(program: SamplingProgram, call: Callable[..., Tensor], draws: int = 6) -> Agreement:
    inputs = [program.example(2, torch.Generator().manual_seed(k)) for k in range(draws)]
    return agreement(program, call, inputs)


def off_by(program: SamplingProgram, gap: float) -> Callable[..., Tensor]:
    """Return the program with an error, in normalized units, in one action of each chunk."""

    def call(inputs: tuple[Tensor, ...]) -> Tensor:
        chunk = program.reference(*inputs)
        chunk[:, 1, 0] += gap * program.policy.action_scale[0]
        return chunk

    return call


def test_last_digits_are_amplified_and_accepted(steep: SamplingProgram) -> None:
    found = judged(steep, lambda inputs: steep.reference(*inputs, network=Echo(2e-7)))
    assert TOLERANCE < found.largest < LIMIT
    assert found.agrees
    assert found.amplified == 6
    assert "6 of 6 draws differ by more than 1e-05" in found.remark
    assert "amplifies rounding" in found.remark


@pytest.mark.parametrize("error", [1e-4, -3e-3])
def test_more_than_last_digits_is_not(steep: SamplingProgram, error: float) -> None:
    found = judged(steep, lambda inputs: steep.reference(*inputs, network=Echo(error)))
    assert not found.agrees
    assert "rounding explains no more than" in found.remark


@pytest.mark.parametrize("gap", [2e-5, 1e-3, 1.0, math.nan, math.inf])
def test_an_error_of_a_policy_that_amplifies_nothing(smooth: SamplingProgram, gap: float) -> None:
    found = judged(smooth, off_by(smooth, gap))
    assert not found.agrees
    assert found.largest == pytest.approx(gap, rel=0.1) if math.isfinite(gap) else math.isinf(found.largest)


def test_up_to_the_tolerance_nothing_is_asked(smooth: SamplingProgram) -> None:
    found = judged(smooth, off_by(smooth, 5e-6))
    assert found.agrees
    assert (found.amplified, found.remark) == (0, "")
    assert all(draw.rounding == 0 for draw in found.draws)


def test_one_wrong_draw_of_many_is_enough() -> None:
    fine, off = Draw(4e-7, 1e-7), Draw(5e-5, 1e-6, rounding=1e-4)
    assert Agreement((fine, off)).agrees
    assert not Agreement((fine, off, Draw(5e-5, 1e-6, rounding=5e-6))).agrees
    assert not Agreement((Draw(2 * LIMIT, 1e-3, rounding=1.0),)).agrees, "no reason is good enough"


@pytest.mark.parametrize("settings", [{"solver": "ddpm", "steps": 4}, {"steps": 4}])
def test_samplers_get_the_noise_that_eager_gets(make_policy: Make, settings: dict[str, object]) -> None:
    """Also what a stochastic solver draws on the way."""
    torch.manual_seed(0)
    policy = make_policy("diffusion", "mlp", settings, chunk=4).eval()
    assert sampler_agreement(SamplingProgram(policy), policy.sample, 3).largest < 1e-6
    assert compare(accelerate(policy, "eager", [1, 3])).largest < 1e-6
    other = sampler_agreement(SamplingProgram(policy), lambda obs, noise, _: policy.sample(obs, -noise), 3)
    assert other.largest > LIMIT
