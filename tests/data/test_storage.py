"""Arrays that HDF5 reads as zeros because nothing was ever stored: each is refused or cut, and told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from laminar.data.hdf5.file import open_hdf5
from laminar.data.hdf5.storage import unwritten
from laminar.data.load import load_episodes
from laminar.errors import LaminarError


def error_of(path: Path) -> str:
    with pytest.raises(LaminarError) as caught:
        load_episodes(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def allocate(
    path: Path, written: Any, rows: int = 60, chunk: int = 10, growing: bool = False, compression: str | None = None
) -> Path:
    """Write a D4RL file of allocated arrays of which only the given rows were ever written."""
    rng = np.random.default_rng(0)
    shapes = {"observations": (3,), "actions": (2,), "rewards": (), "terminals": (), "timeouts": ()}
    with h5py.File(path, "w") as file:
        for key, shape in shapes.items():
            kind = "u1" if key in ("terminals", "timeouts") else "f4"
            data = file.create_dataset(
                key,
                (rows, *shape),
                kind,
                chunks=(chunk, *shape),
                maxshape=(None, *shape) if growing else None,
                compression=compression,
            )
            for block in written:
                values = (np.arange(rows) % 15 == 14) * (key == "timeouts")
                data[block] = values[block] if kind == "u1" else rng.uniform(0.2, 1, (rows, *shape))[block]
    return path


def check_cut(path: Path) -> None:
    episodes = load_episodes(path)
    assert len(episodes) <= 30
    assert (episodes.observation["observation"] != 0).all()
    assert any(remark.startswith("30 of 60 rows were never written (rows 30 to 59") for remark in episodes.remarks)


@pytest.mark.parametrize("compression", [None, "gzip"])
def test_the_end_of_a_recording_that_was_killed_is_cut(compression: str | None, tmp_path: Path) -> None:
    check_cut(allocate(tmp_path / "a.hdf5", [slice(0, 30)], compression=compression))


def test_the_end_of_a_recording_that_grew_and_was_killed_is_cut(tmp_path: Path) -> None:
    path = allocate(tmp_path / "a.hdf5", [slice(0, 30)], rows=30, growing=True)
    with h5py.File(path, "a") as file:
        for data in file.values():
            data.resize(60, axis=0)
    check_cut(path)


def test_a_hole_in_a_recording_is_refused(tmp_path: Path) -> None:
    path = allocate(tmp_path / "a.hdf5", [slice(0, 20), slice(40, 60)])
    assert "'/observations': 20 of 60 rows were never written (rows 20 to 39)" in error_of(path)


def test_two_holes_are_counted(tmp_path: Path) -> None:
    path = allocate(tmp_path / "a.hdf5", [slice(0, 10), slice(20, 30), slice(50, 60)])
    assert "'/observations': 30 of 60 rows were never written (the first of them row 10)" in error_of(path)


def test_chunks_across_the_columns_count_too(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        data = file.create_dataset("x", (25, 4), "f4", chunks=(10, 2))
        data[:, :2] = 1
        data[20:] = 1
        found = unwritten(data, tmp_path / "a.hdf5")
    assert found is not None
    assert (found.count, found.first, found.last) == (20, 0, 19)


def test_an_array_that_was_made_and_never_written(tmp_path: Path, samples: Any) -> None:
    path = samples.d4rl(tmp_path, terminals=None)
    with h5py.File(path, "a") as file:
        file.create_dataset("terminals", (12,), "u1")
    episodes = load_episodes(path)  # recorders write flags only where there is something to say
    assert not episodes.terminated.any()
    assert "'/terminals': 12 of 12 rows were never written (rows 0 to 11) and count as 0" in episodes.remarks
    del_and_make(path, "actions")
    assert "'/actions': 12 of 12 rows were never written" in error_of(path)


def del_and_make(path: Path, key: str) -> None:
    """Replace an array by one that was never written."""
    with h5py.File(path, "a") as file:
        shape = file[key].shape
        del file[key]
        file.create_dataset(key, shape, "f4")


def test_infos_that_were_never_written_are_left_out(tmp_path: Path, samples: Any) -> None:
    path = samples.d4rl(tmp_path)
    with h5py.File(path, "a") as file:
        file.create_dataset("infos/qpos", (12, 3), "f4", chunks=(6, 3))
        file["infos/qvel"] = np.ones((12, 3))
    episodes = load_episodes(path)
    assert list(episodes.infos) == ["qvel"]
    assert any("'infos/qpos': 12 of 12 rows were never written" in remark for remark in episodes.remarks)


@pytest.mark.parametrize("format_name", ["minari", "robomimic", "diffusion_policy"])
def test_every_format_refuses_what_was_never_written(format_name: str, tmp_path: Path, samples: Any) -> None:
    path = samples.SAMPLES[format_name].write(tmp_path)
    key = {"minari": "episode_1/actions", "robomimic": "data/demo_1/actions"}.get(format_name, "data/action")
    file_path = samples.main_data(path) if format_name == "minari" else path
    with h5py.File(file_path, "a") as file:
        value = file[key][()]
        del file[key]
        file.create_dataset(key, value.shape, value.dtype, chunks=(4, 2))[:4] = value[:4]
    assert f"'/{key}': {len(value) - 4} of {len(value)} rows were never written" in error_of(path)


def virtual(folder: Path, samples: Any, length: int = 12, mapped: int = 12) -> Path:
    """Write a D4RL file whose observations lie in another one, source.hdf5."""
    path = samples.d4rl(folder, observations=None)
    with h5py.File(folder / "source.hdf5", "w") as file:
        file["x"] = np.ones((length, 3), "f4")
    layout = h5py.VirtualLayout((12, 3), "f4")
    layout[:mapped] = h5py.VirtualSource(str(folder / "source.hdf5"), "x", shape=(mapped, 3))
    with h5py.File(path, "a") as file:
        file.create_virtual_dataset("observations", layout)
        del file["next_observations"]
    return path


def test_a_virtual_array_reads_its_source(tmp_path: Path, samples: Any) -> None:
    assert (load_episodes(virtual(tmp_path, samples)).observation["observation"] == 1).all()


def test_a_virtual_source_that_moved(tmp_path: Path, samples: Any) -> None:
    path = virtual(tmp_path, samples)
    (tmp_path / "source.hdf5").unlink()
    assert "source.hdf5, which is missing; put that file beside this one" in error_of(path)


def test_a_virtual_source_that_shrunk(tmp_path: Path, samples: Any) -> None:
    assert "source.hdf5, which has only shape (9, 3)" in error_of(virtual(tmp_path, samples, length=9))


def test_a_part_of_a_virtual_source_that_shrunk(tmp_path: Path, samples: Any) -> None:
    path = samples.d4rl(tmp_path, observations=None, next_observations=None)
    layout = h5py.VirtualLayout((12, 3), "f4")
    layout[:] = h5py.VirtualSource("source.hdf5", "x", shape=(30, 3))[18:30]
    with h5py.File(path, "a") as file:
        file.create_virtual_dataset("observations", layout)
    for rows, fits in ((30, True), (29, False)):
        with h5py.File(tmp_path / "source.hdf5", "w") as file:
            file["x"] = np.ones((rows, 3), "f4")
        if fits:
            assert (load_episodes(path).observation["observation"] == 1).all()
        else:
            assert "source.hdf5, which has only shape (29, 3)" in error_of(path)


def test_a_virtual_source_without_the_array(tmp_path: Path, samples: Any) -> None:
    path = virtual(tmp_path, samples)
    with h5py.File(tmp_path / "source.hdf5", "w") as file:
        file["y"] = np.ones(3)
    assert "there is no such array" in error_of(path)


def test_a_virtual_array_without_sources_for_all(tmp_path: Path, samples: Any) -> None:
    assert "has no source for 4 of its 12 rows" in error_of(virtual(tmp_path, samples, mapped=8))


def test_a_virtual_source_that_was_never_written(tmp_path: Path, samples: Any) -> None:
    path = virtual(tmp_path, samples)
    with h5py.File(tmp_path / "source.hdf5", "w") as file:
        file.create_dataset("x", (12, 3), "f4", chunks=(6, 3))[:6] = 1
    assert "where 6 of 12 rows were never written (rows 6 to 11)" in error_of(path)


def test_external_bytes_that_are_missing_or_too_few(tmp_path: Path, samples: Any) -> None:
    path = samples.d4rl(tmp_path, rewards=None)
    raw = tmp_path / "rewards.raw"
    raw.write_bytes(bytes(96))
    with h5py.File(path, "a") as file:
        file.create_dataset("rewards", (12,), "f8", external=[(str(raw), 0, 96)])
    assert (load_episodes(path).reward == 0).all()
    raw.write_bytes(bytes(90))
    assert "rewards.raw, which is shorter than 96 bytes" in error_of(path)
    raw.unlink()
    assert "rewards.raw, which is missing" in error_of(path)


def test_a_giant_that_was_never_written_is_not_read(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        for key in ("observations", "actions"):
            file.create_dataset(key, (1 << 50, 3), "f4", chunks=(1 << 10, 3))
        file.create_dataset("terminals", (1 << 50,), "u1", chunks=(1 << 10,))
    with open_hdf5(tmp_path / "a.hdf5") as file, pytest.raises(LaminarError, match="rows were never written"):
        file.array("observations")
    assert "rows were never written" in error_of(tmp_path / "a.hdf5")
