"""`inspect` tells what is in a file and what looks wrong with it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from laminar.data.episodes import Episodes
from laminar.data.formats import d4rl
from laminar.data.inspect import describe, inspect_file
from laminar.data.inspection.text import render
from laminar.data.spec import Feature, Spec


def make_episodes(lengths: list[int]) -> Episodes:
    steps, rng = sum(lengths), np.random.default_rng(0)
    ends = np.cumsum(lengths)
    truncated = np.isin(np.arange(steps), ends - 1)
    return Episodes(
        observation={"observation": rng.normal(size=(steps, 3)).astype("f")},
        final_observation={"observation": np.zeros((len(ends), 3), "f")},
        action=rng.uniform(-1, 1, size=(steps, 2)).astype("f"),
        reward=rng.normal(size=steps).astype("f"),
        terminated=np.zeros(steps, bool),
        truncated=truncated,
        ends=ends,
        spec=Spec({"observation": Feature((3,))}, Feature((2,)), (-1.0, -1.0), (1.0, 1.0), rate_hz=20.0),
        success=np.arange(len(ends)) % 2 == 0,
    )


def test_a_clean_file_has_no_problems(tmp_path: Path) -> None:
    episodes = make_episodes([5, 7, 6])
    d4rl.write(tmp_path / "a.hdf5", episodes)
    found = json.loads(json.dumps(inspect_file(tmp_path / "a.hdf5"), allow_nan=False))
    assert found["problems"] == []
    assert (found["format"], found["episodes"], found["steps"]) == ("d4rl", 3, 18)
    assert found["length"] == {"min": 5, "mean": 6, "max": 7}
    assert found["success"] == {"episodes": 2, "rate": pytest.approx(2 / 3)}
    assert found["return"]["mean"] == pytest.approx(episodes.returns().mean())
    assert found["action"]["limits"] == {"low": [-1, -1], "high": [1, 1]}
    assert found["observation"]["observation"]["min"] == episodes.observation["observation"].min(0).tolist()
    text = render(found)
    assert "3 (0 terminated, 3 truncated), 18 steps" in text
    assert "20 Hz" in text
    assert "looks wrong" not in text


def test_what_looks_wrong_is_told() -> None:
    episodes = make_episodes([5, 1, 5])
    episodes.observation["observation"][:, 1] = 4
    episodes.observation["observation"][6:11] = episodes.observation["observation"][:5]
    episodes.action[6:11] = episodes.action[:5]
    episodes.action[5, 0] = 1.5
    episodes.reward[:] = 0
    episodes.infos["force"] = np.full(11, np.nan)
    assert episodes.success is not None
    episodes.success[:] = False
    found = describe(episodes)["problems"]
    assert found == [
        "observation: 1 (1) of 3 dimensions never change",
        "action: outside its limits in 1 of 11 steps",
        "episodes: 1 of 3 have a single step",
        "episodes: 1 (2) repeat earlier ones exactly",
        "reward: always 0",
        "success: no episode succeeds",
        "infos force: NaN or infinite values",
    ]


def test_demonstration_file(demo_data) -> None:
    found = inspect_file(demo_data("maze2d-umaze.hdf5"))
    assert found["problems"] == ["episodes: 189 of 2787 have a single step"]
    assert "no limits known" not in render(found)
