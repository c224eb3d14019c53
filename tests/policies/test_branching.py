"""Particles and trees: a tilted distribution in closed form, and the faults of codes that are in use."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor

from laminar.errors import LaminarError
from laminar.policies.guided import Acting
from laminar.policies.guided.particles import Weights, draw, noise_shape, sample
from laminar.policies.guided.tree import Tree, search
from laminar.policies.guided.tree import noise_shape as tree_noise_shape
from laminar.policies.processes.noise_schedules import NoiseSchedule, grid
from laminar.policies.processes.solvers import Level, stochastic_step

MODE, SPREAD = 0.6, 0.1


@dataclass(frozen=True)
class TwoModes:
    """Half N(-mode, spread^2), half N(mode, spread^2), in each of the numbers of a chunk by itself."""

    mode: float = MODE
    spread: float = SPREAD

    def predict(self, x: Tensor, level: Level) -> Tensor:
        """E[x_0 | x_t]."""
        return self.at(x, torch.tensor(level.alpha), torch.tensor(level.sigma))

    def at(self, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """The same at levels of each row."""
        variance = (alpha * self.spread) ** 2 + sigma**2
        share = torch.sigmoid(2 * alpha * self.mode * x / variance)  # of the upper mode
        gain = alpha * self.spread**2 / variance
        return (2 * share - 1) * self.mode * (1 - gain * alpha) + gain * x

    def upper_share(self, slope: float = 0.0, curvature: float = 0.0) -> float:
        """Share of the upper mode after the weights exp(slope x - curvature (x - mode)^2 / 2)."""

        def log_mass(mean: float) -> float:  # log of the integral of N(x; mean, spread^2) times the weight
            precision = 1 / self.spread**2 + curvature
            shift = mean / self.spread**2 + slope + curvature * self.mode
            constant = mean**2 / self.spread**2 + curvature * self.mode**2
            return (shift**2 / precision - constant) / 2 - math.log(precision) / 2

        return 1 / (1 + math.exp(log_mass(-self.mode) - log_mass(self.mode)))


def straight(steps: int) -> list[Level]:
    """Levels of a flow."""
    return [Level(1 - i / steps, i / steps, 1 - i / steps) for i in range(steps + 1)]


def preserving(steps: int) -> list[Level]:
    """Levels of a diffusion."""
    return grid(NoiseSchedule("cosine", None), steps, "uniform")


def share_bound(weights: tuple[float, float], expected: float, count: int, trials: int) -> float:
    """How far a share may be off: five standard errors of the trials, and the bias of weighing `count` samples.

    Self-normalized weights w of n samples are off by E[(w / E w)^2 (f - share)] / n to first order; twice that, for the
    rest of the series, and for particles that share ancestors.
    """
    low, high = weights
    mean = (low + high) / 2
    bias = abs(((high / mean) ** 2 * (1 - expected) - (low / mean) ** 2 * expected) / 2) / count
    return 5 * math.sqrt(expected * (1 - expected) / trials) + 2 * bias


STATES = 3000
PATHS = {"flow": straight, "diffusion": preserving}


def run(acting: Acting, value: Callable[[Tensor], Tensor], levels: list[Level], states: int = STATES) -> Tensor:
    shape = noise_shape(acting.candidates, 1, len(levels) - 1)
    noise = torch.randn(states, *shape, generator=torch.Generator().manual_seed(0))
    return sample(TwoModes().predict, value, levels, noise, (1, 1), acting)[:, 0, 0]


@pytest.mark.parametrize("eta", [0.5, 1.0])
@pytest.mark.parametrize("path", PATHS)
def test_the_stochastic_sampler_has_the_marginals_of_the_deterministic_one(path: str, eta: float) -> None:
    """Mean and variance of Gaussian data in closed form: every step is linear, so both are carried exactly."""
    spread, center, steps = 0.4, 0.3, 2000
    levels = PATHS[path](steps)
    mean, variance = torch.zeros((), dtype=torch.float64), 1.0
    for now, after in itertools.pairwise(levels):

        def step(x: Tensor, now: Level = now, after: Level = after) -> tuple[Tensor, float]:
            gain = now.alpha * spread**2 / ((now.alpha * spread) ** 2 + now.sigma**2)
            return stochastic_step(center + gain * (x - now.alpha * center), x, now, after, eta)

        slope = float(step(torch.ones((), dtype=torch.float64))[0] - step(torch.zeros((), dtype=torch.float64))[0])
        mean, deviation = step(mean)
        variance = slope**2 * variance + deviation**2
    assert float(mean) == pytest.approx(center, abs=2e-3)
    assert math.sqrt(variance) == pytest.approx(spread, rel=5e-3)  # of first order in 1 / steps
    if eta == 1.0 and path == "flow":
        one, two = straight(10)[3:5]
        known = two.sigma / one.sigma * math.sqrt(one.sigma**2 - (one.alpha / two.alpha * two.sigma) ** 2)
        assert stochastic_step(torch.zeros(1), torch.zeros(1), one, two, 1.0)[1] == pytest.approx(known)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("potential", ["diff", "max", "sum"])
@pytest.mark.parametrize("resampling", ["systematic", "multinomial"])
def test_tilted_weights_of_two_modes(potential: str, resampling: str, path: str) -> None:
    """Whatever the potential on the way, the sample is of the base times exp(r)."""
    slope, count = 1.2, 24
    acting = Acting(count, guidance="fk", potential=potential, resampling=resampling)
    if potential == "sum":  # the sum over the way is many times r, and then is taken back: judged late, it is not much
        acting = replace(acting, resample_below=0.2)
    found = run(acting, lambda x: slope * x.flatten(), PATHS[path](16))
    expected = TwoModes().upper_share(slope)
    assert 0.75 < expected < 0.85, "the tilt is to be seen"
    weights = (math.exp(-slope * MODE), math.exp(slope * MODE))
    assert float((found > 0).float().mean()) == pytest.approx(
        expected, abs=share_bound(weights, expected, count, STATES)
    )


def test_tilted_weights_of_a_quadratic_value_in_units_of_the_temperature() -> None:
    curvature, count = 6.0, 24
    acting = Acting(count, guidance="fk", temperature=4.0, ess=1.0)
    found = run(acting, lambda x: -2 * curvature * (x.flatten() - MODE) ** 2, straight(24))
    expected = TwoModes().upper_share(curvature=curvature)
    weights = (1 - expected, expected)
    bound = share_bound(weights, expected, count, STATES)
    assert bound < 0.06
    assert float((found > 0).float().mean()) == pytest.approx(expected, abs=bound)


def test_large_weights_do_not_saturate() -> None:
    """Weights that were clamped at 1e10 would tie at r = 23 and above."""
    reward = torch.tensor([[30.0, 90.0, 1000.0]])
    for potential in ("diff", "max", "sum"):
        weights = Weights.equal(reward, potential).judged(reward, potential)
        assert weights.log.tolist() == [[30.0, 90.0, 1000.0]]
        assert draw(weights.log, torch.zeros(1, 3), "systematic").tolist() == [[2, 2, 2]]
        assert float(weights.effective) == pytest.approx(1.0)
    found = run(Acting(8, guidance="fk", temperature=1e-3), lambda x: x.flatten() + 40, straight(8), 200)
    assert (found > 0).all(), "of eight particles one is in the upper mode, all but surely"


@pytest.mark.parametrize("potential", ["diff", "max", "sum"])
def test_skipped_resampling_keeps_the_weight(potential: str) -> None:
    """The weight of a path without resampling is exp(r) of its end, whatever was met before."""
    rewards = [torch.tensor([[0.1, 0.4, -0.3]]), torch.tensor([[0.5, -0.2, 0.2]]), torch.tensor([[0.3, 0.3, 0.6]])]
    never, weights = Acting(3, guidance="fk", ess=0.0, potential=potential), Weights.equal(rewards[0], potential)
    for reward in rewards[:2]:
        ancestors, weights = weights.judged(reward, potential).resampled(torch.zeros(1, 3), never)
        assert ancestors.tolist() == [[0, 1, 2]]
    torch.testing.assert_close(weights.finished(rewards[2]).log, rewards[2])


def test_the_maximum_is_that_of_the_way_so_far() -> None:
    weights = Weights.equal(torch.zeros(1, 2), "max")
    for reward in ([2.0, -1.0], [0.5, -3.0]):
        weights = weights.judged(torch.tensor([reward]), "max")
    assert weights.memory.tolist() == [[2.0, -1.0]]
    assert weights.log.tolist() == [[4.0, -2.0]]
    summed = Weights.equal(torch.zeros(1, 2), "sum").judged(torch.tensor([[2.0, -1.0]]), "sum")
    assert summed.judged(torch.tensor([[1.0, 1.0]]), "sum").log.tolist() == [[5.0, -1.0]]


def test_what_is_kept_goes_with_the_ancestor() -> None:
    reward = torch.tensor([[0.0, 50.0, 0.0]])
    always = Acting(3, guidance="fk", ess=1.0)
    ancestors, weights = Weights.equal(reward, "diff").judged(reward, "diff").resampled(torch.zeros(1, 3), always)
    assert ancestors.tolist() == [[1, 1, 1]]
    assert weights.log.tolist() == [[0.0, 0.0, 0.0]]
    assert weights.spent.tolist() == weights.memory.tolist() == [[50.0, 50.0, 50.0]]


def test_the_last_weights_count_however_many_are_effective() -> None:
    """The end has no gate: particles that were never resampled are drawn by what they weigh."""
    slope, count = 1.2, 24
    found = run(Acting(count, guidance="fk", ess=0.0), lambda x: slope * x.flatten(), straight(12))
    expected = TwoModes().upper_share(slope)
    bound = share_bound((math.exp(-slope * MODE), math.exp(slope * MODE)), expected, count, STATES)
    assert float((found > 0).float().mean()) == pytest.approx(expected, abs=bound)


def test_each_state_resamples_by_itself() -> None:
    """A state whose values are high takes nothing from the others, and one that need not resample does not."""
    log = torch.tensor([[1000.0, 1000.0, 1000.0, 1000.0], [0.0, 80.0, 0.0, 0.0], [0.0, 0.1, 0.0, -0.1]])
    weights = Weights(log, log, log)
    ancestors, after = weights.resampled(torch.zeros(3, 4), Acting(4, guidance="fk", ess=0.9))
    assert ancestors.tolist() == [[0, 1, 2, 3], [1, 1, 1, 1], [0, 1, 2, 3]]
    assert after.log.tolist() == [[1000.0] * 4, [0.0] * 4, log[2].tolist()]
    together = run(Acting(6, guidance="fk"), lambda x: 3 * x.flatten(), straight(6), 5)
    noise = torch.randn(5, 6, 12, generator=torch.Generator().manual_seed(0))
    for row in range(5):
        one = noise[row : row + 1]
        alone = sample(
            TwoModes().predict, lambda x: 3 * x.flatten(), straight(6), one, (1, 1), Acting(6, guidance="fk")
        )
        torch.testing.assert_close(alone[0, 0, 0], together[row])


def test_draws_are_in_proportion() -> None:
    log = torch.log(torch.tensor([[0.1, 0.2, 0.3, 0.4]])).expand(20_000, 4)
    coins = torch.randn(20_000, 4, generator=torch.Generator().manual_seed(0))
    for resampling in ("systematic", "multinomial"):
        drawn = draw(log, coins, resampling)
        shares = torch.bincount(drawn.flatten(), minlength=4) / drawn.numel()
        torch.testing.assert_close(shares, torch.tensor([0.1, 0.2, 0.3, 0.4]), atol=0.01, rtol=0)
        if resampling == "systematic":  # every particle has its expected number of copies, rounded up or down
            copies = torch.stack([(drawn == index).sum(dim=1) for index in range(4)], dim=1)
            assert ((copies - 4 * torch.tensor([0.1, 0.2, 0.3, 0.4])).abs() < 1).all()


def test_the_ends_of_the_uniform_numbers() -> None:
    """A particle without weight is not drawn, however far out the noise is."""
    log = torch.tensor([[-torch.inf, 0.0, 0.0, -torch.inf]])
    for far in (-40.0, 40.0):
        for resampling in ("systematic", "multinomial"):
            assert set(draw(log, torch.full((1, 4), far), resampling).flatten().tolist()) <= {1, 2}


def test_particles_that_are_resampled_part_again() -> None:
    """Copies of one ancestor stay identical in a sampler without noise, so there is none to be had."""
    with pytest.raises(LaminarError, match=r"eta must be above 0 and at most 1, got 0"):
        Acting(4, guidance="fk", eta=0.0)
    seen: list[Tensor] = []

    def value(x: Tensor) -> Tensor:
        seen.append(x.flatten())
        return 1e4 * x.flatten()

    run(Acting(16, guidance="fk", resample_below=1.0), value, straight(8), 1)
    assert all(len(one.unique()) > 8 for one in seen[1:]), (
        "one particle is the ancestor of all, and its copies are not alike"
    )


def test_what_is_seen_early_is_a_mean_over_modes() -> None:
    """A value of the middle, where no sample is, must not decide while every extrapolated chunk is there."""
    judged: list[tuple[float, Tensor]] = []
    model, levels = TwoModes(), preserving(20)

    def predict(x: Tensor, level: Level) -> Tensor:
        data = model.predict(x, level)
        judged.append((level.time, data))
        return data

    def resampled_at(below: float) -> list[float]:
        judged.clear()
        asked: list[float] = []

        def value(x: Tensor) -> Tensor:
            asked.append(judged[-1][0])
            return -20 * x.flatten() ** 2

        noise = torch.randn(50, *noise_shape(16, 1, 20), generator=torch.Generator().manual_seed(0))
        sample(predict, value, levels, noise, (1, 1), Acting(16, guidance="fk", resample_below=below))
        return asked

    assert resampled_at(1.0)[0] == 1.0
    early = judged[0][1]
    assert (early.abs() < 0.05).all(), "the extrapolated chunk is where no sample ever is"
    assert max(resampled_at(0.5)) <= 0.5
    assert resampled_at(0.001) == [levels[-2].time], "the end counts whatever was left out"


def test_all_randomness_is_in_the_noise() -> None:
    acting = Acting(5, guidance="fk", ess=1.0, resampling="multinomial", resample_below=1.0)
    assert noise_shape(5, 4, 3) == (5, 15)
    state, levels = torch.get_rng_state(), preserving(3)
    noise = torch.randn(40, 5, 15, generator=torch.Generator().manual_seed(0))

    def again(given: Tensor) -> Tensor:
        return sample(TwoModes().predict, lambda x: 5 * x.sum(dim=(1, 2)), levels, given, (2, 2), acting)

    first = again(noise)
    assert torch.equal(first, again(noise))
    assert torch.equal(state, torch.get_rng_state())
    for index in range(15):
        other = noise.clone()
        other[:, 0, index] += 1.0
        assert not torch.equal(first, again(other)), "every number of the noise is used"


def run_tree(acting: Acting, value: Callable[[Tensor], Tensor], levels: list[Level], states: int) -> Tensor:
    steps = len(levels) - 1
    shape = tree_noise_shape(acting.candidates * steps, 1, steps)
    noise = torch.randn(states, *shape, generator=torch.Generator().manual_seed(0))
    return search(denoiser(levels), value, levels, noise, (1, 1), acting)[:, 0, 0]


def denoiser(levels: list[Level]) -> Callable[[Tensor, Tensor], Tensor]:
    """The denoiser at times of each row; a time that is no level would raise."""
    known = {round(level.time, 5): level for level in levels}

    def denoise(x: Tensor, times: Tensor) -> Tensor:
        rows = [known[round(float(time), 5)] for time in times]
        alpha, sigma = (
            torch.tensor([getattr(one, name) for one in rows])[:, None, None] for name in ("alpha", "sigma")
        )
        return TwoModes().at(x, alpha, sigma)

    return denoise


@pytest.mark.parametrize("path", PATHS)
def test_a_tree_draws_the_tilted_weights(path: str) -> None:
    slope, count, states = 1.2, 16, 500
    found = run_tree(Acting(count, guidance="tree"), lambda x: slope * x.flatten(), PATHS[path](10), states)
    expected = TwoModes().upper_share(slope)
    bound = share_bound((math.exp(-slope * MODE), math.exp(slope * MODE)), expected, count, states)
    assert float((found > 0).float().mean()) == pytest.approx(expected, abs=bound)


def test_a_tree_is_searched_for_the_best() -> None:
    """Of the same budget the best leaf is better than the draw, and the best of that many samples is no better."""
    levels = straight(5)

    def value(x: Tensor) -> Tensor:
        return -30 * (x.flatten() - 0.75) ** 2

    best = value(run_tree(Acting(16, "argmax", guidance="tree"), value, levels, 200))
    drawn = value(run_tree(Acting(16, guidance="tree"), value, levels, 200))
    assert float((best - drawn).mean()) > 0.1
    plain = value(run_tree(Acting(2, "argmax", guidance="tree"), value, levels, 200))
    assert float((best - plain).mean()) > 0.1, "a larger budget finds a better one"


def test_the_budget_is_in_network_calls_and_values_are_backed_up() -> None:
    """One tree looked into: calls, visits, and v = log mean exp of the children at every node."""
    steps, count = 4, 8
    levels, kept, calls = straight(steps), [], []
    inner = denoiser(levels)

    def denoise(x: Tensor, times: Tensor) -> Tensor:
        calls.append(len(x))
        return inner(x, times)

    class Kept(Tree):
        def answer(self, coins: Tensor, acting: Acting) -> Tensor:
            kept.append(self)
            return super().answer(coins, acting)

    noise = torch.randn(3, *tree_noise_shape(count * steps, 1, steps), generator=torch.Generator().manual_seed(1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("laminar.policies.guided.tree.Tree", Kept)
        search(denoise, lambda x: 2 * x.flatten(), levels, noise, (1, 1), Acting(count, guidance="tree"))
    assert calls == [3] * (steps * count)
    tree = kept[0]
    for row in range(3):
        parent, depth, value = tree.parent[row].tolist(), tree.depth[row].tolist(), tree.value[row].tolist()
        assert all(depth[node] == depth[parent[node]] + 1 for node in range(1, len(parent)))
        leaves = [node for node in range(len(parent)) if depth[node] == steps]
        assert tree.visits[row, 0] == len(leaves) >= count, "branches share the steps above them"
        for node in range(len(parent)):
            below = [value[child] for child in range(len(parent)) if parent[child] == node and value[child] > -1e29]
            if below:
                mean = math.log(sum(math.exp(one) for one in below) / len(below))
                assert value[node] == pytest.approx(mean, abs=1e-5)
            most = max(float(tree.visits[row, node]), 1) ** 0.8
            assert depth[node] == steps - 1 or len(below) <= most + 1
        assert 1 < sum(one == 0 for one in parent) < len(leaves), "the root widens, and not by every visit"


def test_a_tree_of_one_step_is_a_choice_among_samples() -> None:
    levels, acting = straight(1), Acting(6, "argmax", guidance="tree")
    noise = torch.randn(40, *tree_noise_shape(6, 1, 1), generator=torch.Generator().manual_seed(0))
    found = search(denoiser(levels), lambda x: x.flatten(), levels, noise, (1, 1), acting)
    each = TwoModes().predict(noise[:, :6, :1], levels[0])
    torch.testing.assert_close(found[:, 0, 0], each[..., 0].amax(dim=1))


def test_trees_are_their_own_and_deterministic() -> None:
    levels, acting = straight(4), Acting(5, guidance="tree")
    noise = torch.randn(6, *tree_noise_shape(20, 1, 4), generator=torch.Generator().manual_seed(0))
    state = torch.get_rng_state()

    def again(given: Tensor) -> Tensor:
        return search(denoiser(levels), lambda x: 3 * x.flatten(), levels, given, (1, 1), acting)

    together = again(noise)
    assert torch.equal(together, again(noise))
    assert torch.equal(state, torch.get_rng_state())
    torch.testing.assert_close(torch.cat([again(noise[row : row + 1]) for row in range(6)]), together)
