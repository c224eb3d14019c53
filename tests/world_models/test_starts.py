"""Where dreams begin, and which latents count as success."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from laminar.data.episodes import Episodes
from laminar.world_models.model import Draws, WorldModel
from laminar.world_models.starts import labelled, starts

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


@pytest.mark.parametrize("margin", [0, 3, 50])
def test_the_last_state_is_a_success_and_those_before_are_none(
    demonstrations: Episodes, small_world: Build, margin: int
) -> None:
    model = small_world(demonstrations, context=3)
    found = labelled(model, demonstrations, margin, generator())
    counts = [1 + max(steps - margin, steps // 2) for steps in demonstrations.lengths.tolist()]
    assert len(found.features) == len(found.success) == len(found.imagined) == REPEATS * sum(counts)
    assert int(found.success.sum()) == REPEATS * demonstrations.num_episodes
    ends = np.cumsum(np.repeat(counts, REPEATS)) - 1
    assert np.flatnonzero(found.success.numpy()).tolist() == ends.tolist()


def test_half_of_the_followings_are_seen_whole(demonstrations: Episodes, small_world: Build) -> None:
    model = small_world(demonstrations, context=3)
    found = labelled(model, demonstrations, 0, generator())
    counts = [steps + 1 for steps in demonstrations.lengths.tolist()]
    parts = found.imagined.split([count for count in counts for _ in range(REPEATS)])
    for number, imagined in enumerate(parts):
        assert not imagined[:3].any(), "a context is seen"
        assert (imagined[1:] >= imagined[:-1]).all(), "from some step on all is imagined"
        assert bool(imagined.any()) == (number % REPEATS >= REPEATS // 2)


def test_seen_latents_are_those_of_the_recording(demonstrations: Episodes, small_world: Build) -> None:
    model = small_world(demonstrations, context=3)
    found = labelled(model, demonstrations, 0, generator())
    steps = int(demonstrations.lengths[0])
    shown = model.decode(found.features[: steps + 1])["observation"]
    rows = demonstrations.observation["observation"][:steps]
    recorded = np.concatenate([rows, demonstrations.final_observation["observation"][:1]])
    np.testing.assert_allclose(shown.numpy(), recorded, atol=1e-5)


def test_what_is_imagined_follows_from_the_actions_alone(demonstrations: Episodes, small_world: Build) -> None:
    model = small_world(demonstrations)
    steps = int(demonstrations.lengths[0])
    rows = torch.from_numpy(demonstrations.observation["observation"][:steps].copy())[None]
    action = torch.from_numpy(demonstrations.action[: steps - 1].copy())[None]
    uniform = torch.rand(1, steps, model.rssm.groups, generator=generator())
    one = model.followed({"observation": rows}, action, Draws(uniform, torch.tensor([4])))
    rows[:, 4:] = 0
    assert torch.equal(model.followed({"observation": rows}, action, Draws(uniform, torch.tensor([4]))), one)
