"""Where dreams begin, and which latents count as success."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from laminar.data.episodes import Episodes
from laminar.world_models.model import Draws, WorldModel
from laminar.world_models.starts import labelled, starts
from laminar.world_models.success import SuccessConfig

Build = Callable[..., WorldModel]
REPEATS = 4


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def first_and_last(steps: int, context: int, margin: int) -> tuple[int, int]:
    """Return the moments between which dreams begin in a recording of so many steps, both inside."""
    last = max(min(steps // 2, steps - margin), min(context - 1, steps - 1))
    return min(context - 1, last), last


@pytest.mark.parametrize("margin", [0, 4, 8, 50])
def test_dreams_begin_in_the_first_half_with_a_context(
    demonstrations: Episodes, small_world: Build, margin: int
) -> None:
    model = small_world(demonstrations, context=3)
    found = starts(model, demonstrations, margin, generator())
    seen: list[np.ndarray] = []
    for first, end in zip(demonstrations.starts.tolist(), demonstrations.ends.tolist(), strict=True):
        begin, last = first_and_last(end - first, 3, margin)
        assert begin == 2
        seen.append(demonstrations.observation["observation"][first + begin : first + last + 1])
    np.testing.assert_array_equal(found.observation["observation"].numpy(), np.concatenate(seen))
    assert len(found) == sum(map(len, seen))
    assert found.features.shape == (len(found), model.feature_dim)
    assert (found.observation["observation"][:, 2] == 0).all(), "the lamp is not lit yet"


def test_a_start_shows_what_was_seen(demonstrations: Episodes, small_world: Build) -> None:
    model = small_world(demonstrations)
    found = starts(model, demonstrations, 4, generator())
    torch.testing.assert_close(model.decode(found.features)["observation"], found.observation["observation"])


def test_recordings_shorter_than_the_context(room: object, demonstrations: Episodes, small_world: Build) -> None:
    model = small_world(demonstrations, context=40)
    found = starts(model, demonstrations, 4, generator())
    assert len(found) == demonstrations.num_episodes, "one of each, from its last step"


def test_some_are_kept(demonstrations: Episodes, small_world: Build) -> None:
    found = starts(small_world(demonstrations), demonstrations, 4, generator())
    mask = torch.arange(len(found)) % 3 == 0
    kept = found.kept(mask)
    assert len(kept) == mask.sum()
    assert torch.equal(kept.observation["observation"], found.observation["observation"][mask])


@pytest.mark.parametrize(("tail", "margin"), [(1, 0), (1, 3), (3, 8), (2, 50)])
def test_the_last_states_are_successes_and_those_before_are_none(
    demonstrations: Episodes, small_world: Build, tail: int, margin: int
) -> None:
    model = small_world(demonstrations, context=3)
    found = labelled(model, demonstrations, SuccessConfig(tail=tail, margin=margin), generator())
    failures = [max(steps - margin, (steps + 1) // 2) - 1 for steps in demonstrations.lengths.tolist()]
    if margin == 0:  # the last states are both, and count as failures but for the very last one
        failures = [steps - 1 for steps in demonstrations.lengths.tolist()]
    assert len(found.features) == len(found.success) == len(found.imagined)
    assert int((~found.success).sum()) == REPEATS * sum(failures)
    last = found.success.split([f + min(tail, 1 if margin == 0 else tail) for f in failures for _ in range(REPEATS)])
    assert all(part[-1] for part in last)


def test_half_of_the_followings_are_seen_whole(demonstrations: Episodes, small_world: Build) -> None:
    model = small_world(demonstrations, context=3)
    found = labelled(model, demonstrations, SuccessConfig(tail=1, margin=0, ahead=2), generator())
    parts = found.imagined.split([steps for steps in demonstrations.lengths.tolist() for _ in range(REPEATS)])
    for number, imagined in enumerate(parts):
        assert bool(imagined.any()) == (number % REPEATS >= REPEATS // 2)
        if imagined.any():
            runs = "".join("x" if one else "." for one in imagined.tolist())
            assert "xxx" not in runs, "after two imagined steps something is seen again"
            assert ".." not in runs


def test_wholly_imagined_from_the_context_on(demonstrations: Episodes, small_world: Build) -> None:
    model = small_world(demonstrations, context=3)
    found = labelled(model, demonstrations, SuccessConfig(tail=1, margin=0), generator(), wholly=True)
    parts = found.imagined.split([steps for steps in demonstrations.lengths.tolist() for _ in range(REPEATS)])
    for number, imagined in enumerate(parts):
        if number % REPEATS >= REPEATS // 2:
            assert not imagined[:2].any()
            assert imagined[2:].all(), "the first state of all is not among them"


def test_evidence_is_what_is_shown_and_what_has_changed(demonstrations: Episodes, small_world: Build) -> None:
    model = small_world(demonstrations, context=3)
    found = labelled(model, demonstrations, SuccessConfig(tail=1, margin=0), generator())
    steps = int(demonstrations.lengths[0])
    shown = model.recorded(found.features[:steps, :3])["observation"]
    rows = demonstrations.observation["observation"][1:steps]
    recorded = np.concatenate([rows, demonstrations.final_observation["observation"][:1]])
    np.testing.assert_allclose(shown.numpy(), recorded, atol=1e-5)
    changed = found.features[:steps, 3:] * model.reach
    begun = found.features[:steps, :3] - changed
    first = model.recorded(begun)["observation"]
    expected = np.broadcast_to(demonstrations.observation["observation"][0], first.shape)
    told = (found.features[:steps, 3:].abs() < 20).all(dim=1).numpy()  # no further changes are told apart
    assert told.any()
    np.testing.assert_allclose(first.numpy()[told], expected[told], atol=1e-4, err_msg="since the recording began")


def test_where_nothing_was_done_nothing_is_a_success(demonstrations: Episodes, small_world: Build) -> None:
    model = small_world(demonstrations, context=3)
    found = labelled(model, demonstrations, SuccessConfig(), generator(), done=False)
    assert not found.success.any()
    assert len(found.success) == REPEATS * int(demonstrations.lengths.sum())


def test_what_is_imagined_follows_from_the_actions_alone(demonstrations: Episodes, small_world: Build) -> None:
    model = small_world(demonstrations)
    steps = int(demonstrations.lengths[0])
    rows = torch.from_numpy(demonstrations.observation["observation"][:steps].copy())[None]
    action = torch.from_numpy(demonstrations.action[: steps - 1].copy())[None]
    uniform = torch.rand(1, steps, model.rssm.groups, generator=generator())
    draws = Draws(uniform, torch.arange(steps)[None] >= 4)
    one = model.followed({"observation": rows}, action, draws)
    rows[:, 4:] = 0
    assert torch.equal(model.followed({"observation": rows}, action, draws), one)
