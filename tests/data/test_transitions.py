"""Transitions against a slow and obvious reference, and against numbers worked out by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from laminar.data.episodes import Episodes
from laminar.data.spec import Feature, Spec
from laminar.data.transitions import Transitions
from laminar.errors import LaminarError


def make_episodes(lengths: list[int], terminated: list[bool], image: bool = False) -> Episodes:
    """Return episodes whose every number is different; an episode that does not terminate is truncated."""
    steps, count, ends = sum(lengths), len(lengths), np.cumsum(lengths)
    rng = np.random.default_rng(steps)
    observation = {"state": rng.normal(size=(steps, 3)), "goal": rng.normal(size=(steps, 2))}
    final = {"state": rng.normal(size=(count, 3)), "goal": rng.normal(size=(count, 2))}
    features = {"state": Feature((3,)), "goal": Feature((2,))}
    observation, final = ({k: v.astype("f") for k, v in part.items()} for part in (observation, final))
    if image:
        observation["image"] = rng.integers(0, 256, (steps, 2, 2, 3), dtype=np.uint8)
        final["image"] = rng.integers(0, 256, (count, 2, 2, 3), dtype=np.uint8)
        features["image"] = Feature((2, 2, 3), "uint8")
    over, cut = np.zeros(steps, bool), np.zeros(steps, bool)
    over[ends - 1], cut[ends - 1] = terminated, ~np.array(terminated)
    return Episodes(
        observation=observation,
        final_observation=final,
        action=rng.normal(size=(steps, 2)).astype("f"),
        reward=rng.normal(size=steps).astype("f"),
        terminated=over,
        truncated=cut,
        ends=ends,
        spec=Spec(features, Feature((2,))),
    )


def reference(
    episodes: Episodes, history: int, chunk: int, n_step: int, discount: float, reward: Any = None
) -> list[dict[str, Any]]:
    """Build every transition row by row, from one episode alone."""
    found: list[dict[str, Any]] = []
    for e, (start, end) in enumerate(zip(episodes.starts, episodes.ends, strict=True)):
        length = int(end - start)
        rewards = [float(r) for r in (episodes.reward if reward is None else reward)[start:end]]
        actions = [*episodes.action[start:end], *[episodes.action[end - 1]] * chunk]
        seen = {k: [*v[start:end], episodes.final_observation[k][e]] for k, v in episodes.observation.items()}
        stops = episodes.terminated[start:end]

        def window(seen: Any, t: int) -> dict[str, Any]:
            return {k: np.stack([v[max(0, s)] for s in range(t - history + 1, t + 1)]) for k, v in seen.items()}

        for t in range(length - chunk + 1):
            over = bool(stops[t:].any())
            stop = t + int(np.argmax(stops[t:])) + 1 if over else length
            after = min(t + max(n_step, chunk), stop)
            whole = sum(discount**k * r for k, r in enumerate(rewards[t:stop]))
            found.append(
                {
                    "observation": window(seen, t),
                    "action": np.stack(actions[t : t + chunk]),
                    "reward": sum(discount ** (k - t) * rewards[k] for k in range(t, after)),
                    "next_observation": window(seen, after),
                    "next_action": np.stack(actions[after : after + chunk]),
                    "discount": 0.0 if over and after == stop else discount ** (after - t),
                    "return": whole,
                    "return_known": float(over or discount ** (stop - t) <= 0.01),
                    "mask": np.ones(chunk, bool),
                }
            )
    return found


def assert_equal(batch: Any, expected: list[dict[str, Any]]) -> None:
    """Everything that is copied to the bit; sums of a few float64 numbers to the rounding of float32."""
    assert set(batch) == set(expected[0])
    for row, one in enumerate(expected):
        for name, value in one.items():
            if isinstance(value, dict):
                assert set(batch[name]) == set(value)
                for key in value:
                    np.testing.assert_array_equal(batch[name][key][row].numpy(), value[key])
            elif isinstance(value, float):
                assert batch[name].dtype == torch.float32
                assert float(batch[name][row]) == pytest.approx(value, rel=1e-6, abs=1e-7), name
            else:
                np.testing.assert_array_equal(batch[name][row].numpy(), value)


LENGTHS = [5, 1, 8, 2, 3]
TERMINATED = [True, False, False, True, False]


@pytest.mark.parametrize("history", [1, 2, 4])
@pytest.mark.parametrize(("chunk", "n_step"), [(1, 1), (1, 2), (1, 3), (1, 20), (2, 1), (2, 2), (2, 3), (3, 1), (4, 7)])
@pytest.mark.parametrize("discount", [0.0, 0.5, 0.99, 1.0])
def test_transitions_equal_the_reference(history: int, chunk: int, n_step: int, discount: float) -> None:
    episodes = make_episodes(LENGTHS, TERMINATED, image=True)
    sampler = Transitions(episodes, history=history, chunk=chunk, n_step=n_step, discount=discount)
    expected = reference(episodes, history, chunk, n_step, discount)
    assert len(sampler) == len(expected)
    assert sampler.skipped == sum(length < chunk for length in LENGTHS)
    assert_equal(sampler.gather(torch.arange(len(sampler))), expected)
    backwards = torch.arange(len(sampler)).flip(0)
    assert_equal(sampler.gather(backwards), expected[::-1])


@pytest.mark.parametrize(("chunk", "n_step"), [(1, 1), (1, 3), (2, 1), (3, 5)])
def test_a_recording_that_goes_on_after_the_task_is_over(chunk: int, n_step: int) -> None:
    """Starts are those of the recording; what comes after a termination earns nothing and is not bootstrapped from."""
    episodes = make_episodes([6, 1, 8], [False, True, True])
    episodes.terminated[[2, 3, 9]] = True
    sampler = Transitions(episodes, history=2, chunk=chunk, n_step=n_step, discount=0.9)
    assert len(sampler) == sum(max(0, length - chunk + 1) for length in (6, 1, 8))
    assert_equal(sampler.gather(torch.arange(len(sampler))), reference(episodes, 2, chunk, n_step, 0.9))


def test_numbers_by_hand() -> None:
    """Two episodes of four steps, rewards 1 2 4 8, discount 1/2, three steps, chunks of two, two observations."""
    ends = np.array([4, 8])
    state = np.arange(8, dtype=np.float32)[:, None]
    episodes = Episodes(
        observation={"observation": state},
        final_observation={"observation": np.array([[30.0], [70.0]], np.float32)},
        action=state / 10,
        reward=np.array([1, 2, 4, 8] * 2, np.float32),
        terminated=np.arange(8) == 3,
        truncated=np.arange(8) == 7,
        ends=ends,
        spec=Spec({"observation": Feature((1,))}, Feature((1,))),
    )
    batch = Transitions(episodes, history=2, chunk=2, n_step=3, discount=0.5).gather(torch.arange(6))
    tenth = [[round(float(x) * 10) for x in row] for row in batch["action"]]
    assert tenth == [[0, 1], [1, 2], [2, 3], [4, 5], [5, 6], [6, 7]]
    assert batch["observation"]["observation"].squeeze().tolist() == [[0, 0], [0, 1], [1, 2], [4, 4], [4, 5], [5, 6]]
    # 1 + 2/2 + 4/4, then 2 + 4/2 + 8/4, then 4 + 8/2
    assert batch["reward"].tolist() == [3, 6, 8] * 2
    after = batch["next_observation"]["observation"].squeeze().tolist()
    assert after == [[2, 3], [3, 30], [3, 30], [6, 7], [7, 70], [7, 70]]
    # 1/8 and two of the terminated; 1/8, 1/8 and 1/4 of the truncated
    assert batch["discount"].tolist() == [1 / 8, 0, 0, 1 / 8, 1 / 8, 1 / 4]
    assert [[round(float(x) * 10) for x in row] for row in batch["next_action"]] == [
        *([3, 3], [3, 3], [3, 3]),
        *([7, 7], [7, 7], [7, 7]),
    ]
    assert batch["return"].tolist() == [4, 6, 8] * 2
    assert batch["return_known"].tolist() == [1, 1, 1, 0, 0, 0]


def test_return_is_known_where_little_lies_beyond_a_truncation() -> None:
    """0.5^7 = 0.0078 is below 1 %, 0.5^6 = 0.0156 is not."""
    batch = Transitions(make_episodes([9], [False]), discount=0.5).gather(torch.arange(9))
    assert batch["return_known"].tolist() == [1, 1, 1, 0, 0, 0, 0, 0, 0]


def test_other_episodes_change_nothing() -> None:
    alone = make_episodes([6], [False])
    others = make_episodes([4, 5], [True, False])
    settings = {"history": 3, "chunk": 2, "n_step": 4, "discount": 0.9}
    parts = [replace(others.select([0])), alone, others.select([1])]
    between = Transitions(Episodes.concatenate(parts), **settings)
    own = Transitions(alone, **settings)
    mine, same = own.gather(torch.arange(5)), between.gather(torch.arange(5) + 3)
    for name in ("action", "reward", "next_action", "discount", "return", "return_known", "mask"):
        assert torch.equal(mine[name], same[name]), name
    for name in ("observation", "next_observation"):
        for key in mine[name]:
            assert torch.equal(mine[name][key], same[name][key])


def test_tuned_rewards_take_the_place_of_the_recorded_ones() -> None:
    episodes = make_episodes(LENGTHS, TERMINATED)
    tuned = (3 * episodes.reward - 1).astype(np.float32)
    sampler = Transitions(episodes, n_step=2, discount=0.5, reward=tuned)
    assert_equal(sampler.gather(torch.arange(len(sampler))), reference(episodes, 1, 1, 2, 0.5, tuned))
    with pytest.raises(LaminarError, match=r"memory: \(3,\) tuned rewards for 19 steps"):
        Transitions(episodes, reward=tuned[:3])


def test_a_task_that_terminates_inside_a_recording_is_over_there() -> None:
    """No reader makes such episodes, but a program may: the value of what came after must not leak back."""
    episodes = make_episodes([6], [False])
    episodes.terminated[2] = True
    batch = Transitions(episodes, n_step=2, discount=0.5).gather(torch.arange(6))
    r = episodes.reward.astype(float)
    assert batch["discount"].tolist() == [0.25, 0, 0, 0.25, 0.25, 0.5]
    np.testing.assert_allclose(batch["reward"][1:4], [r[1] + r[2] / 2, r[2], r[3] + r[4] / 2], rtol=1e-6)
    np.testing.assert_allclose(batch["return"][1], r[1] + r[2] / 2, rtol=1e-6)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"chunk": 9}, "memory: no episode has the 9 steps of a chunk, the longest has 8; choose a shorter"),
        ({"discount": 1.01}, "discount is 1.01, it must be from 0 to 1"),
        ({"discount": float("nan")}, "discount is nan"),
        ({"history": 0}, "history is 0"),
        ({"n_step": 0}, "n_step is 0"),
        ({"chunk": -1}, "chunk is -1"),
    ],
)
def test_bad_settings(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(LaminarError, match=message):
        Transitions(make_episodes(LENGTHS, TERMINATED), **settings)


class Operations(TorchDispatchMode):
    """Records the names of the operations that run."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.append(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(("history", "chunk", "n_step"), [(1, 1, 1), (2, 4, 8)])
def test_a_batch_is_four_copies_without_host_sync(history: int, chunk: int, n_step: int) -> None:
    episodes = make_episodes([30, 40], [True, False])
    del episodes.observation["goal"], episodes.final_observation["goal"]
    sampler = Transitions(episodes, history=history, chunk=chunk, n_step=n_step)
    index = sampler.draw(16, torch.Generator().manual_seed(0))
    with Operations() as operations:
        sampler.gather(index)
    views = {"view", "split", "unbind", "expand", "detach", "alias"}
    copies = [name for name in operations.names if name not in views]
    assert copies == ["index_select"] * 4  # rows, observations, actions, numbers


@pytest.mark.gpu
def test_transitions_on_the_device_equal_those_on_the_host() -> None:
    episodes = make_episodes(LENGTHS, TERMINATED, image=True)
    settings = {"history": 2, "chunk": 2, "n_step": 3}
    host, device = (Transitions(episodes, **settings, device=d) for d in ("cpu", "cuda"))
    index = torch.arange(len(host))
    one, other = host.gather(index), device.gather(index.cuda())
    for name in ("action", "reward", "next_action", "discount", "return", "return_known", "mask"):
        assert torch.equal(one[name], other[name].cpu())
    for name in ("observation", "next_observation"):
        for key in one[name]:
            assert torch.equal(one[name][key], other[name][key].cpu())
