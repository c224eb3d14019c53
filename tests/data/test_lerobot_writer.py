"""LeRobotDataset v3.0 as it is written: read back by pyarrow and PyAV alone, and by the reader of the format."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from laminar.data.buffers import writer as zarr_writer
from laminar.data.config import ConvertConfig
from laminar.data.converting import convert
from laminar.data.episodes import Episodes
from laminar.data.formats import FORMATS
from laminar.data.lerobot import tables, writer
from laminar.data.lerobot.writer import Options, write
from laminar.data.load import load_episodes
from laminar.data.spec import Feature, Spec
from laminar.errors import LaminarError

from .smooth import smooth

pq: Any = pytest.importorskip("pyarrow.parquet")
av: Any = pytest.importorskip("av")

READERS = sorted(name for name in FORMATS.names() if name not in FORMATS.registered)
ENDS = np.array([7, 16, 20])
TASKS = ["pick it up", "put it down", "pick it up"]


def make(size: tuple[int, int] = (64, 96), **changes: Any) -> Episodes:
    """Return three episodes: terminated and good, cut off and good, terminated and bad."""
    rng, last = np.random.default_rng(0), np.isin(np.arange(20), ENDS - 1)
    terminated = last & (np.arange(20) != 15)
    seen = {"observation": rng.normal(size=(20, 3)).astype("f"), "grip": rng.normal(size=(20, 1)).astype("f")}
    features = {"observation": Feature((3,), names=("a", "b", "c")), "grip": Feature((1,))}
    features["hand/eye"] = Feature((*size, 3), "uint8")
    made = {
        "observation": seen | {"hand/eye": smooth(20, *size)},
        "action": rng.normal(size=(20, 2)).astype("f"),
        "reward": rng.normal(size=20).astype("f"),
        "terminated": terminated,
        "truncated": last & ~terminated,
        "ends": ENDS,
        "spec": Spec(features, Feature((2,), names=("x", "y")), rate_hz=10.0),
        "success": np.array([True, True, False]),
        "infos": {"goal": rng.normal(size=(20, 2)), "depth": np.zeros((20, 4, 4))},
        "tasks": np.array(TASKS),
    } | changes
    final = {key: value[:3] for key, value in made["observation"].items()}
    return Episodes(final_observation=final, **made)


def info(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "meta/info.json").read_text())


def column(folder: Path, name: str) -> np.ndarray:
    files = sorted((folder / "data").rglob("*.parquet"))
    return np.concatenate([np.array(pq.read_table(file, columns=[name])[name].to_pylist()) for file in files])


def frames(folder: Path, key: str) -> np.ndarray:
    """Return the frames of all rows, each found by the time that LeRobot would look for."""
    found: list[np.ndarray] = []
    for row in pq.read_table(folder / "meta/episodes/chunk-000/file-000.parquet").to_pylist():
        chunk, file = row[f"videos/{key}/chunk_index"], row[f"videos/{key}/file_index"]
        with av.open(str(folder / f"videos/{key}/chunk-{chunk:03d}/file-{file:03d}.mp4")) as film:
            shown = {round(frame.time, 6): frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)}
        begin = row[f"videos/{key}/from_timestamp"]
        found += [shown[round(begin + number / 10, 6)] for number in range(row["length"])]
        assert row[f"videos/{key}/to_timestamp"] == pytest.approx(begin + row["length"] / 10)
    return np.stack(found)


def decibels(one: np.ndarray, other: np.ndarray) -> float:
    errors = ((one.astype(np.float64) - other) ** 2).mean(axis=(1, 2, 3))
    return float(10 * np.log10(255**2 / max(errors.max(), 1e-9)))


def test_numbers_and_descriptions(tmp_path: Path) -> None:
    episodes = make()
    write(tmp_path / "out", episodes, Options())
    expected = {
        "observation.state": episodes.observation["observation"],
        "observation.grip": episodes.observation["grip"][:, 0],
        "action": episodes.action,
        "next.reward": episodes.reward,
        "next.done": episodes.terminated,
        "next.truncated": episodes.truncated,
        "next.success": np.isin(np.arange(20), (6, 15)),
        "info.goal": episodes.infos["goal"],
        "episode_index": episodes.episode_index,
        "frame_index": np.arange(20) - episodes.starts[episodes.episode_index],
        "index": np.arange(20),
        "task_index": np.array([0, 1, 0])[episodes.episode_index],
    }
    for name, value in expected.items():
        np.testing.assert_array_equal(column(tmp_path / "out", name), value, err_msg=name)
    np.testing.assert_allclose(column(tmp_path / "out", "timestamp"), expected["frame_index"] / 10, rtol=1e-6)
    about = info(tmp_path / "out")
    assert (about["codebase_version"], about["fps"], about["total_frames"], about["total_tasks"]) == ("v3.0", 10, 20, 2)
    assert about["features"]["observation.state"] == {"dtype": "float32", "shape": [3], "names": ["a", "b", "c"]}
    assert about["features"]["action"]["names"] == ["x", "y"]
    assert about["features"]["observation.images.hand.eye"]["dtype"] == "video"
    assert set(about["features"]) == {*expected, "timestamp", "observation.images.hand.eye"}
    rows = pq.read_table(tmp_path / "out/meta/episodes/chunk-000/file-000.parquet").to_pylist()
    assert [row["length"] for row in rows] == [7, 9, 4]
    assert [(row["dataset_from_index"], row["dataset_to_index"]) for row in rows] == [(0, 7), (7, 16), (16, 20)]
    assert [row["tasks"] for row in rows] == [[task] for task in TASKS]


def test_tasks_are_the_index_that_pandas_would_restore(tmp_path: Path) -> None:
    write(tmp_path / "out", make(), Options())
    table = pq.read_table(tmp_path / "out/meta/tasks.parquet")
    assert json.loads(table.schema.metadata[b"pandas"])["index_columns"] == ["task"]
    assert table.to_pydict() == {"task_index": [0, 1], "task": ["pick it up", "put it down"]}


def test_statistics(tmp_path: Path) -> None:
    episodes = make()
    write(tmp_path / "out", episodes, Options())
    stats = json.loads((tmp_path / "out/meta/stats.json").read_text())
    assert set(stats) == set(info(tmp_path / "out")["features"])
    action = stats["action"]
    np.testing.assert_allclose(action["q10"], np.quantile(episodes.action, 0.1, axis=0), rtol=1e-5)
    np.testing.assert_allclose(action["std"], episodes.action.std(axis=0), rtol=1e-5)
    assert action["count"] == [20]
    mean = episodes.observation["hand/eye"].mean(axis=(0, 1, 2)) / 255
    found = np.array(stats["observation.images.hand.eye"]["mean"])
    assert found.shape == (3, 1, 1)
    np.testing.assert_allclose(found[:, 0, 0], mean, atol=1e-6)
    row = pq.read_table(tmp_path / "out/meta/episodes/chunk-000/file-000.parquet").to_pylist()[1]
    np.testing.assert_allclose(row["stats/action/max"], episodes.action[7:16].max(axis=0))


@pytest.mark.parametrize(
    ("codec", "size"), [("av1", (64, 96)), ("h264", (64, 96)), ("av1", (33, 47)), ("h264", (33, 47))]
)
def test_frames_of_video(codec: str, size: tuple[int, int], tmp_path: Path) -> None:
    episodes = make(size)
    remarks = write(tmp_path / "out", episodes, Options(codec=codec))
    found = frames(tmp_path / "out", "observation.images.hand.eye")
    assert decibels(found, episodes.observation["hand/eye"]) >= 35
    assert not [remark for remark in remarks if "dB" in remark]
    assert info(tmp_path / "out")["features"]["observation.images.hand.eye"]["info"]["video.codec"] == codec


def test_pictures_in_tables_are_exact(tmp_path: Path) -> None:
    episodes = make()
    write(tmp_path / "out", episodes, Options(video=False))
    kept = column(tmp_path / "out", "observation.images.hand.eye")
    found = np.stack([np.asarray(Image.open(io.BytesIO(one["bytes"]))) for one in kept])
    np.testing.assert_array_equal(found, episodes.observation["hand/eye"])
    assert not (tmp_path / "out/videos").exists()
    assert info(tmp_path / "out")["video_path"] is None


def test_many_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Times in a film begin anew with its file; chunks of two files."""
    monkeypatch.setattr(tables, "SIZE_MB", 0)
    monkeypatch.setattr(tables, "CHUNK", 2)
    monkeypatch.setattr(writer, "_VIDEO_MB", 0)
    episodes = make()
    write(tmp_path / "out", episodes, Options())
    names = sorted(str(path.relative_to(tmp_path / "out/data")) for path in (tmp_path / "out/data").rglob("*.parquet"))
    assert names == ["chunk-000/file-000.parquet", "chunk-000/file-001.parquet", "chunk-001/file-000.parquet"]
    np.testing.assert_array_equal(column(tmp_path / "out", "action"), episodes.action)
    rows = pq.read_table(tmp_path / "out/meta/episodes/chunk-000/file-000.parquet").to_pylist()
    assert [(row["data/chunk_index"], row["data/file_index"]) for row in rows] == [(0, 0), (0, 1), (1, 0)]
    assert decibels(frames(tmp_path / "out", "observation.images.hand.eye"), episodes.observation["hand/eye"]) >= 35


def test_what_is_lost_is_told(tmp_path: Path) -> None:
    spec = replace(make().spec, action_low=(-5.0, -5.0), action_high=(5.0, 5.0))
    rng = np.random.default_rng(0)
    noise = make().observation | {"hand/eye": rng.integers(0, 256, (20, 64, 96, 3), np.uint8)}
    remarks = "\n".join(write(tmp_path / "out", make(spec=spec, observation=noise, tasks=None), Options()))
    assert "the final observations are not written" in remarks
    assert "a reader gives up the last step of the 1 episodes that were cut off" in remarks
    assert "limits of the actions are not written" in remarks
    assert "left out: infos 'depth', float64 (4, 4) a step" in remarks
    assert "nobody tells the task in words: it is empty" in remarks
    assert "dB of its pictures; video=false keeps them exactly" in remarks


def test_what_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def error_of(episodes: Episodes) -> str:
        with pytest.raises(LaminarError) as caught:
            write(tmp_path / "out", episodes, Options())
        assert list(tmp_path.iterdir()) == []
        return str(caught.value)

    episodes = make()
    assert "which LeRobot needs; give rate_hz=HZ" in error_of(make(spec=replace(episodes.spec, rate_hz=None)))
    depth = Spec({"depth": Feature((4, 4))}, Feature((2,)), rate_hz=10.0)
    seen = {"depth": np.zeros((20, 4, 4), "f")}
    assert "'observation.images.depth' is float32 (4, 4) a step" in error_of(make(spec=depth, observation=seen))
    twice = Spec({"a/b": Feature((1,)), "a.b": Feature((1,))}, Feature((2,)), rate_hz=10.0)
    both = dict.fromkeys(twice.observation, np.zeros((20, 1), "f"))
    assert "two columns would be called 'observation.a.b'" in error_of(make(spec=twice, observation=both))
    monkeypatch.setattr(writer, "find_spec", lambda _: None)
    assert "needs pyarrow and av: pip install 'laminar[lerobot]'" in error_of(episodes)


# --- by the reader ------------------------------------------------------------------------------------------------


def spelt(key: str, value: np.ndarray) -> str:
    """Return LeRobot's name of an observation."""
    plain = key.replace("/", ".")
    if plain.startswith("observation."):
        return plain
    if value.ndim > 2:
        return f"observation.images.{plain}"
    return "observation.state" if plain == "observation" else f"observation.{plain}"


@pytest.mark.skipif("lerobot" not in READERS, reason="no reader of LeRobot's data sets")
@pytest.mark.parametrize("reader", READERS)
def test_every_format_reads_back_equal(samples: Any, reader: str, tmp_path: Path) -> None:
    source, out = samples.SAMPLES[reader].write(tmp_path / "in"), tmp_path / "out"
    episodes = load_episodes(source)
    episodes = replace(episodes, spec=replace(episodes.spec, rate_hz=episodes.spec.rate_hz or 10.0))
    write(out, episodes, Options(video=False))
    assert_same(load_episodes(out), episodes)


@pytest.mark.skipif("lerobot" not in READERS, reason="no reader of LeRobot's data sets")
@pytest.mark.parametrize("rewards", [True, False])
def test_all_that_lerobot_has_reads_back_equal(rewards: bool, tmp_path: Path) -> None:
    episodes = make() if rewards else make(has_reward=False, reward=np.zeros(20, "f"))
    write(tmp_path / "out", episodes, Options(video=False))
    assert_same(load_episodes(tmp_path / "out"), episodes)


def assert_same(found: Episodes, expected: Episodes) -> None:
    kept = np.ones(len(expected), bool)
    if expected.has_reward:  # nobody knows what a cut off episode would have come to without its final observation
        kept[expected.truncated.nonzero()[0]] = False
    assert found.spec.rate_hz == expected.spec.rate_hz
    assert found.spec.action.names == expected.spec.action.names
    assert found.has_reward == expected.has_reward
    np.testing.assert_array_equal(found.action, expected.action[kept])
    np.testing.assert_array_equal(found.reward, expected.reward[kept])
    np.testing.assert_array_equal(found.episode_index, expected.episode_index[kept])
    np.testing.assert_array_equal(found.terminated, expected.terminated[kept])
    for key, value in expected.observation.items():
        np.testing.assert_array_equal(found.observation[spelt(key, value)], np.asarray(value)[kept], err_msg=key)
        assert found.spec.observation[spelt(key, value)].names == expected.spec.observation[key].names
    for name in ("success", "tasks"):
        one, other = getattr(found, name), getattr(expected, name)
        assert (one is None) == (other is None), name
        assert one is None or one.tolist() == other.tolist()


@pytest.mark.skipif("lerobot" not in READERS, reason="no reader of LeRobot's data sets")
def test_what_is_written_again_has_the_same_columns(tmp_path: Path) -> None:
    """Steady times and numbers of tasks are LeRobot's own columns; infos are called as before."""
    write(tmp_path / "first", make(), Options(video=False))
    found = load_episodes(tmp_path / "first")
    assert set(found.infos) == {"goal", "timestamp", "task_index"}
    write(tmp_path / "second", found, Options(video=False))
    assert info(tmp_path / "second")["features"] == info(tmp_path / "first")["features"]


def test_the_settings(tmp_path: Path) -> None:
    zarr_writer.write(tmp_path / "in.zarr", make(tasks=None, spec=replace(make().spec, rate_hz=None)))
    config = ConvertConfig(format="lerobot", task="wipe", rate_hz=12.5, video_codec="h264")
    told = convert(tmp_path / "in.zarr", tmp_path / "out", config)
    assert told.startswith(f"3 episodes, 20 steps in {tmp_path / 'out'}")
    assert info(tmp_path / "out")["fps"] == 12.5
    assert pq.read_table(tmp_path / "out/meta/tasks.parquet")["task"].to_pylist() == ["wipe"]
