"""Images of CALVIN's frames stay on disk, packed once."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from laminar.data.episodes import Episodes
from laminar.data.inspect import describe
from laminar.data.load import Selection, load_episodes
from laminar.data.on_disk import OnDisk


def test_images_stay_on_disk(calvin: Any, tmp_path: Path) -> None:
    folder, rows = calvin.image_split(tmp_path)
    assert "rgb_static" not in load_episodes(folder).observation
    assert not (folder / ".laminar").exists()
    selection = Selection(observation=("rgb_static", "robot_obs", "depth_static"))
    episodes = load_episodes(folder, selection)
    kept, final = [*range(9), *range(12, 21)], [9, 21]
    for key in ("rgb_static", "depth_static"):
        on_disk: Any = episodes.observation[key]
        assert isinstance(on_disk, OnDisk)
        assert isinstance(on_disk.sources[0], np.memmap)
        np.testing.assert_array_equal(on_disk, rows[key][kept])
        np.testing.assert_array_equal(episodes.final_observation[key], rows[key][final])
    assert episodes.spec.observation["rgb_static"].dtype == "uint8"
    windows = load_episodes(folder, Selection(observation=("rgb_static",), instruction="task"))
    numbers = [*range(4), *range(3, 9), *range(12, 20)]
    np.testing.assert_array_equal(windows.observation["rgb_static"], rows["rgb_static"][numbers])
    calvin.annotate(folder, [(15, 18)], ["open_drawer"], "lang_late")
    late = load_episodes(folder, Selection(observation=("rgb_static",), instruction="lang_late"))
    np.testing.assert_array_equal(late.observation["rgb_static"], rows["rgb_static"][15:18])
    np.testing.assert_array_equal(late.final_observation["rgb_static"], rows["rgb_static"][[18]])
    assert len(list((folder / ".laminar").glob("rgb_static-*"))) == 1  # one packed file serves all


def test_images_are_packed_once_and_again_when_they_change(calvin: Any, tmp_path: Path) -> None:
    folder, rows = calvin.image_split(tmp_path)
    selection = Selection(observation=("rgb_static",))
    load_episodes(folder, selection)
    (packed,) = (folder / ".laminar").iterdir()
    before = packed.stat().st_mtime_ns
    load_episodes(folder, selection)
    assert packed.stat().st_mtime_ns == before
    frame = {key: value[5] for key, value in rows.items()} | {"rgb_static": np.full((8, 8, 3), 7, np.uint8)}
    np.savez_compressed(folder / "episode_0000005.npz", **frame)
    again = load_episodes(folder, selection)
    assert (np.asarray(again.observation["rgb_static"][5]) == 7).all()
    size, frame["rgb_static"] = (folder / "episode_0000005.npz").stat().st_size, np.full((8, 8, 3), 8, np.uint8)
    np.savez_compressed(folder / "episode_0000005.npz", **frame)
    assert (folder / "episode_0000005.npz").stat().st_size == size  # only its time tells
    os.utime(folder / "episode_0000005.npz", ns=(1, 1))
    assert (np.asarray(load_episodes(folder, selection).observation["rgb_static"][5]) == 8).all()
    (other,) = (folder / ".laminar").iterdir()
    assert other.name != packed.name


def test_a_packed_file_that_was_copied_in_part_is_made_again(calvin: Any, tmp_path: Path) -> None:
    folder, rows = calvin.image_split(tmp_path)
    load_episodes(folder, Selection(observation=("rgb_static",)))
    (packed,) = (folder / ".laminar").iterdir()
    packed.write_bytes(packed.read_bytes()[:1000])
    again = load_episodes(folder, Selection(observation=("rgb_static",)))
    np.testing.assert_array_equal(again.observation["rgb_static"][3], rows["rgb_static"][3])


def test_a_read_only_folder_keeps_its_images_in_memory(
    calvin: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, rows = calvin.image_split(tmp_path)
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write anywhere
    episodes = load_episodes(folder, Selection(observation=("rgb_static",)))
    assert isinstance(episodes.observation["rgb_static"], np.ndarray)
    np.testing.assert_array_equal(episodes.observation["rgb_static"][:9], rows["rgb_static"][:9])
    assert any("read-only: 'rgb_static' cannot be packed" in remark for remark in episodes.remarks)
    assert not (folder / ".laminar").exists()


def test_a_full_disk_while_packing(calvin: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, _ = calvin.image_split(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: type("Usage", (), {"free": 100}))
    assert "packing 'rgb_static' takes 0.0 GB, 0.0 GB are free" in calvin.error_of(folder, observation=("rgb_static",))
    assert list((folder / ".laminar").iterdir()) == []


@pytest.mark.parametrize("value", [np.zeros((8, 9, 3), np.uint8), np.zeros((8, 8, 3), np.float32)])
def test_images_of_another_kind_are_refused(calvin: Any, tmp_path: Path, value: np.ndarray) -> None:
    folder, _ = calvin.image_split(tmp_path)
    frame = {key: rows[4] for key, rows in calvin.vectors(5).items()} | {"rgb_static": value}
    np.savez_compressed(folder / "episode_0000004.npz", **frame)
    message = calvin.error_of(folder, observation=("rgb_static",))
    assert "episode_0000004.npz: 'rgb_static' is" in message
    assert "expected uint8 of shape (8, 8, 3)" in message
    assert list((folder / ".laminar").iterdir()) == []


def test_images_on_disk_are_described_by_some(calvin: Any, tmp_path: Path) -> None:
    folder, rows = calvin.image_split(tmp_path)
    found = describe(load_episodes(folder, Selection(observation=("rgb_static",))))
    assert found["observation"]["rgb_static"]["dtype"] == "uint8"
    assert found["observation"]["rgb_static"]["max"] == [float(rows["rgb_static"].max())]


def test_describing_reads_few_images(calvin: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, _ = calvin.image_split(tmp_path)
    episodes = load_episodes(folder, Selection(observation=("rgb_static", "robot_obs")))
    rows: list[int] = []

    class Counted(OnDisk):
        def _read(self, rows_of_sources: np.ndarray) -> np.ndarray:
            rows.append(len(rows_of_sources))
            return super()._read(rows_of_sources)

        def __getitem__(self, index: Any) -> Any:
            return Counted(self.sources, self.rows[index])

    monkeypatch.setattr("laminar.data.inspect._IMAGES", 3)
    images: Any = episodes.observation["rgb_static"]
    episodes.observation["rgb_static"] = Counted(images.sources, images.rows)  # type: ignore[assignment]
    describe(episodes)
    assert rows
    assert max(rows) == 3


def test_selecting_and_joining_read_nothing(calvin: Any, tmp_path: Path) -> None:
    folder, rows = calvin.image_split(tmp_path)
    episodes = load_episodes(folder, Selection(observation=("rgb_static", "robot_obs")))
    both = Episodes.concatenate([episodes, episodes.select([1])])
    expected = rows["rgb_static"][[*range(9), *range(12, 21), *range(12, 21)]]
    assert isinstance(both.observation["rgb_static"], OnDisk)
    np.testing.assert_array_equal(both.observation["rgb_static"], expected)
    following = both.next_observation("rgb_static")
    np.testing.assert_array_equal(following[[0, 8, 26]], rows["rgb_static"][[1, 9, 21]])
