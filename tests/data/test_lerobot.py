"""LeRobotDataset v2.0, v2.1 and v3.0: numbers, frames, tasks and ends, from real sets and from small ones made here."""

from __future__ import annotations

import shutil
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from laminar.data.episodes import Episodes
from laminar.data.instructions import TASKS
from laminar.data.language import hashed_embedding
from laminar.data.load import load_episodes
from laminar.data.selection import Selection
from laminar.errors import LaminarError

pytest.importorskip("pyarrow")
pytest.importorskip("av")

REAL = Path(__file__).with_name("lerobot")
CAMERA = "observation.images.top"
STREAM, PACK = Selection(video="stream"), Selection(video="cache")


@pytest.fixture(scope="session")
def sets(samples: Any) -> ModuleType:
    return samples.lerobot_sets()


@pytest.fixture(scope="session")
def recorded() -> ModuleType:
    """Return `lerobot/record.py`, which tells what is in the sets that lerobot itself wrote."""
    spec = spec_from_file_location("record", REAL / "record.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["record"] = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def psnr(found: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """(N,) decibels of each of two series of frames."""
    error = ((found.astype(float) - wanted.astype(float)) ** 2).mean(axis=(1, 2, 3))
    return 10 * np.log10(255**2 / np.maximum(error, 1e-9))


def check_frames(sets: ModuleType, episodes: Episodes, least: float = 35.0, key: str = CAMERA) -> None:
    """Every row has its own picture: neighbors differ by far more."""
    found = np.asarray(episodes.observation[key])
    wanted = np.stack([sets.picture(row) for row in range(len(found))])
    assert psnr(found, wanted).min() >= least
    assert psnr(wanted[1:], wanted[:-1]).max() < 25


def remarks_of(path: Path, selection: Selection = STREAM) -> str:
    return "\n".join(load_episodes(path, selection).remarks)


# --- what lerobot itself wrote -----------------------------------------------------------------------------------


@pytest.mark.parametrize("video", ["stream", "cache"])
@pytest.mark.parametrize("name", ["v2.1", "v3.0", "v3.0-image"])
def test_sets_of_the_real_package(recorded: ModuleType, name: str, video: str, tmp_path: Path) -> None:
    path = shutil.copytree(REAL / name, tmp_path / name)
    episodes = load_episodes(path, Selection(video=video, instruction="hashed"))
    rows = [(episode, frame) for episode, length in enumerate(recorded.LENGTHS) for frame in range(length)]
    assert episodes.lengths.tolist() == list(recorded.LENGTHS)
    np.testing.assert_array_equal(episodes.observation["observation.state"], [recorded.state(*row) for row in rows])
    np.testing.assert_array_equal(episodes.action, [recorded.action(*row) for row in rows])
    words = [recorded.TASKS[episode] for episode, _ in rows]
    np.testing.assert_array_equal(episodes.observation["instruction"], [hashed_embedding(task) for task in words])
    for camera in recorded.CAMERAS:
        found = np.asarray(episodes.observation[f"observation.images.{camera}"])
        wanted = np.stack([recorded.picture(*row, camera) for row in rows])
        assert psnr(found, wanted).min() >= 35
        assert psnr(wanted[1:], wanted[:-1]).max() < 25
    assert episodes.spec.rate_hz == recorded.FPS
    assert episodes.spec.action.names == episodes.spec.observation["observation.state"].names == recorded.JOINTS
    assert not [remark for remark in episodes.remarks if remark.startswith("not read")]


# --- layouts -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pictures", ["video", "image", None])
@pytest.mark.parametrize("version", ["v2.0", "v2.1", "v3.0"])
def test_every_version(sets: ModuleType, version: str, pictures: str | None, tmp_path: Path) -> None:
    made = sets.Made(version, pictures, lengths=(5, 7, 4))
    episodes = load_episodes(sets.write(tmp_path / "a", made))
    rows = sets.rows_of(made)
    assert episodes.ends.tolist() == [5, 12, 16]
    np.testing.assert_array_equal(episodes.observation["observation.state"], rows["observation.state"])
    np.testing.assert_array_equal(episodes.action, rows["action"])
    assert episodes.spec.observation["observation.state"].names == ("a", "b", "c")
    assert episodes.spec.action.names == ("a", "b")  # {"motors": […]}
    assert not episodes.has_reward
    assert episodes.success is None
    assert not episodes.terminated.any()
    if pictures:
        check_frames(sets, episodes)


def test_several_files_of_everything(sets: ModuleType, tmp_path: Path) -> None:
    """Reading only the first file of meta/episodes loses most of a large set; times are those within a film."""
    made = sets.Made(lengths=(5, 7, 4, 6, 3), together=2)
    path = sets.write(tmp_path / "a", made)
    assert len(list(path.glob("meta/episodes/*/*.parquet"))) == 3
    for selection in (STREAM, PACK):
        episodes = load_episodes(path, selection)
        assert episodes.ends.tolist() == [5, 12, 16, 22, 25]
        check_frames(sets, episodes)
    np.testing.assert_array_equal(episodes.infos["task_index"], sets.rows_of(made)["task_index"])


def test_more_than_a_thousand_files_keep_their_order(sets: ModuleType, tmp_path: Path) -> None:
    path = sets.write(tmp_path / "a", sets.Made(pictures=None, lengths=(5, 7), together=1))
    for kind in ("data", "meta/episodes"):
        for number, name in ((0, "file-999"), (1, "file-1000")):
            (path / kind / f"chunk-000/file-{number:03d}.parquet").rename(path / kind / f"chunk-000/{name}.parquet")
    for number, name in ((999, "file-999"), (1000, "file-1000")):
        sets.rewrite(path / f"meta/episodes/chunk-000/{name}.parquet", **{"data/file_index": np.array([number])})
    assert load_episodes(path).ends.tolist() == [5, 12]


def test_indices_of_rows_in_meta_decide_nothing(sets: ModuleType, tmp_path: Path) -> None:
    """Converters scrambled them, and left boundary episodes pointing to the file before their own."""
    path = sets.write(tmp_path / "a", sets.Made(lengths=(5, 7, 4), together=2))
    sets.rewrite(
        path / "meta/episodes/chunk-000/file-000.parquet",
        dataset_from_index=np.array([3, 0]),
        dataset_to_index=np.array([12, 3]),
    )
    sets.rewrite(path / "meta/episodes/chunk-000/file-001.parquet", **{"data/file_index": np.array([0])})
    episodes = load_episodes(path, STREAM)
    assert episodes.ends.tolist() == [5, 12, 16]
    check_frames(sets, episodes)
    assert "'dataset_from_index' is wrong for 2 episodes" in "\n".join(episodes.remarks)


def test_timestamps_choose_no_frame(sets: ModuleType, tmp_path: Path) -> None:
    """Neither jitter, nor float32 after hours, nor a jump back where an episode ends."""
    path = sets.write(tmp_path / "a")
    late = (np.arange(12) * 0.1 + 36000).astype("f")
    sets.rewrite(path / "data/chunk-000/file-000.parquet", timestamp=late)
    episodes = load_episodes(path, STREAM)
    check_frames(sets, episodes)
    assert "frame_index / fps counts" in "\n".join(episodes.remarks)
    assert "frame_index / fps" not in remarks_of(sets.write(tmp_path / "b"))  # over an end times go back, rightly


def test_frames_far_apart_in_a_film_without_many_key_frames(sets: ModuleType, tmp_path: Path) -> None:
    """Frames that are stored in another order than shown (B-frames), asked for in any order, some of them twice."""
    made = sets.Made(lengths=(40, 60), gop=25)
    images: Any = load_episodes(sets.write(tmp_path / "a", made), STREAM).observation[CAMERA]
    rows = np.random.default_rng(0).integers(0, 100, 150)
    assert psnr(images.read(rows), np.stack([sets.picture(row) for row in rows])).min() >= 35
    assert images.read(rows.reshape(50, 3)).shape == (50, 3, 32, 48, 3)
    backwards = np.asarray(images[::-1])
    assert psnr(backwards, np.stack([sets.picture(row) for row in range(99, -1, -1)])).min() >= 35


def test_av1_is_read(sets: ModuleType, tmp_path: Path) -> None:
    path = sets.write(tmp_path / "a", sets.Made(codec="libsvtav1", gop=2, size=(64, 96)))
    found = np.asarray(load_episodes(path, STREAM).observation[CAMERA])
    assert psnr(found, np.stack([sets.picture(row, (64, 96)) for row in range(12)])).min() >= 35


@pytest.mark.parametrize(
    ("shape", "names"),
    [
        ([3, 32, 48], ["channels", "height", "width"]),
        ([3, 32, 48], ["channel", "height", "width"]),
        ([3, 32, 48], None),
        ([32, 48, 3], None),
        ([32, 48, 3], ["height", "width", "channel"]),
    ],
)
def test_the_order_of_axes(sets: ModuleType, shape: list[int], names: Any, tmp_path: Path) -> None:
    path = sets.write(tmp_path / "a", sets.Made(feature={"shape": shape, "names": names}))
    episodes = load_episodes(path, STREAM)
    assert episodes.spec.observation[CAMERA].shape == (32, 48, 3)
    check_frames(sets, episodes)


@pytest.mark.parametrize(
    "feature",
    [
        {"info": {"video.is_depth_map": True}},
        {"info": {"is_depth_map": True}},
        {"video_info": {"video.is_depth_map": True}},
        {"shape": [32, 48, 1]},
    ],
)
def test_depth_and_gray_are_left_out(sets: ModuleType, feature: Any, tmp_path: Path) -> None:
    """Flags of depth have been in three places."""
    path = sets.write(tmp_path / "a", sets.Made(feature=feature))
    episodes = load_episodes(path)
    assert list(episodes.observation) == ["observation.state"]
    assert f"not read: '{CAMERA}'" in "\n".join(episodes.remarks)
    with pytest.raises(LaminarError, match=rf"data.observation names '{CAMERA}', which .*; leave it out"):
        load_episodes(path, Selection(observation=(CAMERA,)))


def test_jpeg_and_gray_pictures_in_parquet_become_color(sets: ModuleType, tmp_path: Path) -> None:
    import pyarrow as pa

    path = sets.write(tmp_path / "a", sets.Made(pictures="image"))
    frames = [sets.encoded(sets.picture(row), "JPEG") for row in range(11)] + [sets.encoded(sets.picture(11)[:, :, 0])]
    stored = pa.array([{"bytes": one, "path": ""} for one in frames])
    sets.rewrite(path / "data/chunk-000/file-000.parquet", **{CAMERA: stored})
    found = np.asarray(load_episodes(path, STREAM).observation[CAMERA])
    assert psnr(found[:11], np.stack([sets.picture(row) for row in range(11)])).min() > 28
    np.testing.assert_array_equal(found[11], np.repeat(sets.picture(11)[:, :, :1], 3, axis=2))


# --- what else is in a set ---------------------------------------------------------------------------------------


def outcomes(**columns: Any) -> dict[str, Any]:
    """Return columns of 12 rows by names with "_" in place of the first "."."""
    return {name.replace("next_", "next."): value for name, value in columns.items()}


def test_rewards_done_and_success(sets: ModuleType, tmp_path: Path) -> None:
    """A truncated episode gives up its last row, whose observation is the final one; a terminated one keeps it."""
    last = np.isin(np.arange(12), (4, 11))
    columns = outcomes(next_reward=np.arange(12.0).astype("f"), next_done=last, next_success=np.arange(12) == 4)
    episodes = load_episodes(sets.write(tmp_path / "a", sets.Made(columns=columns)), STREAM)
    assert episodes.has_reward
    assert episodes.success is not None
    assert episodes.success.tolist() == [True, False]
    assert episodes.lengths.tolist() == [5, 6]
    assert episodes.terminated.nonzero()[0].tolist() == [4]
    assert episodes.reward.tolist() == list(range(11))
    assert (
        psnr(np.asarray(episodes.final_observation[CAMERA]), np.stack([sets.picture(4), sets.picture(11)])).min() > 35
    )
    plain = sets.write(
        tmp_path / "b", sets.Made(pictures=None, columns={"reward": columns["next.reward"], "done": last})
    )
    assert load_episodes(plain).terminated.nonzero()[0].tolist() == [4, 11]
    assert "counts as the end of the task" in remarks_of(plain, Selection())


def test_done_within_an_episode_is_a_contradiction(sets: ModuleType, tmp_path: Path) -> None:
    made = sets.Made(pictures=None, columns={"next.done": np.arange(12) == 2})
    with pytest.raises(LaminarError, match=r"'next.done' is set in row 2, but 'episode_index' goes on"):
        load_episodes(sets.write(tmp_path / "a", made))


def test_further_columns(sets: ModuleType, tmp_path: Path) -> None:
    """Of any number type; a matrix in a row, a scalar; what is not seen is kept in infos."""
    columns = {
        "observation.pose": np.arange(12 * 4, dtype=np.float64).reshape(12, 4),
        "observation.contact": np.arange(12) % 2 == 0,
        "observation.count": np.arange(12, dtype=np.int64),
        "action.raw": np.ones((12, 2), np.float32),
        "gain": np.linspace(0, 1, 12, dtype=np.float32),
    }
    path = sets.write(tmp_path / "a", sets.Made(pictures=None, columns=columns))
    info = sets.info_of(path)["features"]
    info["observation.pose"]["shape"] = [2, 2]
    info["note"] = {"dtype": "string", "shape": [1], "names": None}
    sets.change_info(path, features=info)
    sets.rewrite(path / "data/chunk-000/file-000.parquet", note=["left"] * 12)
    episodes = load_episodes(path)
    assert {key: value.shape[1:] for key, value in episodes.observation.items()} == {
        "observation.state": (3,),
        "observation.pose": (2, 2),
        "observation.contact": (1,),
        "observation.count": (1,),
    }
    np.testing.assert_array_equal(episodes.observation["observation.pose"].reshape(12, 4), columns["observation.pose"])
    assert {"gain", "action.raw", "timestamp", "task_index"} <= episodes.infos.keys()
    assert "not read, features: note" in "\n".join(episodes.remarks)
    chosen = load_episodes(path, Selection(observation=("observation.count",)))
    assert list(chosen.observation) == ["observation.count"]
    with pytest.raises(LaminarError, match=r"did you mean 'observation.count'"):
        load_episodes(path, Selection(observation=("observation.cuont",)))


# --- tasks -------------------------------------------------------------------------------------------------------


def test_tasks_become_instructions(sets: ModuleType, tmp_path: Path) -> None:
    path = sets.write(tmp_path / "a", sets.Made(pictures=None))
    assert "tasks: 'push the cube', 'lift the cube'; data.instruction=task or hashed" in remarks_of(path, Selection())
    one_hot = load_episodes(path, Selection(instruction="task"))
    np.testing.assert_array_equal(one_hot.observation["instruction"], np.repeat(np.eye(2), [5, 7], axis=0))
    feature = one_hot.spec.observation["instruction"]
    assert feature.names == sets.TASKS
    hashed = load_episodes(path, Selection(instruction="hashed", observation=("instruction",)))
    np.testing.assert_array_equal(hashed.observation["instruction"][5], hashed_embedding("lift the cube"))
    assert hashed.spec.observation["instruction"].unit == "hashed"
    other = sets.write(tmp_path / "b", sets.Made(pictures=None))
    sets.table(other / "meta/tasks.parquet", {"task_index": np.arange(2), "task": ["push the cube", "turn the cube"]})
    with pytest.raises(LaminarError, match="'instruction' is 'task of 2"):  # as wide, but of other tasks
        load_episodes([path, other], Selection(instruction="task"))


def test_tasks_of_the_playroom_keep_their_order(sets: ModuleType, tmp_path: Path) -> None:
    path = sets.write(tmp_path / "a", sets.Made("v2.1", None))
    lines = '{"task_index": 0, "task": "open_drawer"}\n{"task_index": 1, "task": "close_drawer"}\n'
    (path / "meta/tasks.jsonl").write_text(lines)
    episodes = load_episodes(path, Selection(instruction="task"))
    assert episodes.spec.observation["instruction"].unit == "task"
    assert episodes.observation["instruction"].shape == (12, 34)
    assert episodes.observation["instruction"][5].argmax() == TASKS.index("close_drawer")


@pytest.mark.parametrize(
    ("selection", "message"),
    [
        (Selection(instruction="lang_annotations"), "data.instruction=lang_annotations is none of task, hashed"),
        (Selection(observation=("instruction",)), "choose one, data.instruction=task"),
        (Selection(action="actions"), "data.action=actions chooses from CALVIN data"),
    ],
)
def test_choices_that_are_none(sets: ModuleType, selection: Selection, message: str, tmp_path: Path) -> None:
    with pytest.raises(LaminarError, match=message):
        load_episodes(sets.write(tmp_path / "a", sets.Made(pictures=None)), selection)
