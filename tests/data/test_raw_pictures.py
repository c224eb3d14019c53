"""Pictures that HDF5 files keep pixel by pixel stay on disk: robomimic's, MimicGen's and those of replay buffers."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from laminar.cli import main
from laminar.data.load import load_episodes
from laminar.data.on_disk import OnDisk
from laminar.data.selection import Selection
from laminar.errors import LaminarError

LENGTHS = (20, 12, 30)


def pictures(count: int, seed: int = 0, size: int = 12) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, size, size, 3), np.uint8)


def mimicgen(path: Path, size: int = 12, compression: str | None = None, **changes: Any) -> Path:
    """Write three demonstrations as MimicGen does: no rewards, no dones, its own notes beside them.

    Args:
        path: the file.
        size: pixels of a side.
        compression: of the pictures.
        changes: arrays of the second demonstration, by their names with `__` for a slash.
    """
    rng = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        for number, count in enumerate(LENGTHS):
            demo = file.create_group(f"data/demo_{number}")
            demo.attrs["num_samples"] = count
            arrays = {
                "actions": rng.uniform(-1, 1, (count, 7)),
                "obs/robot0_eef_pos": rng.normal(size=(count, 3)),
                "obs/agentview_image": pictures(count, number, size),
                "obs/robot0_eye_in_hand_image": pictures(count, 10 + number, size),
                "obs/agentview_depth": rng.uniform(size=(count, 4, 4, 1)).astype("f"),
                "states": rng.normal(size=(count, 45)),
                "datagen_info/eef_pose": rng.normal(size=(count, 4, 4)),
                "datagen_info/subtask_term_signals/grasp": np.zeros(count, int),
                "src_demo_inds": np.arange(2),
                "src_demo_labels": np.zeros((count, 1), int),
            } | ({key.replace("__", "/"): value for key, value in changes.items()} if number == 1 else {})
            for key, value in arrays.items():
                demo.create_dataset(key, data=value, compression=compression if value.ndim == 4 else None)
        file["mask/train"] = np.array([b"demo_0", b"demo_2"])
    return path


def error_of(path: Path) -> str:
    with pytest.raises(LaminarError) as caught:
        load_episodes(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("compression", [None, "gzip"])
def test_pictures_stay_on_disk(compression: str | None, tmp_path: Path) -> None:
    episodes = load_episodes(mimicgen(tmp_path / "a.hdf5", compression=compression))
    assert episodes.lengths.tolist() == list(LENGTHS)
    assert not episodes.has_reward
    assert list(episodes.observation) == [
        "agentview_depth",
        "agentview_image",
        "robot0_eef_pos",
        "robot0_eye_in_hand_image",
    ]
    for first, key in ((0, "agentview_image"), (10, "robot0_eye_in_hand_image")):
        value: Any = episodes.observation[key]
        assert isinstance(value, OnDisk)
        expected = np.concatenate([pictures(count, first + number) for number, count in enumerate(LENGTHS)])
        np.testing.assert_array_equal(value, expected)
        np.testing.assert_array_equal(episodes.final_observation[key], expected[episodes.ends - 1])
    assert episodes.observation["agentview_depth"].dtype == np.float32
    assert any("datagen_info/" in remark for remark in episodes.remarks if remark.startswith("not read"))


def test_memory_holds_a_block_of_them_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("laminar.data.pictures._BLOCK", 4 * 128 * 128 * 3)
    path = mimicgen(tmp_path / "a.hdf5", size=128)
    size = sum(LENGTHS) * 128 * 128 * 3
    for _ in range(2):  # packing them, and finding them packed
        tracemalloc.start()
        load_episodes(path)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < size / 4


def test_a_choice_of_demonstrations_is_packed_for_itself(tmp_path: Path) -> None:
    path = mimicgen(tmp_path / "a.hdf5")
    chosen = load_episodes(path, Selection(filter="train"))
    assert chosen.lengths.tolist() == [20, 30]
    np.testing.assert_array_equal(
        chosen.observation["agentview_image"], np.concatenate([pictures(20, 0), pictures(30, 2)])
    )
    load_episodes(path)
    names = {file.name for file in (tmp_path / ".laminar").iterdir()}
    load_episodes(path, Selection(filter="train"))
    assert {file.name for file in (tmp_path / ".laminar").iterdir()} == names


def test_next_pictures_give_the_final_ones(tmp_path: Path) -> None:
    path = mimicgen(tmp_path / "a.hdf5")
    with h5py.File(path, "a") as file:
        for demo in file["data"].values():
            for key in list(demo["obs"]):
                seen = demo[f"obs/{key}"][()]
                demo[f"next_obs/{key}"] = np.concatenate([seen[1:], seen[:1] // 2 if "image" in key else seen[:1]])
    episodes = load_episodes(path)
    first = np.stack([pictures(count, number)[0] for number, count in enumerate(LENGTHS)])
    np.testing.assert_array_equal(episodes.final_observation["agentview_image"], first // 2)
    with h5py.File(path, "a") as file:
        file["data/demo_1/next_obs/agentview_image"][0] = 0
    message = error_of(path)
    assert "'/data/demo_1/next_obs/agentview_image' is not what the next row of 'obs' begins with" in message


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"obs__agentview_image": pictures(11)}, "demo_1/obs/agentview_image' has 11 rows but"),
        ({"obs__agentview_image": pictures(13)}, "demo_1/obs/agentview_image' has 13 rows but"),
        ({"obs__agentview_image": pictures(12, size=10)}, "demo_1/obs/agentview_image' has shape (10, 10, 3), in the"),
        ({"obs__agentview_image": np.zeros((12, 5))}, "demo_1/obs/agentview_image' has shape"),
    ],
)
def test_pictures_that_do_not_fit(changes: dict[str, Any], told: str, tmp_path: Path) -> None:
    assert told in error_of(mimicgen(tmp_path / "a.hdf5", **changes))


def test_padding_is_not_packed(tmp_path: Path) -> None:
    path = mimicgen(tmp_path / "a.hdf5")
    with h5py.File(path, "a") as file:
        demo = file["data/demo_1"]
        for key in ("actions", "states", *(f"obs/{name}" for name in demo["obs"])):
            value = demo[key][()]
            del demo[key]
            demo[key] = np.concatenate([value, np.zeros_like(value[:5])])
    episodes = load_episodes(path)
    assert episodes.lengths.tolist() == list(LENGTHS)
    np.testing.assert_array_equal(episodes.observation["agentview_image"][20:32], pictures(12, 1))


def test_damaged_pictures(tmp_path: Path) -> None:
    path = mimicgen(tmp_path / "a.hdf5", compression="gzip")
    with h5py.File(path) as file:
        chunk = file["data/demo_1/obs/agentview_image"].id.get_chunk_info(0)
    content = bytearray(path.read_bytes())
    content[chunk.byte_offset : chunk.byte_offset + chunk.size] = bytes(chunk.size)
    path.write_bytes(bytes(content))
    assert "'/data/demo_1/obs/agentview_image' cannot be read, the file is damaged" in error_of(path)
    assert not list((tmp_path / ".laminar").glob("*agentview_image*"))


def test_a_replay_buffer_in_hdf5(tmp_path: Path) -> None:
    """As published for PushT: floating point of 0 to 255."""
    with h5py.File(tmp_path / "pusht.hdf5", "w") as file:
        file["data/img"] = pictures(20, size=16).astype("f")
        file["data/action"] = np.zeros((20, 2), "f")
        file["meta/episode_ends"] = np.array([8, 20])
    episodes = load_episodes(tmp_path / "pusht.hdf5")
    assert isinstance(episodes.observation["observation"], OnDisk)
    np.testing.assert_array_equal(episodes.observation["observation"], pictures(20, size=16))


@pytest.mark.slow
def test_a_policy_learns_from_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = mimicgen(tmp_path / "a.hdf5", size=32)
    words = [f"data.path={path}", "network.width=8", "data.observation=[agentview_image,robot0_eef_pos]", "steps=2"]
    assert main(["train", "method=bc", *words, f"out={tmp_path / 'run'}", "method.batch_size=4"]) == 0
    assert main(["train", "method=dql", *words, f"out={tmp_path / 'other'}"]) == 2
    assert "no rewards" in capsys.readouterr().err
