"""Windows of plans against a loop that takes each of them from its episode, and returns against their sums."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from laminar.data.episodes import Episodes
from laminar.data.plan_windows import PlanWindows, returns_to_go
from laminar.data.spec import Feature, Spec
from laminar.errors import LaminarError

LENGTHS = (3, 7, 9, 12)
ENDED = (True, False, True, False)  # by themselves; the others were cut off


@pytest.fixture
def episodes() -> Episodes:
    rng = np.random.default_rng(0)
    steps, ends = sum(LENGTHS), np.cumsum(LENGTHS)
    terminated, truncated = np.zeros(steps, bool), np.zeros(steps, bool)
    terminated[ends - 1], truncated[ends - 1] = ENDED, np.logical_not(ENDED)
    spec = Spec({"arm": Feature((2, 2)), "base": Feature((1,))}, Feature((2,)))
    count = len(LENGTHS)
    return Episodes(
        observation={
            "arm": rng.normal(size=(steps, 2, 2)).astype("f"),
            "base": rng.normal(size=(steps, 1)).astype("f"),
        },
        final_observation={
            "arm": rng.normal(size=(count, 2, 2)).astype("f"),
            "base": rng.normal(size=(count, 1)).astype("f"),
        },
        action=rng.normal(size=(steps, 2)).astype("f"),
        reward=rng.normal(size=steps).astype("f"),
        terminated=terminated,
        truncated=truncated,
        ends=ends,
        spec=spec,
    )


def by_hand(episodes: Episodes, horizon: int, stride: int, discount: float, rest: bool) -> list[dict[str, np.ndarray]]:
    """Return every window, taken step by step."""
    found = []
    for number, (begin, end) in enumerate(zip(episodes.starts, episodes.ends, strict=True)):
        length = end - begin
        keys = ("arm", "base")
        seen = [np.concatenate([episodes.observation[k][row].ravel() for k in keys]) for row in range(begin, end)]
        seen.append(np.concatenate([episodes.final_observation[k][number].ravel() for k in keys]))
        rewards = episodes.reward[begin:end].astype(np.float64)
        after = 0.0 if ENDED[number] or discount == 1 else rewards.mean() / (1 - discount)
        to_go = [sum(discount**i * r for i, r in enumerate(rewards[t:])) + discount ** (length - t) * after
                 for t in range(length + 1)]  # fmt: skip
        for start in range(length):
            if start + (horizon - 1) * stride > length and not (ENDED[number] or rest):
                continue
            at = [start + index * stride for index in range(horizon)]
            acts = [[at[index] + k for k in range(stride)] for index in range(horizon - 1)]
            found.append(
                {
                    "state": np.array([seen[min(t, length)] for t in at]),
                    "action": np.array(
                        [[episodes.action[begin + t] if t < length else np.zeros(2) for t in row] for row in acts]
                    ),
                    "acting": np.array([[t < length for t in row] for row in acts]),
                    "return": np.array([to_go[min(t, length)] for t in at]),
                }
            )
    return found


@pytest.mark.parametrize("rest", [False, True])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize(("horizon", "discount"), [(2, 0.9), (4, 0.9), (4, 1.0)])
def test_every_window_is_that_of_its_episode(
    episodes: Episodes, horizon: int, stride: int, discount: float, rest: bool
) -> None:
    windows = PlanWindows(episodes, ["arm", "base"], horizon, stride, discount, rest)
    wanted = by_hand(episodes, horizon, stride, discount, rest)
    assert len(windows) == len(wanted)
    batch = windows.gather(torch.arange(len(windows)))
    for name in ("state", "action", "acting", "return"):
        np.testing.assert_allclose(batch[name].numpy(), np.stack([one[name] for one in wanted]), rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(windows.returns, batch["return"][:, 0])
    assert batch["acting"].dtype == torch.bool


def test_states_are_those_of_the_keys_in_their_order(episodes: Episodes) -> None:
    state = PlanWindows(episodes, ["base", "arm"], 3, 1, 0.9).gather(torch.tensor([0]))["state"]
    assert torch.equal(state[0, 0, :1], torch.from_numpy(episodes.observation["base"][0]))


def test_returns_have_a_closed_form(episodes: Episodes) -> None:
    """Of a reward of 1 a step: (1 - d^n) / (1 - d) where an episode ended, 1 / (1 - d) where it goes on for ever."""
    same = replace(episodes, reward=np.ones(len(episodes), np.float32))
    found = np.split(returns_to_go(same, 0.9), episodes.ends[:-1])
    for length, ended, values in zip(LENGTHS, ENDED, found, strict=True):
        left = length - np.arange(length)
        np.testing.assert_allclose(values, (1 - 0.9**left) / 0.1 if ended else np.full(length, 10.0))
    np.testing.assert_allclose(returns_to_go(same, 1.0), np.concatenate([n - np.arange(n) for n in LENGTHS]))


def test_a_plan_longer_than_every_episode_is_refused(episodes: Episodes) -> None:
    PlanWindows(episodes, ["arm"], 13, 1, 0.9)
    PlanWindows(episodes, ["arm"], 5, 3, 0.9)
    with pytest.raises(LaminarError, match=r"plan of 14 states takes 13 control steps, and the longest .* has 12"):
        PlanWindows(episodes, ["arm"], 14, 1, 0.9)
    with pytest.raises(LaminarError, match=r"6 states, 3 control steps apart, takes 15 .*policy.horizon or policy.str"):
        PlanWindows(episodes, ["arm"], 6, 3, 0.9, rest=True)
    with pytest.raises(LaminarError, match=r"horizon is 0"):
        PlanWindows(episodes, ["arm"], 1, 1, 0.9)
