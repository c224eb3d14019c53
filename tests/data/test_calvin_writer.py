"""What is written in CALVIN's layout reads back equal, by laminar and by numpy; whole or not at all."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from laminar.data import npz
from laminar.data.calvin.writer import Annotation, CalvinWriter
from laminar.data.instructions import HELD_OUT, TASKS
from laminar.data.language import hashed_embedding
from laminar.data.load import Selection, load_episodes
from laminar.errors import LaminarError


@pytest.mark.parametrize("scene", "AD")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_is_written_reads_back_equal(calvin: Any, tmp_path: Path, scene: str, dtype: str) -> None:
    rows = calvin.write(tmp_path / "play", scene, pictures=True, dtype=dtype)
    kept = [*range(9), *range(10, 15)]
    episodes = load_episodes(tmp_path / "play", Selection(observation=("robot_obs", "scene_obs", "rgb_static")))
    assert episodes.ends.tolist() == [9, 14]
    for key in episodes.observation:
        expected = rows[key] if key == "rgb_static" else rows[key].astype("f")
        np.testing.assert_array_equal(episodes.observation[key], expected[kept])
        np.testing.assert_array_equal(episodes.final_observation[key], expected[[9, 15]])
    np.testing.assert_array_equal(episodes.action, rows["rel_actions"][kept].astype("f"))
    assert episodes.spec.observation["scene_obs"].unit == f"scene {scene}"
    windows = load_episodes(tmp_path / "play", Selection(instruction="lang_annotations"))
    assert windows.lengths.tolist() == [4, 5, 4]
    assert windows.spec.observation["instruction"].unit == "hashed"
    np.testing.assert_array_equal(windows.observation["instruction"][4], hashed_embedding("push the drawer"))


def test_the_files_are_those_of_calvin(calvin: Any, tmp_path: Path) -> None:
    rows = calvin.write(tmp_path / "play", "A", pictures=True, dtype="float64")
    folder = tmp_path / "play" / "training"
    assert sorted(path.name for path in (tmp_path / "play").iterdir()) == ["training"]
    with np.load(folder / "episode_0000012.npz") as frame:
        assert sorted(frame) == sorted(rows)
        np.testing.assert_array_equal(frame["robot_obs"], rows["robot_obs"][12])
        np.testing.assert_array_equal(frame["rgb_static"], rows["rgb_static"][12])
        assert frame["scene_obs"][[6, 12, 18]] == pytest.approx([3.12, 2.12, 1.12])  # pink, blue, red in scene A
        assert (frame["actions"].dtype, frame["depth_static"].dtype) == (np.float64, np.float32)
    assert np.load(folder / "ep_start_end_ids.npy").tolist() == [[0, 9], [10, 15]]
    assert np.load(folder / "ep_lens.npy").tolist() == [10, 6]
    assert np.load(folder / "scene_info.npy", allow_pickle=True).item() == {"calvin_scene_A": [0, 15]}
    stored = np.load(folder / "lang_annotations" / "auto_lang_ann.npy", allow_pickle=True).item()
    assert stored["info"] == {"indx": [(0, 4), (4, 10), (10, 14)], "episodes": []}
    assert stored["language"]["task"] == ["open_drawer", "close_drawer", "open_drawer"]
    assert stored["language"]["emb"].shape == (3, 1, 384)
    np.testing.assert_array_equal(stored["language"]["emb"][1][0], hashed_embedding("push the drawer"))
    assert b"numpy._core" not in (folder / "lang_annotations" / "auto_lang_ann.npy").read_bytes()
    config = yaml.safe_load((folder / ".hydra" / "merged_config.yaml").read_text())
    assert list(config["scene"]["objects"]["movable_objects"]) == ["block_pink", "block_blue", "block_red"]
    assert not (folder / "lang_annotations" / "embeddings.npy").exists()


def test_statistics_are_those_of_the_files(calvin: Any, tmp_path: Path) -> None:
    rows = calvin.write(tmp_path / "play", "A", dtype="float64")
    folder = tmp_path / "play" / "training"
    stored = yaml.safe_load((folder / "statistics.yaml").read_text())
    frames = [np.load(folder / f"episode_{i:07d}.npz")["scene_obs"] for i in range(16)]
    for key, values in (("robot_obs", rows["robot_obs"]), ("scene_obs", np.stack(frames))):
        (entry,) = stored[key]
        assert entry["_target_"].endswith(".NormalizeVector")
        np.testing.assert_allclose(entry["mean"], values.mean(0), atol=1e-12)
        np.testing.assert_allclose(entry["std"], values.std(0), atol=1e-12)
    np.testing.assert_array_equal(stored["act_max_bound"], rows["actions"].max(0))
    np.testing.assert_array_equal(stored["act_min_bound"], rows["actions"].min(0))


def test_a_validation_split_has_the_evaluation_sentences(calvin: Any, tmp_path: Path) -> None:
    calvin.write(tmp_path / "play", "D", split="validation")
    file = tmp_path / "play" / "validation" / "lang_annotations" / "embeddings.npy"
    stored = np.load(file, allow_pickle=True).item()
    assert sorted(stored) == sorted(TASKS)
    assert stored["open_drawer"]["ann"] == [HELD_OUT["open_drawer"]]
    assert stored["open_drawer"]["emb"].shape == (1, 1, 384)


def test_the_same_data_give_the_same_bytes(calvin: Any, tmp_path: Path) -> None:
    for name in "ab":
        calvin.write(tmp_path / name, pictures=True)
    files = sorted(path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*") if path.is_file())
    assert len(files) == 16 + 7
    for file in files:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_nothing_is_at_its_place_before_all_is_written(calvin: Any, tmp_path: Path) -> None:

    def fail() -> None:
        with CalvinWriter(tmp_path / "play") as writer:
            writer.add_episode(calvin.vectors(5))
            assert writer.frames == 5
            assert not (tmp_path / "play" / "training").exists()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert list((tmp_path / "play").iterdir()) == []
    with pytest.raises(LaminarError, match="no episodes, nothing is written"), CalvinWriter(tmp_path / "play"):
        pass
    calvin.write(tmp_path / "play")
    with pytest.raises(LaminarError, match="training exists already"):
        CalvinWriter(tmp_path / "play")


def test_a_killed_writer_leaves_nothing_that_reads(calvin: Any, tmp_path: Path) -> None:
    code = (
        "import os, sys, numpy as np\n"
        "from laminar.data.calvin.writer import CalvinWriter, WIDTHS\n"
        "writer = CalvinWriter(sys.argv[1])\n"
        "writer.add_episode({key: np.zeros((9, width)) for key, width in WIDTHS.items()})\n"
        "os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "play")], cwd=tmp_path)
    assert done.returncode == -9
    assert [path.name for path in (tmp_path / "play").iterdir()] == [".training.writing"]
    calvin.error_of(tmp_path / "play")
    calvin.write(tmp_path / "play")
    assert load_episodes(tmp_path / "play").num_episodes == 2
    assert [path.name for path in (tmp_path / "play").iterdir()] == ["training"]


def test_a_full_disk_while_writing(calvin: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = CalvinWriter(tmp_path / "play")

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(npz, "write", full)
    with pytest.raises(LaminarError, match=r"training: cannot be written \(No space left on device\); nothing is left"):
        writer.add_episode(calvin.vectors(5))
    assert list((tmp_path / "play").iterdir()) == []


@pytest.mark.parametrize(
    ("change", "annotation", "message"),
    [
        ({"scene_obs": None}, None, "'scene_obs' of episode 1 is missing, expected (T, 24)"),
        ({"robot_obs": np.zeros((5, 14))}, None, "'robot_obs' of episode 1 has shape (5, 14), expected (T, 15)"),
        ({"robot_obs": np.zeros((4, 15))}, None, "'robot_obs' of episode 1 has 4 rows, 'actions' 5"),
        ({"robot_obs": np.full((5, 15), np.nan)}, None, "'robot_obs' of episode 1 is not finite"),
        ({"rgb_static": np.zeros((5, 8, 8, 3), np.uint8)}, None, "episode 1 has {"),
        ({}, Annotation(0, 6, "open_drawer", "a"), "annotation 0 to 6 lies outside an episode of 5 frames"),
        ({}, Annotation(2, 2, "open_drawer", "a"), "annotation 2 to 2 lies outside"),
        ({}, Annotation(0, 4, "opendrawer", "a"), "unknown task 'opendrawer'; did you mean 'open_drawer'?"),
        ({}, Annotation(0, 4, "open_drawer", "?!"), "it has no words"),
    ],
)
def test_episodes_that_cannot_be_written(
    calvin: Any, tmp_path: Path, change: dict[str, Any], annotation: Annotation | None, message: str
) -> None:
    writer = CalvinWriter(tmp_path / "play")
    writer.add_episode(calvin.vectors(5))
    frames = {key: value for key, value in (calvin.vectors(5) | change).items() if value is not None}
    with pytest.raises(LaminarError) as caught:
        writer.add_episode(frames, [annotation] if annotation else [])
    assert message in str(caught.value)
    writer.add_episode(calvin.vectors(4, "D", 5))  # nothing of the bad one was written
    writer.close()
    assert load_episodes(tmp_path / "play").ends.tolist() == [4, 7]


def test_scenes_follow_each_other(calvin: Any, tmp_path: Path) -> None:
    with CalvinWriter(tmp_path / "play") as writer:
        for count, scene in ((5, "A"), (4, "A"), (6, "D")):
            writer.add_episode(calvin.vectors(count), [], scene)
        for scene, message in (("A", "more of scene A after others"), ("E", "scene 'E' is none of")):
            with pytest.raises(LaminarError, match=message):
                writer.add_episode(calvin.vectors(4), [], scene)
    episodes = load_episodes(tmp_path / "play")
    wanted = np.concatenate([calvin.vectors(count)["scene_obs"][:-1] for count in (5, 4, 6)])
    np.testing.assert_array_equal(episodes.observation["scene_obs"], wanted.astype("f"))
    assert episodes.spec.observation["scene_obs"].unit == "scenes AD"


@pytest.mark.parametrize("wrong", [{"split": "train"}, {"dtype": "float16"}, {"embedding": "bert"}])
def test_writers_that_make_no_sense(tmp_path: Path, wrong: dict[str, str]) -> None:
    with pytest.raises(LaminarError, match=next(iter(wrong.values()))):
        CalvinWriter(tmp_path / "play", **wrong)  # type: ignore[arg-type]
