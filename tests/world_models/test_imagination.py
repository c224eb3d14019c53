"""Dreams keep the contract of a world; what they lead to is what the model predicts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from laminar.data.episodes import Episodes
from laminar.envs.world import Outcome, World
from laminar.errors import LaminarError
from laminar.world_models.imagination import Imagination
from laminar.world_models.model import WorldModel
from laminar.world_models.starts import starts
from laminar.world_models.success import Success, SuccessConfig

Maker = Callable[..., Imagination]
SLOTS, HORIZON = 3, 10


class Shown(Success):
    """Success where the first number, normalized, is above `threshold`."""

    def probability(self, features: Tensor) -> Tensor:
        return features[:, 0]


@pytest.fixture
def make(demonstrations: Episodes, small_world: Callable[..., WorldModel]) -> Maker:
    """Return a function that makes dreams; they end where x is `above` something, or as rewards say."""

    def build(above: float = 1e9, rewards: bool = False, slots: int = SLOTS, seed: int = 0, **more: Any) -> Imagination:
        episodes = replace(demonstrations, has_reward=rewards)
        model = small_world(episodes)
        begin = starts(model, episodes, 4, torch.Generator().manual_seed(0))
        success = None
        if not rewards:
            success = Shown(model.evidence_dim, SuccessConfig(members=1, width=4))
            success.threshold.fill_(above)
            success.requires_grad_(False)
        return Imagination(model, begin, success, slots, more.pop("horizon", HORIZON), seed, **more)

    return build


def begun(world: Imagination) -> Imagination:
    world.reset({slot: slot for slot in range(world.slots)})
    return world


def chunks(length: int, seed: int = 0, slots: int = SLOTS) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, (slots, length, 2))


def figures(outcome: Outcome) -> dict[str, Any]:
    shown = {f"observation/{key}": rows.tolist() for key, rows in outcome.observation.items()}
    rest = [field.name for field in fields(outcome) if field.name != "observation"]
    return shown | {name: np.nan_to_num(getattr(outcome, name), nan=-1.0).tolist() for name in rest}


def test_it_is_a_world(make: Maker) -> None:
    world: World = begun(make())
    outcome = world.step(chunks(4))
    assert world.slots == SLOTS
    assert {key: (rows.dtype, rows.shape) for key, rows in outcome.observation.items()} == {
        "observation": (np.float32, (SLOTS, 3))
    }
    for name, kind in {
        "reward": np.float64,
        "steps": np.int64,
        "terminated": np.bool_,
        "truncated": np.bool_,
        "success": np.float64,
    }.items():
        assert getattr(outcome, name).dtype == kind, name
        assert getattr(outcome, name).shape == (SLOTS,)
    assert world.observations is outcome.observation
    world.close()
    world.close()


def test_a_dream_begins_at_a_recorded_moment_that_its_seed_chooses(make: Maker, demonstrations: Episodes) -> None:
    world = make()
    shown = world.reset({0: 7, 1: 8, 2: 7})["observation"].copy()
    assert (shown[0] == shown[2]).all()
    recorded = demonstrations.observation["observation"]
    assert all((recorded == row).all(axis=1).any() for row in shown)
    assert (world.reset({1: 7})["observation"] == shown[0]).all()
    moments = {tuple(world.reset({0: seed})["observation"][0].tolist()) for seed in range(20)}
    assert len(moments) > 10


def test_it_shows_what_the_model_predicts(make: Maker) -> None:
    world = begun(make(seed=3))
    latent, generator = world.model.latent(world.features.clone()), torch.Generator().manual_seed(3)
    given = chunks(5)
    uniform = torch.rand(SLOTS, 5, world.model.rssm.groups, generator=generator)
    for t in range(5):
        latent = world.model.imagine(latent, torch.from_numpy(given[:, t]).float(), uniform[:, t])
    outcome = world.step(given)
    torch.testing.assert_close(world.features, latent.features)
    np.testing.assert_array_equal(
        outcome.observation["observation"], world.model.decode(latent.features)["observation"].numpy()
    )


def test_the_horizon_cuts_off_and_is_not_terminal(make: Maker) -> None:
    world = begun(make())
    for length, steps, cut in ((4, 4, False), (4, 4, False), (4, 2, True)):
        outcome = world.step(chunks(length))
        assert outcome.steps.tolist() == [steps] * SLOTS
        assert outcome.truncated.tolist() == [cut] * SLOTS
        assert not outcome.terminated.any()
        assert outcome.success.tolist() == [0.0] * SLOTS
    with pytest.raises(LaminarError, match=r"slot 0 has no running dream; reset it first"):
        world.step(chunks(1))


def test_a_chunk_ends_where_the_horizon_does(make: Maker) -> None:
    whole, cut = begun(make()), begun(make(horizon=3))
    given = chunks(8)
    altered = given.copy()
    altered[:, 3:] = 0
    one, other = cut.step(given), whole.step(altered)
    assert one.steps.tolist() == [3] * SLOTS
    assert other.steps.tolist() == [8] * SLOTS
    again = begun(make(horizon=3)).step(altered)
    assert figures(one) == figures(again), "actions after the horizon do not count"


def test_success_ends_a_dream_with_a_reward(make: Maker) -> None:
    world = begun(make())
    world.step(chunks(4))
    x = world.model.evidence(world.features, world.features)[:, 0]
    world = begun(make(above=float(x.sort().values[1]) - 1e-6))
    outcome = world.step(chunks(4))
    ended = (x >= x.sort().values[1] - 1e-6).tolist()
    assert outcome.terminated.tolist() == ended
    assert outcome.reward.tolist() == outcome.success.tolist() == [float(one) for one in ended]
    assert not outcome.truncated.any()
    assert outcome.steps.tolist() == [4] * SLOTS


def test_success_at_the_horizon_is_terminal(make: Maker) -> None:
    outcome = begun(make(above=-1e9, horizon=4)).step(chunks(4))
    assert outcome.terminated.all()
    assert not outcome.truncated.any()


class Falling(torch.nn.Module):
    """Going on until a number of a chunk's steps: its logit is positive before, in row b until `until[b]`."""

    def __init__(self, until: list[int]) -> None:
        super().__init__()
        self.until = torch.tensor(until)

    def forward(self, path: Tensor) -> Tensor:
        return self.until[:, None] - 0.5 - torch.arange(1, path.shape[1] + 1)


class Ones(torch.nn.Module):
    def forward(self, path: Tensor) -> Tensor:
        return torch.ones(path.shape[:2])


def test_predicted_ends_stop_a_chunk_inside(make: Maker) -> None:
    world = begun(make(rewards=True))
    world.model.reward, world.model.goes_on = Ones(), Falling([2, 5, 99])
    before = world.features.clone()
    given = chunks(8)
    outcome = world.step(given)
    assert outcome.steps.tolist() == [3 - 1, 5, 8]
    assert outcome.reward.tolist() == [2, 5, 8]
    assert outcome.terminated.tolist() == [True, True, False]
    assert not outcome.truncated.any()
    assert np.isnan(outcome.success).all(), "nothing tells"
    generator = torch.Generator().manual_seed(0)
    uniform = torch.rand(SLOTS, 8, world.model.rssm.groups, generator=generator)
    latent = world.model.latent(before)
    for t in range(2):
        latent = world.model.imagine(latent, torch.from_numpy(given[:, t]).float(), uniform[:, t])
    torch.testing.assert_close(world.features[0], latent.features[0])


def test_a_predicted_end_after_the_horizon_is_none(make: Maker) -> None:
    world = begun(make(rewards=True, horizon=4))
    world.model.reward, world.model.goes_on = Ones(), Falling([3, 4, 5])
    outcome = world.step(chunks(8))
    assert outcome.steps.tolist() == [3, 4, 4]
    assert outcome.terminated.tolist() == [True, True, False]
    assert outcome.truncated.tolist() == [False, False, True]


def test_slots_that_are_not_stepped_stand_still(make: Maker) -> None:
    world = begun(make())
    world.step(chunks(2))
    before, features = world.observations["observation"].copy(), world.features.clone()
    given = chunks(3, seed=1)
    given[1] = np.nan  # rows of other slots are not read
    outcome = world.step(given, slots=[2, 0])
    assert outcome.steps.tolist() == [3, 0, 3]
    assert outcome.reward[1] == 0
    assert np.isnan(outcome.success[1])
    np.testing.assert_array_equal(outcome.observation["observation"][1], before[1])
    assert torch.equal(world.features[1], features[1])
    assert not torch.equal(world.features[0], features[0])
    assert world.step(chunks(4), slots=[]).steps.tolist() == [0, 0, 0]
    outcome = world.step(chunks(8), slots=[1])
    assert outcome.steps.tolist() == [0, 8, 0], "its horizon stood still too"
    assert outcome.truncated.tolist() == [False, True, False]


def test_slots_do_not_see_each_other(make: Maker) -> None:
    one, other = begun(make()), begun(make())
    given = chunks(4)
    altered = given.copy()
    altered[1] *= -1
    mine, theirs = one.step(given).observation["observation"], other.step(altered).observation["observation"]
    np.testing.assert_array_equal(mine[[0, 2]], theirs[[0, 2]])
    assert (mine[1] != theirs[1]).any()


def test_the_same_seed_dreams_the_same(make: Maker) -> None:
    runs = [[figures(begun(make(seed=seed)).step(chunks(4)))] for seed in (0, 0, 1)]
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]


@pytest.mark.parametrize("rewards", [False, True])
def test_dreams_go_on_where_their_state_was_taken(make: Maker, rewards: bool) -> None:
    world = begun(make(rewards=rewards, above=0.5))
    world.step(chunks(4), slots=[0, 1])
    state = world.state()
    again = make(rewards=rewards, above=0.5, seed=5)
    shown = again.load_state(state)
    np.testing.assert_array_equal(shown["observation"], world.observations["observation"])
    running = [slot for slot in range(SLOTS) if state["running"][slot]]
    for seed in (1, 2):
        assert figures(again.step(chunks(2, seed), running)) == figures(world.step(chunks(2, seed), running))
        running = [slot for slot in running if again.state()["running"][slot]]
    for key, rows in world.state().items():
        np.testing.assert_array_equal(again.state()[key], rows)
    np.testing.assert_array_equal(again.reset({0: 9})["observation"], world.reset({0: 9})["observation"])


def test_a_state_does_not_change_with_its_dreams(make: Maker) -> None:
    world = begun(make())
    state = world.state()
    kept = {key: rows.copy() for key, rows in state.items()}
    world.step(chunks(4))
    world.reset({0: 9})
    make().load_state(state)
    for key, rows in kept.items():
        np.testing.assert_array_equal(state[key], rows)


def test_a_state_of_other_dreams(make: Maker) -> None:
    world = begun(make())
    state = world.state()
    with pytest.raises(LaminarError, match="the saved dreams are of another world model, or of other slots; resume"):
        make(slots=2).load_state(state)
    with pytest.raises(LaminarError, match="of another world model"):
        world.load_state({key: rows for key, rows in state.items() if key != "age"})


@pytest.mark.parametrize(
    ("shape", "slots", "told"),
    [
        ((3, 2), None, r"chunks have shape \(3, 2\), expected \(3, steps, 2\)"),
        ((2, 4, 2), None, r"\(2, 4, 2\)"),
        ((3, 4, 1), None, r"\(3, 4, 1\)"),
        ((3, 0, 2), None, r"\(3, 0, 2\)"),
        ((3, 4, 2), [3], r"no slot 3: there are 3 dreams"),
        ((3, 4, 2), [-1], r"no slot -1"),
    ],
)
def test_what_cannot_be_stepped(make: Maker, shape: tuple[int, ...], slots: list[int] | None, told: str) -> None:
    world = begun(make())
    with pytest.raises(LaminarError, match=told):
        world.step(np.zeros(shape), slots)


def test_what_cannot_be_reset(make: Maker) -> None:
    world = make()
    with pytest.raises(LaminarError, match="slot 0 has no running dream; reset it first"):
        world.step(chunks(1))
    with pytest.raises(LaminarError, match="no slot 3"):
        world.reset({3: 0})
    with pytest.raises(LaminarError, match="takes no options of a reset"):
        world.reset({0: 0}, {0: {"low": 1}})
    assert world.reset({0: 0}, {0: {}})


def test_no_moment_or_no_end(make: Maker, play: Episodes, small_world: Callable[..., WorldModel]) -> None:
    world = make()
    none = world._begin.kept(torch.zeros(len(world._begin), dtype=torch.bool))
    with pytest.raises(LaminarError, match="no recorded moment is left from which a dream could begin; give more"):
        Imagination(world.model, none, world.success, 1, 10)
    with pytest.raises(LaminarError, match="predicts no rewards, and no classifier says what a success is"):
        Imagination(world.model, world._begin, None, 1, 10)


def test_pictures_are_dreamed(pictured: Callable[..., Episodes], small_world: Callable[..., WorldModel]) -> None:
    episodes = pictured(48, 80)
    model = small_world(episodes)
    begin = starts(model, episodes, 2, torch.Generator().manual_seed(0))
    world = Imagination(model, begin, Success(model.evidence_dim, SuccessConfig(members=1, width=4)), 2, 10)
    world.success.threshold.fill_(2.0)  # pyright: ignore[reportOptionalMemberAccess]
    world.reset({0: 0, 1: 1})
    shown = world.step(chunks(3, slots=2)).observation
    assert (shown["rgb"].dtype, shown["rgb"].shape) == (np.uint8, (2, 48, 80, 3))


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("rewards", [False, True])
def test_compiled_dreams_are_the_same(make: Maker, rewards: bool) -> None:
    worlds = [begun(make(rewards=rewards, above=1.5, compiled=compiled)) for compiled in (False, True)]
    for seed in range(2):
        running = np.flatnonzero(worlds[0].state()["running"]).tolist()
        eager, compiled = (world.step(chunks(4, seed), running) for world in worlds)
        np.testing.assert_allclose(
            eager.observation["observation"], compiled.observation["observation"], rtol=1e-4, atol=1e-5
        )
        np.testing.assert_array_equal(eager.steps, compiled.steps)
        np.testing.assert_array_equal(eager.terminated, compiled.terminated)
        np.testing.assert_allclose(eager.reward, compiled.reward, rtol=1e-4, atol=1e-5)
