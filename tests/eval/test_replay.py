"""Predicted beside recorded actions: errors that are known beforehand, and intervals that hold what they promise."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
import torch
from torch import Tensor

from laminar.data.batches import Chunks
from laminar.data.episodes import Episodes
from laminar.data.spec import Feature, Spec
from laminar.eval.replay.curves import LONGEST, lead
from laminar.eval.replay.errors import Errors, Predicted, RecordedWindows, action_range, predict, width_of
from laminar.eval.replay.figures import (
    LAST,
    MEAN,
    SINGLE,
    TOO_FEW,
    best_of,
    closer,
    figures,
    intervals,
    spread_of,
    trivial,
)
from laminar.eval.results.scores import ratio_bootstrap
from laminar.eval.results.significance import FEWEST_PAIRS

LENGTHS = [5, 9, 4, 12]
CHUNK, HISTORY = 6, 2


def made(lengths: list[int] = LENGTHS) -> Episodes:
    """Return episodes whose observations tell the step, so that a policy can know the recorded action."""
    ends = np.cumsum(lengths)
    steps = np.arange(ends[-1])
    action = np.stack([np.sin(steps), steps / 10], axis=1).astype(np.float32)
    zeros = np.zeros(len(steps), bool)
    return Episodes(
        observation={"step": steps[:, None].astype(np.float32)},
        final_observation={"step": ends[:, None].astype(np.float32)},
        action=action,
        reward=np.zeros(len(steps), np.float32),
        terminated=zeros,
        truncated=zeros,
        ends=ends,
        spec=Spec({"step": Feature((1,))}, Feature((2,), names=("bend", "lift"))),
    )


class Knowing:
    """Says what was recorded from the observed step on, and something on top of it."""

    def __init__(self, episodes: Episodes, off: tuple[float, float] = (0, 0), noise: float = 0.0) -> None:
        self.spec = Spec(episodes.spec.observation, episodes.spec.action, history=HISTORY, chunk=CHUNK, execute=3)
        self.action = torch.from_numpy(episodes.action)
        self.off, self.noise = torch.tensor(off), noise
        self.noise_shape = (CHUNK, 2)

    def sample(self, obs: Mapping[str, Tensor], noise: Tensor | None = None) -> Tensor:
        assert noise is not None
        seen = obs["step"]
        assert seen.shape[1:] == (HISTORY, 1)
        now = seen[:, -1].long() + torch.arange(CHUNK)
        return self.action[now.clamp(max=len(self.action) - 1)] + self.off + self.noise * noise


def errors_of(policy: Knowing, episodes: Episodes, samples: int = 1, most: int = 100) -> Errors:
    windows = RecordedWindows(episodes, policy.spec, most)
    found = predict(policy, windows, samples)
    return Errors.of(found.sampled, found.recorded, found.mask, windows.episode)


def test_who_knows_the_recording_makes_no_error() -> None:
    episodes = made()
    errors = errors_of(Knowing(episodes), episodes)
    assert errors.absolute.shape == (4, CHUNK, 2)
    assert not errors.absolute.any()
    # padding does not count: step h of a chunk was recorded where h more steps follow
    assert errors.count.tolist() == [[max(length - h, 0) for h in range(CHUNK)] for length in LENGTHS]


def test_who_is_off_by_a_constant_has_that_error() -> None:
    episodes = made()
    errors = errors_of(Knowing(episodes, (0.5, -2.0)), episodes)
    np.testing.assert_allclose(errors.mean_absolute, [0.5, 2.0], rtol=1e-6)
    np.testing.assert_allclose(errors.mean_square, [0.25, 4.0], rtol=1e-6)
    found = figures(errors, np.array([2.0, 4.0]))
    assert found.total["mean_absolute"].mean == pytest.approx((0.25 + 0.5) / 2, rel=1e-6)
    assert found.total["root_mean_square"].mean == pytest.approx(((0.25**2 + 0.5**2) / 2) ** 0.5, rel=1e-6)
    assert [one.mean for one in found.dimensions["mean_absolute"]] == pytest.approx([0.5, 2.0], rel=1e-6)
    assert [one.mean for one in found.dimensions["root_mean_square"]] == pytest.approx([0.5, 2.0], rel=1e-6)
    assert [one.mean for one in found.horizon["mean_absolute"]] == pytest.approx([0.375] * CHUNK, rel=1e-6)
    assert found.both["mean_absolute"][CHUNK - 1][1].mean == pytest.approx(2.0, rel=1e-6)
    assert found.total["mean_absolute"].none == "all 4 are equal", "equal episodes say nothing about another one"
    assert found.horizon["mean_absolute"][-1].none == "all 2 are equal", "two episodes are longer than five steps"


def test_episodes_that_are_too_short_for_a_step_of_the_chunk() -> None:
    episodes = made([2, 3])
    found = figures(errors_of(Knowing(episodes, (1, 1)), episodes), np.ones(2))
    assert len(found.horizon["mean_absolute"]) == 3
    assert found.horizon["mean_absolute"][2].none == SINGLE
    assert found.both["mean_absolute"][2][0].to_json() == {
        "mean": pytest.approx(1),
        "low": None,
        "high": None,
        "no_interval": SINGLE,
    }


def test_windows_are_spread_evenly_and_are_those_of_training() -> None:
    episodes = made()
    spec = Knowing(episodes).spec
    some, every = RecordedWindows(episodes, spec, 7), RecordedWindows(episodes, spec, 1000)
    assert some.step.tolist() == [0, 5, 10, 14, 19, 24, 29]
    assert some.episode.tolist() == [0, 1, 1, 2, 3, 3, 3]
    assert every.step.tolist() == list(range(30))
    chunks = Chunks(episodes, HISTORY, CHUNK, short_episodes="pad")
    (rows, batch), *rest = some.batches()
    assert (rows, rest) == (slice(0, 7), [])
    wanted = chunks.gather(torch.tensor(some.step))
    assert torch.equal(batch["action"], wanted["action"])
    assert torch.equal(batch["observation"]["step"], wanted["observation"]["step"])


def test_noise_is_the_same_each_time_and_other_for_each_sample() -> None:
    episodes = made()
    windows = RecordedWindows(episodes, Knowing(episodes).spec, 20)
    state = torch.random.get_rng_state()
    first, again, other = (predict(Knowing(episodes, noise=1), windows, 3, seed).sampled for seed in (0, 0, 1))
    assert torch.equal(state, torch.random.get_rng_state())
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    assert not np.array_equal(first[0], first[1])


def test_noise_is_the_spread_of_samples() -> None:
    episodes = made([40] * 10)
    windows = RecordedWindows(episodes, Knowing(episodes).spec, 400)
    found = predict(Knowing(episodes, noise=0.5), windows, 16)
    np.testing.assert_allclose(spread_of(found), 0.5, rtol=0.05)
    errors = Errors.of(found.sampled, found.recorded, found.mask, windows.episode)
    np.testing.assert_allclose(errors.mean_absolute, 0.5 * (2 / np.pi) ** 0.5, rtol=0.05)  # of a normal distribution


def test_the_best_sample_is_the_closest_in_what_was_recorded() -> None:
    recorded = np.zeros((2, 3, 1))
    sampled = np.array([[[[1.0], [1], [1]], [[0], [0], [9]]], [[[0], [2], [0]], [[1], [0], [0]]]])
    mask = np.array([[True, True, True], [True, True, False]])
    best = best_of(Predicted(sampled, recorded, mask), np.ones(1))
    np.testing.assert_array_equal(best[0, 0], sampled[1, 0])
    np.testing.assert_array_equal(best[0, 1], sampled[0, 1])


def test_what_knows_nothing() -> None:
    episodes = made()
    windows = RecordedWindows(episodes, Knowing(episodes).spec, 1000)
    mean = np.array([7.0, 8.0])
    found = trivial(episodes, windows, CHUNK, mean)
    assert found[LAST].shape == found[MEAN].shape == (1, 30, CHUNK, 2)
    assert (found[MEAN] == mean).all()
    for step in range(30):
        last = mean if step in episodes.starts else episodes.action[step - 1]
        np.testing.assert_array_equal(found[LAST][0, step], np.tile(last, (CHUNK, 1)))


def test_who_is_closer_is_judged_by_pairs() -> None:
    episodes = made([20] * 8)
    known = (Knowing(episodes), Knowing(episodes, (1, 1)), Knowing(episodes, noise=0.1))
    exact, off, noisy = (errors_of(policy, episodes) for policy in known)
    width = np.ones(2)
    assert closer(exact, off, width) == "closer"
    assert closer(off, noisy, width) == "farther"
    assert closer(off, off, width) == "the same"
    mixed = Errors(noisy.absolute + np.array([1, -1] * 4)[:, None, None], noisy.squared, noisy.count)
    assert closer(mixed, noisy, width) == "no clear difference"


@pytest.mark.parametrize("count", [1, 2, FEWEST_PAIRS - 1])
def test_few_episodes_may_be_of_one_sign_by_chance(count: int) -> None:
    episodes = made([20] * count)
    exact, off = (errors_of(policy, episodes) for policy in (Knowing(episodes), Knowing(episodes, (1, 1))))
    assert closer(exact, off, np.ones(2)) == TOO_FEW


def test_intervals_cover_at_the_promised_rate() -> None:
    random, covered = np.random.default_rng(0), 0
    for _ in range(300):
        level = 1 + 0.5 * random.standard_normal(40)
        counts = random.integers(5, 50, 40).astype(float)
        (found,) = intervals((level * counts)[:, None], counts[:, None])
        covered += found.low <= 1 <= found.high
    assert 0.89 < covered / 300 < 0.98


def test_ratios_of_totals() -> None:
    sums, counts = np.array([[1.0, 4], [3, 0]]), np.array([[2.0, 4], [1, 0]])
    mean, low, high = ratio_bootstrap(sums, counts)
    np.testing.assert_allclose(mean, [4 / 3, 1])
    np.testing.assert_allclose(low, [0.5, 1])
    np.testing.assert_allclose(high, [3, 1])


def test_the_range_of_an_action_that_never_changes() -> None:
    recorded = np.array([[1.0, 3], [2, 3]])
    low, high = action_range(Knowing(made()), recorded)
    assert (low.tolist(), high.tolist()) == ([1, 3], [2, 3])
    assert width_of(low, high).tolist() == [1, 1]


def test_a_policy_is_led_along_the_recorded_observations() -> None:
    episodes = made([5, 500])
    recorded, executed = lead(Knowing(episodes, (0.25, 0)), episodes, 0, 2, seed=0)
    assert executed.shape == (2, 5, 2)
    np.testing.assert_allclose(executed - recorded, np.tile([0.25, 0], (2, 5, 1)), atol=1e-6)
    recorded, executed = lead(Knowing(episodes, noise=0.5), episodes, 1, 3, seed=0)
    assert recorded.shape == (LONGEST, 2)
    assert np.abs(executed[0] - executed[1]).mean() > 0.1
    again = lead(Knowing(episodes, noise=0.5), episodes, 1, 3, seed=0)[1]
    np.testing.assert_array_equal(executed, again)
