"""Sequences as the model follows them: what it sees, what it imagines, and what it is taught by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from laminar.data.batches import Sequences
from laminar.data.episodes import Episodes
from laminar.data.spec import Feature
from laminar.errors import LaminarError
from laminar.world_models.coders import to_pixels, to_small
from laminar.world_models.config import SIZES, WorldConfig
from laminar.world_models.model import Draws, WorldModel
from laminar.world_models.rssm import balanced_divergence

Build = Callable[..., WorldModel]
STEPS = 12


@pytest.fixture
def batch(play: Episodes) -> dict[str, Any]:
    return Sequences(play, STEPS - 1).gather(torch.arange(0, 60, 10))


def draws_of(model: WorldModel, blind_from: int, rows: int = 6) -> Draws:
    uniform = torch.rand(rows, STEPS, model.rssm.groups, generator=torch.Generator().manual_seed(0))
    return Draws(uniform, torch.full((rows,), blind_from))


def altered(batch: dict[str, Any], step: int) -> dict[str, Any]:
    """Return a batch where other things were seen from a step on."""
    seen = batch["observation"]["observation"].clone()
    seen[:, step:] = seen[:, step:].flip(0) + 0.5
    return {"observation": seen}


def test_blind_steps_do_not_depend_on_what_was_there(play: Episodes, small_world: Build, batch: dict[str, Any]) -> None:
    model = small_world(play)
    draws = draws_of(model, 5)
    features = model.followed(batch["observation"], batch["action"], draws)
    assert torch.equal(model.followed(altered(batch, 5), batch["action"], draws), features)
    earlier = model.followed(altered(batch, 4), batch["action"], draws)
    assert torch.equal(earlier[:, :4], features[:, :4])
    assert ((earlier != features)[:, 4:].any(dim=2)).all()


def test_seen_steps_do(play: Episodes, small_world: Build, batch: dict[str, Any]) -> None:
    model = small_world(play)
    draws = draws_of(model, STEPS)
    features = model.followed(batch["observation"], batch["action"], draws)
    found = model.followed(altered(batch, 5), batch["action"], draws)
    assert torch.equal(found[:, :5], features[:, :5])
    assert (found != features)[:, 5:].any(dim=2).all()


def test_actions_count(play: Episodes, small_world: Build, batch: dict[str, Any]) -> None:
    model = small_world(play)
    action = batch["action"].clone()
    action[:, 5] *= -1
    draws = draws_of(model, 3)
    features = model.followed(batch["observation"], batch["action"], draws)
    found = model.followed(batch["observation"], action, draws)
    assert torch.equal(found[:, :6], features[:, :6]), "an action leads to the next step"
    assert (found != features)[:, 6:].any(dim=2).all()


def test_a_dream_goes_on_as_a_blind_sequence_does(play: Episodes, small_world: Build, batch: dict[str, Any]) -> None:
    model = small_world(play)
    draws = draws_of(model, 5)
    features = model.followed(batch["observation"], batch["action"], draws)
    seen = {key: value[:, :5] for key, value in batch["observation"].items()}
    latent = model.follow(seen, batch["action"][:, :4], draws.uniform[:, :5])
    torch.testing.assert_close(latent.features, features[:, 4])
    for t in range(5, STEPS):
        latent = model.imagine(latent, batch["action"][:, t - 1], draws.uniform[:, t])
        torch.testing.assert_close(latent.features, features[:, t])


def test_the_first_step_is_shown(play: Episodes, small_world: Build, batch: dict[str, Any]) -> None:
    model = small_world(play)
    seen = model.see(batch["observation"])
    unrolled = model.unroll(
        model.encoder(seen), model.numbers(seen), model.acted(batch["action"]), draws_of(model, STEPS)
    )
    first = model.latent(unrolled.features[:, 0])
    assert torch.equal(first.memory, torch.tanh(model.rssm.first).expand(6, -1)), "nothing was before it"
    assert torch.equal(first.shown, model.numbers(seen)[:, 0])
    assert unrolled.predicted.shape == (6, STEPS - 1, 3)
    torch.testing.assert_close(
        model.decode(unrolled.features)["observation"], batch["observation"]["observation"], atol=1e-5, rtol=0
    )


def test_the_loss_is_what_it_says(play: Episodes, small_world: Build, batch: dict[str, Any]) -> None:
    model = small_world(play, kl_weight=0.3, balance=0.8, deviation=0.1)
    draws = draws_of(model, 5)
    loss, told = model.loss(batch, draws)
    seen = model.see(batch["observation"])
    found = model.unroll(model.encoder(seen), model.numbers(seen), model.acted(batch["action"]), draws)
    kl = balanced_divergence(found.posterior[:, 1:], found.prior[:, 1:], 0.8, 0.0).mean()
    gap = (found.predicted - model.numbers(seen)[:, 1:]) / 0.1
    near, far = 0.5 * gap.square(), 5 * (gap.abs() - 2.5)  # beyond five deviations an error counts linearly
    assert (gap.abs() > 5).any()
    assert (gap.abs() < 5).any()
    numbers = torch.where(gap.abs() < 5, near, far).sum(dim=2).mean()
    torch.testing.assert_close(loss, 0.3 * kl + numbers)
    assert {name: float(value) for name, value in told.items()} == pytest.approx(
        {"loss": float(loss), "kl": float(kl), "loss/numbers": float(numbers)}
    )


def test_some_sequences_are_blind_after_their_context(play: Episodes, small_world: Build) -> None:
    model = small_world(play, blind=0.25, context=4)
    blind_from = model.draw(4000, STEPS, torch.Generator().manual_seed(0)).blind_from
    blind = blind_from < STEPS
    assert blind.float().mean() == pytest.approx(0.25, abs=0.03)
    assert set(blind_from[blind].tolist()) == set(range(4, STEPS))
    short = model.draw(10, 3, torch.Generator().manual_seed(0))
    assert short.blind_from.tolist() == [3] * 10, "what is shorter than the context is seen whole"


def test_actions_of_two_values_snap(play: Episodes, small_world: Build) -> None:
    gripper = np.where(np.arange(len(play)) % 5 < 2, -1.0, 1.0).astype(np.float32)
    model = small_world(replace(play, action=np.stack([play.action[:, 0], gripper], axis=1)))
    assert [pair[0] for pair in model.values["action"].pairs] == [1]
    assert torch.equal(model.acted(torch.tensor([[0.1, 0.2]])), model.acted(torch.tensor([[0.1, 1.0]])))


def test_a_lamp_is_lit_or_not(play: Episodes, small_world: Build, batch: dict[str, Any]) -> None:
    model = small_world(play)
    assert model.values["observation"].pairs == ((2, 0.0, 1.0),)
    features = model.followed(batch["observation"], batch["action"], draws_of(model, 2))
    lamp = model.decode(features)["observation"][..., 2]
    assert set(lamp.unique().tolist()) <= {0.0, 1.0}


def test_rewards_and_ends_are_learned_where_they_are_recorded(
    play: Episodes, small_world: Build, batch: dict[str, Any]
) -> None:
    model = small_world(replace(play, has_reward=True))
    assert model.rewards
    assert model.reward is not None
    assert model.goes_on is not None
    given = batch | {"reward": torch.full((6, STEPS - 1), 2.0), "terminated": torch.zeros(6, STEPS - 1)}
    given["terminated"][:, -1] = 1
    draws = draws_of(model, STEPS)
    _, told = model.loss(given, draws)
    after = model.followed(batch["observation"], batch["action"], draws)[:, 1:]
    assert float(told["loss/reward"]) == pytest.approx(float(0.5 * (model.reward(after) - 2).square().mean()))
    goes_on = F.binary_cross_entropy_with_logits(model.goes_on(after), 1 - given["terminated"])
    assert float(told["loss/goes_on"]) == pytest.approx(float(goes_on))
    assert small_world(play).reward is None


@pytest.mark.parametrize("size", [(64, 64), (48, 80), (200, 200)], ids=str)
def test_pictures_of_any_size(pictured: Callable[..., Episodes], small_world: Build, size: tuple[int, int]) -> None:
    episodes = pictured(*size)
    model = small_world(episodes)
    batch = Sequences(episodes, 5).gather(torch.tensor([0, 3]))
    loss, told = model.loss(batch, model.draw(2, 6, torch.Generator().manual_seed(0)))
    assert torch.isfinite(loss)
    assert {"loss/rgb", "loss/numbers"} <= told.keys()
    uniform = torch.rand(2, 6, model.rssm.groups)
    seen = model.decode(model.follow(batch["observation"], batch["action"], uniform).features)
    assert seen["rgb"].shape == (2, *size, 3)
    assert seen["rgb"].dtype == torch.uint8
    assert seen["state"].shape == (2, 2)


def test_pictures_there_and_back() -> None:
    pixels = torch.randint(0, 256, (2, 5, 64, 64, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    small = to_small(pixels)
    assert (float(small.min()), float(small.max())) == (-0.5, 0.5)
    assert torch.equal(to_pixels(small, (64, 64, 3)), pixels)


def test_a_pixel_is_the_mean_of_those_that_it_covers() -> None:
    pixels = torch.zeros(1, 128, 128, 3, dtype=torch.uint8)
    pixels[:, ::2] = 200  # every second line
    small = to_small(pixels)
    assert small.shape == (1, 64, 64, 3)
    torch.testing.assert_close(small, torch.full_like(small, 100 / 255 - 0.5))
    assert torch.equal(to_pixels(small, (128, 128, 3)), torch.full((1, 128, 128, 3), 100, dtype=torch.uint8))


def test_pictures_alone(pictured: Callable[..., Episodes], small_world: Build) -> None:
    whole = pictured()
    spec = replace(whole.spec, observation={"rgb": whole.spec.observation["rgb"]})
    seen, final = ({"rgb": one["rgb"]} for one in (whole.observation, whole.final_observation))
    model = small_world(replace(whole, observation=seen, final_observation=final, spec=spec))
    latent = model.follow(
        {"rgb": torch.zeros(2, 3, 64, 64, 3, dtype=torch.uint8)}, torch.zeros(2, 2, 2), torch.rand(2, 3, 4)
    )
    assert latent.shown.shape == (2, 0)
    assert model.decode(model.imagine(latent, torch.zeros(2, 2), torch.rand(2, 4)).features)["rgb"].shape[1:] == (
        *(64, 64, 3),
    )


def test_what_is_neither_a_vector_nor_a_picture(play: Episodes, small_world: Build) -> None:
    rows = np.zeros((len(play), 4, 4), np.float32)
    spec = replace(play.spec, observation={"map": Feature((4, 4))})
    other = replace(play, observation={"map": rows}, final_observation={"map": rows[: play.num_episodes]}, spec=spec)
    with pytest.raises(LaminarError, match=r"observation 'map' of shape \(4, 4\) is neither .* leave it out of data"):
        small_world(other)


def test_sizes_by_name_and_by_number() -> None:
    assert WorldConfig().sized.deter == SIZES["small"]["deter"]
    given = WorldConfig("paper", hidden=7).sized
    assert (given.deter, given.groups, given.classes, given.hidden) == (1024, 32, 32, 7)
