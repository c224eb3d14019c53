"""Which recordings a skill was done in: annotated windows of play, or demonstrations that succeed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from laminar.data.episodes import Episodes
from laminar.data.instructions import TASKS
from laminar.data.spec import Feature
from laminar.errors import LaminarError
from laminar.world_models.skill import of_skill


def windows(play: Episodes, tasks: Sequence[str]) -> Episodes:
    """Give each episode of play the instruction of a task."""
    chosen = np.eye(len(TASKS), dtype=np.float32)[[TASKS.index(task) for task in tasks]]
    spec = replace(play.spec, observation=play.spec.observation | {"instruction": Feature((len(TASKS),))})
    rows = np.repeat(chosen, play.lengths, axis=0)
    return replace(
        play,
        observation=play.observation | {"instruction": rows},
        final_observation=play.final_observation | {"instruction": chosen},
        spec=spec,
        success=np.ones(play.num_episodes, bool),
    )


def test_windows_of_the_task(play: Episodes) -> None:
    tasks = ["open_drawer", "close_drawer", "open_drawer"] * 8
    found = of_skill(windows(play, tasks), "open_drawer")
    wanted = play.select(np.flatnonzero(np.array(tasks) == "open_drawer"))
    assert list(found.observation) == list(found.final_observation) == list(found.spec.observation) == ["observation"]
    np.testing.assert_array_equal(found.observation["observation"], wanted.observation["observation"])
    np.testing.assert_array_equal(found.ends, wanted.ends)


def test_demonstrations_that_succeed(demonstrations: Episodes) -> None:
    told = np.arange(demonstrations.num_episodes) % 3 == 0
    found = of_skill(replace(demonstrations, success=told), None)
    assert found.num_episodes == told.sum()
    np.testing.assert_array_equal(found.final_observation["observation"][:, 2], 1)


@pytest.mark.parametrize(
    ("task", "told"),
    [
        (None, "dreams of play need a skill: give task=playroom/close_drawer or world.task=close_drawer"),
        ("open_drawr", "world.task=open_drawr is none of the annotated tasks; did you mean 'open_drawer'"),
        ("turn_on_led", "'turn_on_led' is in no annotated window; choose another task, or more play"),
    ],
)
def test_windows_without_the_task(play: Episodes, task: str | None, told: str) -> None:
    with pytest.raises(LaminarError) as caught:
        of_skill(windows(play, ["open_drawer"] * 24), task)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_nothing_tells_what_a_success_is(play: Episodes) -> None:
    with pytest.raises(LaminarError, match="nothing tells which episodes succeed, neither language annotations nor"):
        of_skill(play, "open_drawer")


def test_nothing_succeeds(demonstrations: Episodes) -> None:
    failed = replace(demonstrations, success=np.zeros(demonstrations.num_episodes, bool))
    with pytest.raises(LaminarError, match="no episode succeeds; dreams need some at whose end the skill is done"):
        of_skill(failed, None)


@pytest.mark.parametrize(("unit", "width"), [("hashed", len(TASKS)), ("", 384)])
def test_sentences_are_no_task(play: Episodes, unit: str, width: int) -> None:
    seen, last = (np.ones((rows, width), np.float32) for rows in (len(play), play.num_episodes))
    said = replace(
        play,
        observation=play.observation | {"instruction": seen},
        final_observation=play.final_observation | {"instruction": last},
        spec=replace(play.spec, observation=play.spec.observation | {"instruction": Feature((width,), unit=unit)}),
    )
    with pytest.raises(LaminarError, match=r"the instruction is made of sentences .*give data.instruction=task"):
        of_skill(said, "open_drawer")
