"""The search on small policies: what it measures, what it proposes, and that it finds better than the fixed solvers."""

from __future__ import annotations

import math
from collections.abc import Callable
from random import Random
from typing import Any

import pytest
import torch
from torch import Tensor

from laminar.errors import LaminarError
from laminar.eval.schedules.search import Breeder, Effort, Yardstick, predict, search, sliced_wasserstein
from laminar.policies import GenerativePolicy
from laminar.policies.networks import Network
from laminar.policies.processes import Process
from laminar.policies.processes.diffusion import Diffusion
from laminar.policies.processes.solver_schedules import SolverSchedule, SolverStep

MakePolicy = Callable[..., GenerativePolicy]
BRIEF = Effort(random=10, stages=3, proposals=60, measured=8, parents=6)


def observations(count: int) -> Tensor:
    return torch.randn(count, 3, generator=torch.Generator().manual_seed(0)) * 3 + 5


def bent(make_policy: MakePolicy, process: str, settings: dict[str, Any] | None = None) -> GenerativePolicy:
    """Return a policy whose paths are clearly bent, as those of trained ones are."""
    torch.manual_seed(0)
    policy = make_policy(process, settings=settings).eval().requires_grad_(False)
    for parameter in policy.network.parameters():
        parameter *= 1.6
    return policy


class Mixture(Network):
    """What a perfectly trained network gives for actions of two modes, +-0.6 about a value that the state decides."""

    std = 0.15

    def __init__(self, process: Process) -> None:
        super().__init__()
        self.process = process

    def forward(self, x: Tensor, times: Tensor, cond: Tensor) -> Tensor:
        t = times[:, :, None]
        alpha, sigma = self.process.schedule.alpha_sigma(times) if isinstance(self.process, Diffusion) else (1 - t, t)
        modes = 0.3 * cond[:, :, :2].tanh()[..., None] + torch.tensor([-0.6, 0.6])  # (B, 1, A, 2)
        alpha, sigma = alpha[..., None], sigma[..., None]
        variance = (alpha * self.std) ** 2 + sigma**2
        gap = x[..., None] - alpha * modes
        share = (-0.5 * gap.square() / variance).softmax(dim=-1)
        data = (share * (modes + alpha * self.std**2 / variance * gap)).sum(dim=-1)
        noise = (x - alpha[..., 0] * data) / sigma[..., 0]
        return noise if isinstance(self.process, Diffusion) else noise - data


def trained(make_policy: MakePolicy, process: str) -> GenerativePolicy:
    policy = make_policy(process).eval()
    policy.network = Mixture(policy.process)
    return policy


@pytest.fixture
def directions() -> Tensor:
    drawn = torch.randn(3, 4000, generator=torch.Generator().manual_seed(0))
    return drawn / drawn.norm(dim=0)


# what it measures


def test_the_distance_of_a_shifted_set(directions: Tensor) -> None:
    """A shift by s moves each projection by its part along the direction: the mean square is |s|^2 / d."""
    points = torch.randn(5, 20, 3, generator=torch.Generator().manual_seed(1))
    shift = torch.tensor([0.3, -0.4, 1.2])  # of length 1.3
    shuffled = points[:, torch.randperm(20, generator=torch.Generator().manual_seed(2))]
    assert float(sliced_wasserstein(points, shuffled, directions)) == 0
    found = float(sliced_wasserstein(points, shuffled + shift, directions))
    assert found == pytest.approx(1.3 / math.sqrt(3), rel=0.03)


def test_chunks_of_another_observation_count(directions: Tensor) -> None:
    """One set over all observations would not see that two observations were exchanged."""
    points = torch.randn(2, 20, 3, generator=torch.Generator().manual_seed(1))
    points[1] += 5
    swapped = points.flip(0)
    pooled = sliced_wasserstein(points.reshape(1, 40, 3), swapped.reshape(1, 40, 3), directions)
    assert float(pooled) < 1e-6
    assert float(sliced_wasserstein(points, swapped, directions)) > 1


@pytest.mark.parametrize(
    ("process", "settings", "calls"),
    [("flow", {}, 100), ("diffusion", {}, 100), ("diffusion", {"levels": 5, "steps": 5}, 5), ("meanflow", {}, 100)],
)
def test_the_reference_is_at_distance_zero(
    process: str, settings: dict[str, Any], calls: int, make_policy: MakePolicy
) -> None:
    policy = bent(make_policy, process, settings)
    yardstick = Yardstick(policy, observations(3), 5, 0)
    itself = yardstick.measure(calls)
    assert (itself.sliced, itself.paired) == pytest.approx((0, 0), abs=1e-5)
    coarse = yardstick.measure(1)
    assert 0 < coarse.sliced <= coarse.paired * 1.5


def test_what_would_be_executed_is_measured(make_policy: MakePolicy) -> None:
    policy = bent(make_policy, "flow")
    yardstick = Yardstick(policy, observations(4), 6, 0)
    raw = policy.sample(observations(4).repeat_interleave(6, dim=0), yardstick.noise, steps=2)
    wanted = policy.action_normalizer({"action": raw})["action"].view(4, 6, 2)
    torch.testing.assert_close(yardstick.chunks(2), wanted)
    clamped = (raw == policy.action_low) | (raw == policy.action_high)
    assert clamped.any(), "some actions lie at the limits"


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_diverging_schedule_is_far_off(value: float, make_policy: MakePolicy) -> None:
    policy = bent(make_policy, "flow")
    policy.action_low, policy.action_high = torch.full((2,), -torch.inf), torch.full((2,), torch.inf)
    yardstick = Yardstick(policy, observations(2), 3, 0)
    near = yardstick.measure(1).sliced
    policy.process.sample = lambda network, noise, cond, steps: torch.full_like(noise, value)  # type: ignore[method-assign]
    assert 100 * near < yardstick.measure(1).sliced < math.inf


def test_bad_yardsticks(make_policy: MakePolicy) -> None:
    with pytest.raises(LaminarError, match="policy 'direct' has no path for a solver schedule"):
        Yardstick(make_policy("direct"), observations(2), 4, 0)
    with pytest.raises(LaminarError, match=r"noises=1: .* at least two"):
        Yardstick(make_policy("flow"), observations(2), 1, 0)


# the fixed solvers


@pytest.mark.parametrize("process", ["flow", "diffusion", "meanflow"])
@pytest.mark.parametrize("calls", [1, 2, 3, 5])
def test_fixed_solvers_make_the_calls_they_are_given(process: str, calls: int, make_policy: MakePolicy) -> None:
    policy = make_policy(process).eval()
    made: list[int] = []
    forward = policy.network.forward

    def counting(*inputs: Tensor) -> Tensor:
        made.append(1)
        return forward(*inputs)

    policy.network.forward = counting  # type: ignore[method-assign]
    noise, cond = torch.zeros(2, 1, 2), policy.encode(policy.windows(observations(2)))
    fixed = policy.process.fixed(calls)
    assert fixed
    for name, solver in fixed.items():
        made.clear()
        solver.sample(policy.network, noise, cond)
        assert len(made) == calls, name


def test_which_fixed_solvers_there_are(make_policy: MakePolicy) -> None:
    assert set(make_policy("flow").process.fixed(2)) == {"euler", "unipc"}
    assert set(make_policy("flow").process.fixed(3)) == {"euler", "unipc", "heun"}
    diffusion = make_policy("diffusion", settings={"levels": 5, "steps": 5}).process
    assert len(diffusion.fixed(4)) == 5 * 3
    assert diffusion.fixed(6) == {}
    assert make_policy("direct").process.fixed(1) == {}


# what it proposes


@pytest.mark.parametrize(("process", "settings"), [("flow", {}), ("diffusion", {"levels": 7, "steps": 5})])
@pytest.mark.parametrize("calls", [1, 2, 5, 7])
def test_proposals_can_be_followed(process: str, settings: dict[str, Any], calls: int, make_policy: MakePolicy) -> None:
    policy = bent(make_policy, process, settings)
    breeder = Breeder(policy.process, calls, Random(0))
    parents = breeder.regular() + [breeder.drawn() for _ in range(20)]
    children = [breeder.child(parents, 0.5) for _ in range(50)]
    noise, cond = torch.randn(2, 1, 2), policy.encode(policy.windows(observations(2)))
    for schedule in parents + children:
        assert schedule.calls == calls
        assert all(step.order <= index + 1 for index, step in enumerate(schedule.steps))
        assert torch.isfinite(policy.process.sample(policy.network, noise, cond, schedule)).all()


def test_regular_schedules_contain_fixed_solvers(make_policy: MakePolicy) -> None:
    policy = bent(make_policy, "diffusion")
    regular = Breeder(policy.process, 4, Random(0)).regular()
    noise, cond = torch.randn(6, 1, 2), policy.encode(policy.windows(observations(6)))
    samples = [policy.process.sample(policy.network, noise, cond, schedule) for schedule in regular]
    fixed = policy.process.fixed(4)
    for name in ("ddim uniform", "ddim quadratic", "dpmpp_2m uniform", "dpmpp_2m quadratic"):
        wanted = fixed[name].sample(policy.network, noise, cond)
        assert any(torch.allclose(wanted, sample, atol=1e-4) for sample in samples), name


def test_choices_without_an_effect_are_not_told_apart(make_policy: MakePolicy) -> None:
    breeder = Breeder(make_policy("flow").process, 2, Random(0))
    plain = breeder.settle([SolverStep(1.0), SolverStep(0.5)])
    assert plain == breeder.settle([SolverStep(1.0, 3, "noise", "h"), SolverStep(0.5, 1, "velocity", "exact", True)])
    assert plain != breeder.settle([SolverStep(1.0, 1, "noise", "h", True), SolverStep(0.5)])
    assert breeder.settle([SolverStep(1.0), SolverStep(0.5, 2, "velocity", "h")]).steps[1].scaling == "expm1"


def test_only_times_are_proposed_for_mean_flow(make_policy: MakePolicy) -> None:
    breeder = Breeder(make_policy("meanflow").process, 4, Random(0))
    drawn = [breeder.drawn() for _ in range(20)]
    assert all(one.plain for one in [*breeder.regular(), *drawn, breeder.child(drawn, 0.3)])


def test_the_predictor_learns_an_order() -> None:
    """The distance is a smooth function of a time and of one choice; it ranks schedules that it has not seen."""

    def truth(schedule: SolverSchedule) -> float:
        return 0.1 * math.exp(3 * abs(schedule.steps[1].time - 0.3) + (schedule.steps[1].order == 1))

    draws = Random(0)
    drawn = [
        SolverSchedule((SolverStep(1.0), SolverStep(draws.uniform(0.01, 0.99), draws.choice((1, 2)))))
        for _ in range(120)
    ]
    known, unseen = drawn[:60], drawn[60:]
    guess = predict(known, [truth(one) for one in known], unseen)
    pairs = [(i, j) for i in range(60) for j in range(60) if truth(unseen[i]) < truth(unseen[j])]
    assert sum(guess[i] < guess[j] for i, j in pairs) / len(pairs) > 0.9


# what it finds


@pytest.mark.parametrize(("process", "calls"), [("flow", 2), ("flow", 3), ("diffusion", 2), ("diffusion", 3)])
def test_found_schedules_are_closer_than_fixed_solvers_elsewhere(
    process: str, calls: int, make_policy: MakePolicy
) -> None:
    """On observations and noises that the search did not see."""
    policy = trained(make_policy, process)
    found, measured = search(Yardstick(policy, observations(8), 16, 0), calls, seed=0, effort=BRIEF)
    other = Yardstick(policy, observations(24)[8:], 16, 1)
    assert found.calls == calls
    assert found in measured
    fixed = {name: other.measure(None, solver).sliced for name, solver in policy.process.fixed(calls).items()}
    assert other.measure(found).sliced < min(fixed.values()), fixed


def test_uneven_steps_are_found_for_mean_flow(make_policy: MakePolicy) -> None:
    policy = bent(make_policy, "meanflow")
    found, _ = search(Yardstick(policy, observations(8), 16, 0), 3, seed=0, effort=BRIEF)
    other = Yardstick(policy, observations(24)[8:], 16, 1)
    assert other.measure(found).sliced < other.measure(3).sliced


def test_the_same_seed_finds_the_same(make_policy: MakePolicy) -> None:
    policy = bent(make_policy, "flow")
    yardstick = Yardstick(policy, observations(4), 8, 0)
    first, measured = search(yardstick, 3, seed=5, effort=BRIEF)
    again, repeated = search(yardstick, 3, seed=5, effort=BRIEF)
    assert first == again
    assert list(measured) == list(repeated)
    assert set(measured) != set(search(yardstick, 3, seed=6, effort=BRIEF)[1])


def test_nothing_but_the_given_seeds_is_drawn_from(make_policy: MakePolicy) -> None:
    policy = bent(make_policy, "flow")
    before = torch.get_rng_state()
    search(Yardstick(policy, observations(3), 4, 0), 2, seed=0, effort=BRIEF)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize(
    ("calls", "message"), [(0, r"calls=0: .* at least one"), (6, r"calls=6: .* at most 5 as the reference")]
)
def test_impossible_numbers_of_calls(calls: int, message: str, make_policy: MakePolicy) -> None:
    policy = make_policy("diffusion", settings={"levels": 5, "steps": 5})
    with pytest.raises(LaminarError, match=message):
        search(Yardstick(policy, observations(2), 2, 0), calls, seed=0, effort=BRIEF)


def test_a_process_says_what_may_be_chosen(make_policy: MakePolicy) -> None:
    def of(name: str, settings: dict[str, Any] | None = None) -> Process:
        return make_policy(name, settings=settings).process

    assert of("flow").time_levels is None
    assert of("diffusion").time_levels == 100
    assert of("diffusion", {"levels": None}).time_levels is None
    assert of("meanflow").choices == ("time",)
    assert of("direct").choices == ()
