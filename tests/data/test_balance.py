"""How often the steps of a task are learned from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from laminar.data.balance import step_weights
from laminar.data.batches import Chunks
from laminar.data.episodes import Episodes
from laminar.data.load import Selection, load_episodes
from laminar.data.spec import Feature, Spec
from laminar.errors import LaminarError

LENGTHS, NAMES = [30, 20, 40, 10], ["push", "lift", "push", ""]  # 70 steps of a task, 20, and 10 of none


def recorded(names: list[str] | None = NAMES) -> Episodes:
    steps, ends = sum(LENGTHS), np.cumsum(LENGTHS)
    return Episodes(
        observation={"state": np.arange(steps, dtype=np.float32)[:, None]},
        final_observation={"state": np.zeros((len(LENGTHS), 1), np.float32)},
        action=np.arange(steps, dtype=np.float32)[:, None],
        reward=np.zeros(steps, np.float32),
        terminated=np.zeros(steps, bool),
        truncated=np.isin(np.arange(steps), ends - 1),
        ends=ends,
        spec=Spec({"state": Feature((1,))}, Feature((1,))),
        tasks=None if names is None else np.array([f"please {name}, take {i}" for i, name in enumerate(names)]),
        task_names=None if names is None else np.array(names),
    )


def shares(weights: np.ndarray) -> list[float]:
    """Return those of pushing, lifting and nothing."""
    total = np.add.reduceat(weights, np.cumsum([0, *LENGTHS[:-1]]))
    return [float(part) / weights.sum() for part in (total[0] + total[2], total[1], total[3])]


@pytest.mark.parametrize("balance", [0.5, 1.0])
def test_tasks_have_the_shares_of_the_formula_and_what_has_none_keeps_its_own(balance: float) -> None:
    weights = step_weights(recorded(), balance)
    assert weights is not None
    wanted = np.array([0.7, 0.2]) ** (1 - balance)
    np.testing.assert_allclose(shares(weights), [*(0.9 * wanted / wanted.sum()), 0.1])
    assert len(np.unique(weights[:30])) == 1, "within a task all steps are alike"
    assert step_weights(recorded(), 0.0) is None


def test_draws_follow_the_weights_and_repeat() -> None:
    chunks = Chunks(recorded(), 1, 2, short_episodes="pad", balance=1.0)
    index = chunks.draw(40_000, torch.Generator().manual_seed(0))
    found = shares(np.bincount(index.numpy(), minlength=100).astype(float))
    np.testing.assert_allclose(found, [0.45, 0.45, 0.1], atol=0.01)  # four standard deviations
    assert torch.equal(index, chunks.draw(40_000, torch.Generator().manual_seed(0)))
    state = chunks.gather(index)["observation"]["state"]
    assert torch.equal(state[:, 0, 0].long(), index), "an index is the step that was drawn"
    seldom = chunks.draw(200_000, torch.Generator().manual_seed(1))
    assert (int(seldom.min()), int(seldom.max())) == (0, 99)


def test_sentences_are_names_where_nothing_else_is() -> None:
    spoken = replace(recorded(), tasks=np.array(["push", "lift", "push", ""]), task_names=None)
    np.testing.assert_array_equal(step_weights(spoken, 1.0), step_weights(recorded(), 1.0))


def test_names_go_along_with_their_episodes() -> None:
    both = Episodes.concatenate([recorded(), replace(recorded(), task_names=None)])
    assert both.task_names is not None
    assert both.task_names.tolist() == [*NAMES, *[f"please {name}, take {i}" for i, name in enumerate(NAMES)]]
    assert both.select([1, 4]).task_names.tolist() == ["lift", "please push, take 0"]  # type: ignore[union-attr]


@pytest.mark.parametrize("names", [None, [""] * 4])
def test_recordings_that_name_no_task_are_refused(names: list[str] | None) -> None:
    silent = recorded(names)
    with pytest.raises(LaminarError, match=r"memory: data.balance weighs tasks, .* do not tell"):
        step_weights(silent if names is None else replace(silent, tasks=np.array(names)), 1.0)


def test_windows_of_play_name_their_tasks_and_goals_none(calvin: Any, tmp_path: Path) -> None:
    calvin.usual_split(tmp_path / "training", [(0, 40), (50, 90)])
    calvin.annotate(tmp_path / "training", [(0, 4), (55, 70)], ["open_drawer", "close_drawer"])
    episodes = load_episodes(tmp_path, Selection(("robot_obs", "room_obs"), instruction="task", goals=1))
    assert episodes.task_names is not None
    assert episodes.task_names.tolist() == ["open_drawer", "close_drawer", "", "", ""]
