"""Actors count what is unlike the training data: how often, where, how far."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pytest
import torch

from laminar.data.episodes import Episodes
from laminar.policies import Actor, GenerativePolicy
from laminar.policies.export.exported import Exported
from laminar.policies.export.write import export
from laminar.policies.out_of_range import BLOCK, Dimension, Excursions, OutOfRange
from laminar.policies.runtimes.accelerate import accelerate

MakePolicy = Callable[..., GenerativePolicy]


def counter(dtype: torch.dtype = torch.float32, offset: float = 0.0) -> OutOfRange:
    """Return a counter for two joints in [-1, 1] and a constant at 3, and for a matrix in [0, 2]."""
    low = torch.tensor([-1.0, -1.0, 3.0], dtype=dtype) + offset
    high = torch.tensor([1.0, 1.0, 3.0], dtype=dtype) + offset
    return OutOfRange({"state": (low, high), "points": (torch.zeros(2, 2), 2 * torch.ones(2, 2))})


def observation(robots: int = 1, **changes: float) -> dict[str, torch.Tensor]:
    state = torch.tensor([[0.5, -0.5, 3.0]]).repeat(robots, 1)
    points = torch.ones(robots, 2, 2)
    if "state" in changes:
        state[0, 1] = changes["state"]
    if "still" in changes:
        state[0, 2] = changes["still"]
    if "points" in changes:
        points[0, 1, 0] = changes["points"]
    return {"state": state, "points": points, "picture": torch.zeros(robots, 8, 8, 3, dtype=torch.uint8)}


@pytest.mark.parametrize("steps", [3, BLOCK, 2 * BLOCK + 5])
def test_what_is_within_is_not_counted(steps: int) -> None:
    counts = counter()
    for step in range(steps):
        counts.add(observation(2, state=(-1.0, 1.0)[step % 2], still=3.0 + 1e-6, points=2.0))
    found = counts.found()
    assert found == Excursions(2 * steps, 0)
    assert str(found) == f"all of {2 * steps} observations within the range of the training data"
    assert found.to_json()["worst"] == []


def test_share_dimension_and_distance() -> None:
    counts = counter()
    for step in range(100):
        seen = {"state": 1.5} if step < 10 else {"points": -0.25, "state": -1.1} if step < 13 else {}
        counts.add(observation(2, **seen))
    found = counts.found()
    assert found is not None
    assert (found.observations, found.outside, found.share) == (200, 13, 13 / 200)
    state, points = found.dimensions
    assert (state.key, state.index, state.count, state.low, state.high) == ("state", 1, 13, -1, 1)
    assert state.furthest == pytest.approx(0.5)
    assert (points.key, points.index, points.count) == ("points", 2, 3)
    row = json.loads(json.dumps(found.to_json(), allow_nan=False))["worst"][0]
    assert row["share"] == pytest.approx(13 / 200)
    assert row["furthest_in_ranges"] == pytest.approx(0.25)
    assert "6.50% of 200 observations outside" in str(found)
    assert "6.50% in 'state' 1 (up to 0.5 outside of -1 to 1)" in str(found)
    assert Excursions.from_json(found.to_json()) == found


def test_a_constant_has_no_range_to_measure_by() -> None:
    counts = counter()
    counts.add(observation(still=3.05))
    found = counts.found()
    assert found is not None
    (row,) = found.to_json()["worst"]
    assert row["furthest"] == pytest.approx(0.05)
    assert row["furthest_in_ranges"] is None


def test_a_reset_forgets_and_only_some_slots_count() -> None:
    counts = counter()
    counts.add(observation(3, state=2.0))
    counts.reset()
    assert counts.found() == Excursions(0, 0)
    counts.only(np.array([False, True, True]))
    counts.add(observation(3, state=2.0))
    counts.only(None)
    counts.add(observation(3))
    assert counts.found() == Excursions(5, 0)
    counts.add(observation(4, state=2.0))  # other robots
    found = counts.found()
    assert found is not None
    assert (found.observations, found.outside) == (9, 1)


def test_the_memory_of_an_observation_may_be_used_again() -> None:
    counts, seen = counter(), observation(state=2.0)
    counts.add(seen)
    seen["state"].zero_()
    found = counts.found()
    assert found is not None
    assert found.outside == 1


def test_double_precision_tells_centimetres() -> None:
    counts = counter(torch.float64, offset=4.5e6)
    place = torch.tensor([[4.5e6, 4.5e6 + 1.005, 4.5e6 + 3]], dtype=torch.float64)
    counts.add({"state": place, "points": torch.ones(1, 2, 2)})
    counts.add({"state": place - torch.tensor([0, 0.02, 0]), "points": torch.ones(1, 2, 2)})
    found = counts.found()
    assert found is not None
    assert (found.outside, found.dimensions[0].index) == (1, 1)
    assert found.dimensions[0].furthest == pytest.approx(0.005, rel=1e-3)


def test_what_several_actors_saw_is_joined() -> None:
    one = Excursions(10, 2, (Dimension("state", 1, 2, 0.5, -1, 1),))
    two = Excursions(30, 4, (Dimension("state", 0, 3, 0.1, -1, 1), Dimension("state", 1, 1, 0.7, -1, 1)))
    assert Excursions.together([None]) is None
    assert Excursions.together([one, None, two]) == Excursions(
        40, 6, (Dimension("state", 0, 3, 0.1, -1, 1), Dimension("state", 1, 3, 0.7, -1, 1))
    )


def test_nobody_waits_for_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = counter()
    for name in ("item", "tolist", "cpu", "numpy", "__bool__", "__int__", "__float__"):
        monkeypatch.setattr(torch.Tensor, name, lambda *_: pytest.fail("looked at a value"))
    for _ in range(2 * BLOCK):
        counts.add(observation(state=2.0))
    monkeypatch.undo()
    found = counts.found()
    assert found is not None
    assert found.outside == 2 * BLOCK


@pytest.mark.parametrize("way", ["policy", "accelerated", "exported"])
@pytest.mark.parametrize("history", [1, 3])
def test_every_kind_of_policy_is_counted(
    way: str, history: int, make_policy: MakePolicy, episodes: Episodes, tmp_path
) -> None:
    policy = make_policy("flow", history=history, chunk=2, execute=2)
    state = episodes.observation["observation"]
    ready = {
        "policy": lambda: policy,
        "accelerated": lambda: accelerate(policy, "eager", 4),
        "exported": lambda: Exported(export(policy, tmp_path / "onnx", "onnx", 4)),
    }[way]()
    actor = Actor(ready)
    for step in range(40):
        seen = state[step : step + 4].copy()
        if step % 4 == 0:
            seen[1, 2] = state[:, 2].max() + 1
        with torch.inference_mode(step % 2 == 0):
            actor.act(seen)
    found = actor.out_of_range.found()
    assert found is not None
    assert (found.observations, found.outside) == (160, 10)
    assert [(one.key, one.index) for one in found.dimensions] == [("observation", 2)]
    assert found.dimensions[0].furthest == pytest.approx(1, rel=1e-4)
    assert found.dimensions[0].high == pytest.approx(float(state[:, 2].max()))


def test_the_actor_of_a_policy_counts(make_policy: MakePolicy, episodes: Episodes) -> None:
    policy = make_policy("flow")
    policy.act(episodes.observation["observation"][:1] + 1000)
    found = policy.actor.out_of_range.found()
    assert found is not None
    assert found.outside == 1


def test_who_knows_no_range_counts_nothing(make_policy: MakePolicy) -> None:
    assert OutOfRange({}).found() is None
    unscaled = make_policy("flow", observation_normalizer="identity")
    actor = Actor(unscaled)
    actor.act(np.zeros((1, 3), "f"))
    assert actor.out_of_range.found() is None
