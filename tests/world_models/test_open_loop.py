"""Errors without seeing: held against predictors whose errors are known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from laminar.data.batches import Sequences
from laminar.data.episodes import Episodes
from laminar.data.spec import Feature, Spec
from laminar.errors import LaminarError
from laminar.world_models.coders import PictureDecoder, to_small
from laminar.world_models.model import WorldModel
from laminar.world_models.open_loop import HORIZON, SEEN, STRIDE, Events, OpenLoop
from laminar.world_models.picture_errors import over_steps, picture_errors

Build = Callable[..., WorldModel]
AHEAD = 30


def recordings(rows: np.ndarray, action: np.ndarray, episodes: int) -> Episodes:
    """Make episodes of states (E, T + 1, D) and actions (E, T, A)."""
    steps = action.shape[1]
    return Episodes(
        observation={"state": rows[:, :-1].reshape(-1, rows.shape[2]).astype(np.float32)},
        final_observation={"state": rows[:, -1].astype(np.float32)},
        action=action.reshape(-1, action.shape[2]).astype(np.float32),
        reward=np.zeros(episodes * steps, np.float32),
        terminated=np.zeros(episodes * steps, bool),
        truncated=np.arange(episodes * steps) % steps == steps - 1,
        ends=np.arange(steps, episodes * steps + 1, steps),
        spec=Spec({"state": Feature((rows.shape[2],), names=("a", "b", "c")[: rows.shape[2]])}, Feature((2,))),
        has_reward=False,
    )


def linear(episodes: int, seed: int) -> Episodes:
    """Record x' = A x + B u + c."""
    rng, steps = np.random.default_rng(seed), 90
    action = rng.normal(size=(episodes, steps, 2))
    rows = np.zeros((episodes, steps + 1, 2))
    rows[:, 0] = rng.normal(size=(episodes, 2))
    turn = np.array([[0.95, 0.2], [-0.2, 0.95]])
    for t in range(steps):
        rows[:, t + 1] = rows[:, t] @ turn.T + action[:, t] @ np.array([[0.1, 0.0], [0.05, -0.2]]) + 0.05
    return recordings(rows, action, episodes)


def test_a_model_of_no_change_is_persistence(play: Episodes, small_world: Build) -> None:
    model = small_world(play, changes=False)
    held_out = play.select(np.arange(4))
    found = OpenLoop(held_out, play.select(np.arange(4, 24)), model).measure(model)
    np.testing.assert_allclose(found.square["model"], found.square["persistence"], rtol=1e-3, atol=1e-6)
    assert found.relative("model") == pytest.approx(found.relative("persistence"), rel=1e-3)
    assert all(event.hits == event.false == 0 for event in found.events)
    assert len(found.windows) == 4 * ((75 - 59) // STRIDE + 1)


def test_persistence_is_what_was_last_seen(play: Episodes, small_world: Build) -> None:
    model, held_out = small_world(play), play.select(np.arange(4))
    found = OpenLoop(held_out, play, model).measure(model)
    truth = Sequences(held_out, SEEN + HORIZON - 1, STRIDE).gather(torch.arange(len(found.windows)))["observation"]
    rows = truth["observation"].double()
    gap = rows[:, SEEN:] - rows[:, SEEN - 1 : SEEN]
    np.testing.assert_allclose(found.square["persistence"], gap.square().mean(dim=0).numpy(), rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(found.rmse("persistence"), gap.square().mean(dim=(0, 1)).sqrt().numpy(), rtol=1e-5)


def test_ridge_finds_a_linear_system(small_world: Build) -> None:
    learned, held_out = linear(12, 0), linear(3, 1)
    model = small_world(learned)
    found = OpenLoop(held_out, learned, model).measure(model)
    assert found.relative("ridge") < 0.01 * found.relative("persistence")
    assert found.labels == ("state a", "state b")


def test_it_does_not_depend_on_global_randomness(play: Episodes, small_world: Build) -> None:
    model = small_world(play)
    open_loop = OpenLoop(play.select(np.arange(2)), play, model)
    torch.manual_seed(1)
    first = open_loop.measure(model)
    torch.manual_seed(2)
    again = open_loop.measure(model)
    np.testing.assert_array_equal(first.square["model"], again.square["model"])
    other = open_loop.measure(model, seed=1)
    assert not np.array_equal(first.square["model"], other.square["model"])


class Told(WorldModel):
    """A model that predicts given numbers: `told` (B, T, N), whatever it sees."""

    told: torch.Tensor

    def recorded(self, shown: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"state": self.told[: shown.shape[0]]}


def test_events_are_counted(small_world: Build) -> None:
    """Number 0 moves in windows 0 and 1, number 1 in window 0; a model says 0 and 2 of the first, none of the other."""
    episodes, steps = 3, SEEN + HORIZON - 1
    rows = np.zeros((episodes, steps + 1, 2))
    rows[0, SEEN + 20 :, 0] = rows[1, SEEN + 25 :, 0] = 1.0
    rows[2, SEEN + 40 :, 0] = 1.0  # later than is looked at
    rows[0, SEEN + 5 :, 1] = 1.0
    recorded = recordings(rows, np.random.default_rng(0).normal(size=(episodes, steps, 2)), episodes)
    model = small_world(recorded)
    model.__class__ = Told
    told = torch.zeros(episodes, HORIZON, 2)
    told[0, AHEAD - 1, 0] = told[2, AHEAD - 1, 0] = 0.6
    told[1, AHEAD, 0] = 1.0  # a step too late
    model.told = told
    found = OpenLoop(recorded, recorded, model).measure(model)
    assert found.events == (Events(hits=1, misses=1, false=1), Events(hits=0, misses=1, false=0))
    assert (found.events[0].precision, found.events[0].recall) == (0.5, 0.5)
    assert np.isnan(found.events[1].precision)
    assert found.events[1].recall == 0
    assert np.isnan(Events(0, 0, 0).recall)


def test_numbers_that_never_vary_do_not_count(small_world: Build) -> None:
    still = linear(4, 0)
    rows = np.concatenate([still.observation["state"], np.full((len(still), 1), 0.1, np.float32)], axis=1)
    final = np.concatenate([still.final_observation["state"], np.full((4, 1), 0.1, np.float32)], axis=1)
    spec = replace(still.spec, observation={"state": Feature((3,))})
    wider = replace(still, observation={"state": rows}, final_observation={"state": final}, spec=spec)
    model = small_world(wider)
    found = OpenLoop(wider, wider, model).measure(model)
    assert found.spread[2] == 0
    assert np.isfinite([found.relative(name) for name in ("model", "persistence", "ridge")]).all()
    assert found.labels == ("state 0", "state 1", "state 2")


def test_angles_go_the_short_way_round(small_world: Build) -> None:
    steps = SEEN + HORIZON - 1
    turning = np.remainder(0.1 * np.arange(steps + 1) + np.array([[0.0], [1.0]]) + np.pi, 2 * np.pi) - np.pi
    recorded = recordings(turning[:, :, None], np.random.default_rng(0).normal(size=(2, steps, 2)), 2)
    model = small_world(recorded, changes=False)
    assert model.values["state"].angles == (0,)
    found = OpenLoop(recorded, recorded, model).measure(model)
    ahead = np.minimum(0.1 * np.arange(1, HORIZON + 1), 2 * np.pi - 0.1 * np.arange(1, HORIZON + 1))
    np.testing.assert_allclose(np.sqrt(found.square["persistence"][:, 0]), np.abs(ahead), atol=1e-4)


def test_recordings_that_are_too_short(play: Episodes, demonstrations: Episodes, small_world: Build) -> None:
    with pytest.raises(LaminarError, match=r"no episode has the 59 steps of a sequence, the longest has"):
        OpenLoop(demonstrations, play, small_world(play))


def test_pictures_are_no_numbers(
    pictured: Callable[..., Episodes], small_world: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    episodes = pictured(steps=60, episodes=2)
    model = small_world(episodes)
    open_loop = OpenLoop(episodes, episodes, model)
    monkeypatch.setattr(PictureDecoder, "forward", None)  # nor are any painted
    found = open_loop.measure(model)
    assert found.labels == ("state 0", "state 1")
    assert found.keys == ("state", "state")


def test_errors_of_pictures(pictured: Callable[..., Episodes], small_world: Build) -> None:
    episodes = pictured(48, 80, steps=60, episodes=2)
    model = small_world(episodes)
    open_loop = OpenLoop(episodes, episodes, model)
    (found,) = picture_errors(open_loop, model).values()
    rows = to_small(open_loop.windows.gather(open_loop.index)["observation"]["rgb"])
    gap = (rows[:, SEEN - 1 : SEEN] - rows[:, SEEN:]).square().mean(dim=(0, 2, 3, 4)).sqrt()
    np.testing.assert_allclose(found["persistence"], gap.numpy(), rtol=1e-5)
    assert found["model"].shape == (HORIZON,)
    assert over_steps(found["persistence"]) == pytest.approx(float(gap.square().mean().sqrt()))
    assert found["model"][0] != found["persistence"][0]


def test_fewer_windows_are_spread_evenly(play: Episodes, small_world: Build) -> None:
    model = small_world(play)
    open_loop = OpenLoop(play, play, model, most=5)
    assert open_loop.index.tolist() == np.linspace(0, len(open_loop.windows) - 1, 5).round().tolist()
    assert len(open_loop.measure(model).windows) == 5


def test_errors_of_windows_and_vectors(play: Episodes, small_world: Build) -> None:
    model = small_world(play)
    found = OpenLoop(play, play, model).measure(model)
    assert found.relative("model") == pytest.approx(float(np.sqrt((found.windows**2).mean())))
    assert found.relative("model", "observation") == found.relative("model")
    assert np.isnan(found.relative("model", "nothing"))
    assert found.by_step("persistence")[-1] > found.by_step("persistence")[0]
