"""Choosing parts of the demonstrations, in every format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from laminar.data.episodes import Episodes
from laminar.data.formats import d4rl
from laminar.data.load import Selection, load_episodes
from laminar.data.spec import Feature, Spec
from laminar.errors import LaminarError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return a D4RL file with three observation keys."""
    keys = ("arm", "goal", "force")
    rows = {key: np.full((6, width), width, "f") for width, key in enumerate(keys, start=1)}
    episodes = Episodes(
        observation=rows,
        final_observation={key: value[:1] for key, value in rows.items()},
        action=np.zeros((6, 2), "f"),
        reward=np.zeros(6, "f"),
        terminated=np.zeros(6, bool),
        truncated=np.arange(6) == 5,
        ends=np.array([6]),
        spec=Spec({key: Feature((width,)) for width, key in enumerate(keys, start=1)}, Feature((2,))),
    )
    d4rl.write(tmp_path / "a.hdf5", episodes)
    return tmp_path / "a.hdf5"


def test_observations_are_kept_in_the_chosen_order(file: Path) -> None:
    episodes = load_episodes([file, file], Selection(observation=("force", "arm")))
    assert list(episodes.observation) == list(episodes.final_observation) == ["force", "arm"]
    assert {key: feature.shape for key, feature in episodes.spec.observation.items()} == {"force": (3,), "arm": (1,)}
    assert len(load_episodes(file).observation) == 3


@pytest.mark.parametrize(
    ("selected", "message"),
    [
        ({"observation": ("goals",)}, r"a\.hdf5: data.observation names 'goals', there are .*; did you mean 'goal'\?"),
        ({"action": "actions"}, r"a\.hdf5: data\.action=actions chooses from CALVIN data, and this file is d4rl"),
        (
            {"instruction": "task"},
            r"data\.instruction=task chooses from CALVIN data, LeRobot's, and words in bags, .*; leave data\.ins.* out",
        ),
    ],
)
def test_what_a_file_does_not_have_is_refused(file: Path, selected: dict[str, Any], message: str) -> None:
    with pytest.raises(LaminarError, match=message):
        load_episodes(file, Selection(**selected))


@pytest.mark.parametrize("keys", ["robot_obs", [], [1], 3])
def test_observations_are_a_list_of_keys(keys: Any) -> None:
    with pytest.raises(LaminarError, match="expected a list of keys"):
        Selection(observation=keys)


def test_a_key_is_chosen_once() -> None:
    with pytest.raises(LaminarError, match="names a key twice"):
        Selection(observation=("a", "a"))
    assert Selection(observation=["a", "b"]).observation == ("a", "b")  # type: ignore[arg-type]
