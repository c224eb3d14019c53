"""Zarr replay buffers: both versions, folder and archive, pictures of every kind, and what may be wrong with them."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from laminar.data.load import load_episodes
from laminar.data.on_disk import OnDisk
from laminar.errors import LaminarError

zarr: Any = pytest.importorskip("zarr")
VERSIONS = [2, 3] if int(zarr.__version__.split(".")[0]) >= 3 else [2]
Arrays = dict[str, np.ndarray]


def arrays(**changes: Any) -> Arrays:
    rng = np.random.default_rng(0)
    made = {
        "data/state": rng.normal(size=(12, 3)),  # float64
        "data/action": rng.normal(size=(12, 2)).astype("f"),
        "data/img": rng.integers(0, 256, (12, 10, 12, 3), np.uint8),
        "meta/episode_ends": np.array([5, 12]),
    } | {key.replace("__", "/"): value for key, value in changes.items()}
    return {key: value for key, value in made.items() if value is not None}


def write(path: Path, version: int = 2, rows: int = 5, **changes: Any) -> Path:
    """Write a store with zarr's own code, some rows a chunk."""
    options = {"zarr_format": version} if len(VERSIONS) > 1 else {}
    root = zarr.open_group(str(path), mode="w", **options)
    for key, value in arrays(**changes).items():
        make = root.create_array if len(VERSIONS) > 1 else root.create_dataset
        array = make(key, shape=value.shape, chunks=(rows, *value.shape[1:]), dtype=value.dtype)
        array[...] = value
    return path


def zipped(folder: Path, around: str = "") -> Path:
    """Pack a store; `around` is the folder in the archive that it lies in."""
    path = folder.with_name(f"{folder.name}.zip")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                archive.write(file, around + file.relative_to(folder).as_posix())
    shutil.rmtree(folder)
    return path


def error_of(path: Path) -> str:
    with pytest.raises(LaminarError) as caught:
        load_episodes(path)
    message = str(caught.value)
    assert "\n" not in message
    assert path.name in message
    return message


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("form", ["folder", "archive", "archive of a folder"])
def test_stores_are_read_in_place(version: int, form: str, tmp_path: Path) -> None:
    path = write(tmp_path / "a.zarr", version)
    if form != "folder":
        path = zipped(path, "" if form == "archive" else "pusht/a.zarr/")
    episodes, expected = load_episodes(path), arrays()
    assert episodes.lengths.tolist() == [5, 7]
    np.testing.assert_array_equal(episodes.observation["state"], expected["data/state"].astype("f"))
    np.testing.assert_array_equal(episodes.action, expected["data/action"])
    assert isinstance(episodes.observation["img"], OnDisk)
    np.testing.assert_array_equal(episodes.observation["img"], expected["data/img"])
    assert not episodes.has_reward


def test_pictures_are_packed_once_and_again_when_they_change(tmp_path: Path) -> None:
    path = write(tmp_path / "a.zarr")
    load_episodes(path)
    (packed,) = (tmp_path / ".laminar").iterdir()
    before = packed.stat().st_mtime_ns
    load_episodes(path)
    assert packed.stat().st_mtime_ns == before
    write(path, data__img=np.full((12, 10, 12, 3), 7, np.uint8))
    assert (np.asarray(load_episodes(path).observation["img"]) == 7).all()
    assert len(list((tmp_path / ".laminar").iterdir())) == 1


@pytest.mark.parametrize("scale", [1, 255])
def test_floating_point_pictures_become_bytes(scale: int, tmp_path: Path) -> None:
    """The published pusht_cchi_v7 has float32 of 0 to 255; others have 0 to 1."""
    pictures = arrays()["data/img"]
    episodes = load_episodes(write(tmp_path / "a.zarr", data__img=(pictures / np.float32(scale)).astype("f")))
    assert episodes.observation["img"].dtype == np.uint8
    np.testing.assert_array_equal(episodes.observation["img"], pictures)
    assert "pictures 'img' are float32 in the file and are read as bytes, 0 to 255" in episodes.remarks


def test_channels_first_are_turned(tmp_path: Path) -> None:
    pictures = arrays()["data/img"]
    episodes = load_episodes(write(tmp_path / "a.zarr", data__img=pictures.transpose(0, 3, 1, 2)))
    np.testing.assert_array_equal(episodes.observation["img"], pictures)
    assert "pictures 'img' have their channels first in the file and are turned" in episodes.remarks


def test_depth_stays_depth(tmp_path: Path) -> None:
    depth = np.random.default_rng(0).uniform(0, 1, (12, 10, 12, 1)).astype("f")
    episodes = load_episodes(write(tmp_path / "a.zarr", data__img=depth))
    np.testing.assert_array_equal(episodes.observation["img"], depth)
    depth[7, 3, 3] = np.nan
    assert "'img' is not finite" in error_of(write(tmp_path / "b.zarr", data__img=depth))


def test_rewards_and_flags_may_be_written_only_where_there_are_some(tmp_path: Path) -> None:
    """Zarr 3 itself leaves out chunks of nothing but zeros."""
    path = write(tmp_path / "a.zarr", data__reward=np.arange(12) // 5 * 1.0, data__grasp=np.arange(12) // 10 * 1.0)
    for chunk in ("reward/0", "grasp/0", "grasp/1"):
        (path / "data" / chunk).unlink(missing_ok=True)
    episodes = load_episodes(path)
    assert episodes.observation["grasp"][:, 0].tolist() == [0] * 9 + [1]
    assert episodes.reward.tolist() == [0] * 4 + [1] * 5 + [2]
    assert "'data/reward': 1 of 3 chunks are not there and count as 0" in "\n".join(episodes.remarks)


@pytest.mark.parametrize("key", ["action", "state", "img"])
def test_a_missing_chunk_is_no_zeros(key: str, tmp_path: Path) -> None:
    path = write(tmp_path / "a.zarr")
    next((path / "data" / key).glob("1.*")).unlink()
    assert f"'data/{key}': 1 of 3 chunks are not there, and zarr makes up 0" in error_of(path)


@pytest.mark.parametrize("key", ["action", "img"])
def test_a_damaged_chunk(key: str, tmp_path: Path) -> None:
    path = write(tmp_path / "a.zarr")
    chunk = next((path / "data" / key).glob("1.*"))
    chunk.write_bytes(chunk.read_bytes()[:20])
    message = error_of(path)  # Blosc reads on beyond the end
    assert "damaged" in message
    assert f"data/{key}" in message
    assert not list((tmp_path / ".laminar").glob("*.npy")) or key == "action"


def test_damaged_descriptions_and_archives(tmp_path: Path) -> None:
    path = write(tmp_path / "a.zarr")
    (path / "data/action/.zarray").write_text("{")
    assert "'data/action/.zarray' is damaged" in error_of(path)
    path = zipped(write(tmp_path / "b.zarr"))
    content = bytearray(path.read_bytes())
    place = content.find(b"data/action/0.0") + 60
    content[place : place + 8] = bytes(8)
    path.write_bytes(bytes(content))
    assert "damaged" in error_of(path)


def test_what_is_missing_or_does_not_fit(tmp_path: Path) -> None:
    assert "missing 'data/action'" in error_of(write(tmp_path / "a.zarr", data__action=None))
    short = np.ones((11, 3), "f")
    assert "'data/state' has 11 rows but 'data/action' has 12" in error_of(
        write(tmp_path / "b.zarr", data__state=short)
    )
    ends = np.array([5, 13])
    assert "ends at 13, but 'data/action' has 12 rows" in error_of(write(tmp_path / "c.zarr", meta__episode_ends=ends))
    shutil.rmtree(write(tmp_path / "d.zarr") / "meta")
    assert "a folder, not a demonstration file" in error_of(tmp_path / "d.zarr")


def change(path: Path, key: str, **changes: Any) -> Path:
    about = json.loads((path / key / ".zarray").read_text()) | changes
    (path / key / ".zarray").write_text(json.dumps(about))
    return path


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    path = change(write(tmp_path / "a.zarr"), "data/state", filters=[{"id": "pickle", "protocol": 5}])
    assert "'data/state' is pickled, and nothing is unpickled" in error_of(path)


def test_codecs_that_are_not_here_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """UMI's pictures are JPEG XL, by a codec of imagecodecs that has to be registered first."""
    path = change(write(tmp_path / "a.zarr"), "data/img", compressor={"id": "imagecodecs_jpegxl", "effort": 3})
    monkeypatch.setattr("laminar.data.buffers.store.find_spec", lambda name: None if name == "imagecodecs" else True)
    assert "compressed by imagecodecs_jpegxl, which needs imagecodecs: pip install imagecodecs" in error_of(path)
    monkeypatch.setattr("laminar.data.buffers.store.find_spec", lambda name: None)
    assert "reading zarr needs zarr: pip install 'laminar[zarr]'" in error_of(path)


def test_consolidated_metadata_of_before_are_not_believed(tmp_path: Path) -> None:
    """Rows that were appended after it would be missed without a word."""
    path = write(tmp_path / "a.zarr", meta__episode_ends=np.array([5]), data__img=None)
    for key in ("state", "action"):
        change(path, f"data/{key}", shape=[5, *arrays()[f"data/{key}"].shape[1:]])
    zarr.consolidate_metadata(str(path))
    change(path, "data/state", shape=[12, 3])
    change(path, "data/action", shape=[12, 2])
    change(path, "meta/episode_ends", shape=[2])
    np.array([5, 12]).tofile(path / "meta/episode_ends/0")
    change(path, "meta/episode_ends", chunks=[2], compressor=None)
    assert load_episodes(path).lengths.tolist() == [5, 7]


def test_pusht_is_known_by_its_name(tmp_path: Path) -> None:
    path = write(tmp_path / "pusht_cchi_v7_replay.zarr", data__n_contacts=np.zeros((12, 1), "f"), data__img=None)
    episodes = load_episodes(path)
    assert episodes.spec.action_low == (0.0, 0.0)
    assert episodes.infos["n_contacts"].shape == (12,)
    assert list(episodes.observation) == ["observation"]
