"""`laminar replay world=WORLD` and `laminar inspect WORLD`: what is told of a saved world model, and to whom not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from laminar.cli import main
from laminar.configs.compose import compose
from laminar.data.batches import Sequences
from laminar.data.episodes import Episodes
from laminar.data.formats import d4rl
from laminar.data.load import load_episodes
from laminar.data.split import held_out, split
from laminar.eval.imagined.pictures import moved_most
from laminar.eval.imagined.replay import ratio
from laminar.eval.imagined.replay import replay as measure
from laminar.eval.imagined.windows import chosen_windows
from laminar.world_models import is_world, load_world
from laminar.world_models.open_loop import HORIZON, SEEN, OpenLoop


def replay(*words: str) -> dict[str, Any]:
    """Return what would be in replay.json; pictures take their time."""
    found = measure(compose("replay", list(words)), [word.partition("=")[0] for word in words])
    return json.loads(json.dumps(found.to_json()))


def test_a_run_is_replayed_on_what_it_held_out(files: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", f"world={files.world}", f"out={tmp_path / 'report'}"]) == 0
    printed = capsys.readouterr().out
    found = json.loads((tmp_path / "report" / "replay.json").read_text())
    episodes = load_episodes(files.play)
    numbers = held_out(episodes, 0.2)
    assert (found["episodes"], found["kind"]) == (numbers, "held out")
    assert "5 of 24 episodes (held out), 10 windows of which 10 observations are seen and 50 imagined" in printed
    model = load_world(files.world)
    learned, tested = split(episodes, numbers)
    errors = OpenLoop(tested, learned, model).measure(model)
    assert found["predictors"]["all"] == pytest.approx(
        {name: errors.relative(name) for name in ("model", "persistence", "ridge")}
    )
    rmse = [one["rmse"]["ridge"] for one in found["numbers"]]
    assert rmse == pytest.approx(errors.rmse("ridge").tolist())
    assert found["numbers"][2]["events"]["happened"] == errors.events[2].hits + errors.events[2].misses
    assert [len(found["by_step"][name]) for name in ("model", "persistence", "ridge")] == [HORIZON] * 3
    page = (tmp_path / "report" / "report.md").read_text()
    for words in (
        "**all numbers**",
        "observation 0",
        "## Events",
        "horizon.png",
        "worst.png",
        str(found["checkpoint"]),
    ):
        assert words in page, words
    names = {file.name for file in (tmp_path / "report").iterdir()}
    assert names == {
        *("replay.json", "report.md", "report.html", "horizon.png"),
        *(f"{place}.png" for place in ("best", "median", "worst")),
    }
    assert main(["replay", f"world={files.world}", f"out={tmp_path / 'report'}"]) == 0, "its own files are replaced"


def test_other_data_are_replayed_whole(files: Any, room: ModuleType, tmp_path: Path) -> None:
    other = tmp_path / "other.hdf5"
    d4rl.write(other, room.play(episodes=3, seed=5))
    found = replay(f"world={files.world}", f"data.path={other}")
    assert (found["episodes"], found["kind"]) == ([0, 1, 2], "other data")
    assert found["remarks"][1] == "the linear model is fitted to these very episodes, which flatters it"
    assert replay(f"world={files.world}", f"data.path={other}", "episodes=2")["episodes"] == [0, 2]
    few = replay(f"world={files.world}", f"data.path={other}", "windows=2")
    assert (few["windows"], few["windows_recorded"]) == (2, 6)


def test_it_knows_the_data_of_its_run(files: Any) -> None:
    found = replay(f"world={files.world}", f"data.path={files.play}", "seed=3")
    assert found["kind"] == "held out"
    again = replay(f"world={files.world}", "seed=3")
    assert again["predictors"] == found["predictors"]
    assert replay(f"world={files.world}")["predictors"]["all"]["model"] != found["predictors"]["all"]["model"]


def test_windows_from_near_are_those_of_the_recording(files: Any) -> None:
    found = measure(compose("replay", [f"world={files.world}"]))
    episodes = load_episodes(files.play)
    assert [one.place for one in found.shown] == ["best", "median", "worst"]
    for one in found.shown:
        first = int(episodes.starts[one.episode]) + one.step
        rows = episodes.observation["observation"][first : first + SEEN]
        np.testing.assert_array_equal(one.recorded[:SEEN], rows)
        assert {name: rows.shape for name, rows in one.predicted.items()} == dict.fromkeys(
            ("model", "persistence", "ridge"), (HORIZON, 3)
        )
        np.testing.assert_array_equal(one.predicted["persistence"], np.repeat(one.recorded[SEEN - 1][None], HORIZON, 0))


def test_places_of_windows(play: Episodes) -> None:
    windows = Sequences(play, 59, 10)
    places = windows.places(torch.tensor([0, 1, 2, 5]))
    assert places == [(0, 0), (0, 10), (1, 0), (2, 10)]
    shown = windows.gather(torch.tensor([5]))["observation"]["observation"][0, 0].numpy()
    np.testing.assert_array_equal(shown, play.observation["observation"][2 * 75 + 10])


def test_which_windows_are_shown() -> None:
    assert chosen_windows(np.array([3.0, 1.0, 2.0, 5.0])) == {"best": 1, "median": 2, "worst": 3}
    assert chosen_windows(np.array([3.0, 1.0])) == {"median": 1, "worst": 0}
    assert chosen_windows(np.array([3.0])) == {"median": 0}


def test_which_numbers_are_drawn() -> None:
    recorded = np.zeros((5, 8))
    recorded[0] = [1, 0, 2, 3, 4, 5, 6, 7]
    assert moved_most(recorded, np.ones(8)) == [2, 3, 4, 5, 6, 7]
    assert moved_most(recorded, np.array([1, 1, 1, 1, 1, 1, 0, 1e3])) == [0, 2, 3, 4, 5, 7]
    assert moved_most(np.zeros((5, 2)), np.ones(2)) == [0]


def test_a_share_of_the_better_baseline() -> None:
    assert ratio({"model": 1.0, "persistence": 4.0, "ridge": 2.0}) == 0.5
    assert np.isnan(ratio({"model": 1.0, "persistence": 4.0, "ridge": 0.0}))


def test_pictures(
    pictured: Callable[..., Episodes], small_world: Callable[..., Any], tmp_path: Path, capsys: Any
) -> None:
    recorded = pictured(32, 48, steps=60, episodes=2)
    (tmp_path / "world").mkdir()
    small_world(recorded).write(tmp_path / "world")
    d4rl.write(tmp_path / "seen.hdf5", recorded)
    words = [f"world={tmp_path / 'world'}", f"data.path={tmp_path / 'seen.hdf5'}"]
    assert main(["replay", *words, f"out={tmp_path / 'report'}"]) == 0
    assert "rgb, error in share of a pixel's range: world model" in capsys.readouterr().out
    found = json.loads((tmp_path / "report" / "replay.json").read_text())
    assert found["predictors"]["rgb"].keys() == {"model", "persistence"}
    assert len(found["pictures_by_step"]["rgb"]["model"]) == HORIZON
    assert (tmp_path / "report" / "frames.png").is_file()
    assert "frames.png" in (tmp_path / "report" / "report.md").read_text()


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Return a function that runs a command line and returns the one line of its error."""

    def run(*words: object) -> str:
        capsys.readouterr()
        assert main([str(word) for word in words]) == 2
        lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("laminar: ")]
        assert len(lines) == 1, lines
        return lines[0]

    return run


@pytest.mark.parametrize("word", ["policy.path=there", "policy.steps=2", "samples=2"])
def test_settings_of_policies(files: Any, refused: Any, word: str) -> None:
    told = refused("replay", f"world={files.world}", word)
    assert (
        f"{word.partition('=')[0]} is of policies, and world={files.world} is replayed; leave one of them out" in told
    )


def test_neither_a_policy_nor_a_world(refused: Any) -> None:
    assert "laminar replay needs policy.path=FOLDER, or world=WORLD" in refused("replay")


def test_a_policy_is_no_world(files: Any, refused: Any) -> None:
    assert "clone holds a policy, and a world model is needed" in refused("replay", f"world={files.clone}")


def test_recordings_that_do_not_fit(
    files: Any, refused: Any, pictured: Callable[..., Episodes], tmp_path: Path
) -> None:
    d4rl.write(tmp_path / "other.hdf5", pictured(steps=60))
    told = refused("replay", f"world={files.world}", f"data.path={tmp_path / 'other.hdf5'}")
    assert f"the world model {files.world}" in told


def test_a_saved_world_that_knows_no_data(files: Any, refused: Any, tmp_path: Path) -> None:
    (tmp_path / "alone").mkdir()
    load_world(files.world).write(tmp_path / "alone")
    told = refused("replay", f"world={tmp_path / 'alone'}")
    assert "laminar replay needs data.path=FILE with recorded episodes" in told
    assert replay(f"world={tmp_path / 'alone'}", f"data.path={files.play}")["kind"] == "unknown"


@pytest.mark.parametrize(
    "words",
    [
        ("eval", "env.id=laminar/PointMaze-v0"),
        ("export", "out=OUT"),
        ("serve",),
        ("bench",),
        ("replay",),
        ("schedule", "data.path=PLAY"),
        ("compare", "a.path=WORLD", "b.path=WORLD", "env.id=laminar/PointMaze-v0"),
    ],
    ids=lambda words: words[0],
)
def test_a_world_is_no_policy(files: Any, refused: Any, tmp_path: Path, words: tuple[str, ...]) -> None:
    places = {"WORLD": files.world, "OUT": tmp_path / "out", "PLAY": files.play}
    for name, place in places.items():
        words = tuple(word.replace(name, str(place)) for word in words)
    told = refused(*words, *([] if words[0] == "compare" else [f"policy.path={files.world}"]))
    assert "holds a world model, and a policy is needed; look at it with laminar replay world=" in told


def test_it_is_inspected(files: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(files.world)]) == 0
    printed = capsys.readouterr().out
    assert "(world model, small)" in printed
    assert "observation 'observation' (3,) float32; of two values: 2 (0 or 1)" in printed
    assert "none; a classifier ends its dreams" in printed
    assert main(["inspect", str(files.world), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    model = load_world(files.world)
    assert found["parameters"] == sum(one.numel() for one in model.parameters())
    assert (found["memory"], found["groups"], found["classes"], found["features"]) == (32, 4, 4, model.feature_dim)
    assert found["observation"]["observation"]["pairs"] == {"2": [0.0, 1.0]}


def test_angles_and_pictures_are_inspected(
    pictured: Callable[..., Episodes], small_world: Callable[..., Any], tmp_path: Path, capsys: Any
) -> None:
    recorded = pictured(32, 48)
    turning = np.remainder(np.arange(36) * 0.4 + np.pi, 2 * np.pi) - np.pi
    recorded.observation["state"][:, 1] = turning
    small_world(recorded).write(tmp_path)
    assert main(["inspect", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "observation 'rgb' (32, 48, 3) uint8, a picture" in printed
    assert "observation 'state' (2,) float32; angles: 1" in printed


def test_what_is_a_world(files: Any, tmp_path: Path) -> None:
    assert is_world(files.world)
    assert not is_world(files.clone)
    assert not is_world(files.play)
    assert not is_world(tmp_path)
    assert not is_world(tmp_path / "nothing")
    (tmp_path / "config.json").write_text("{")
    assert not is_world(tmp_path)
