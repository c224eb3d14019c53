"""Texts of an HDF5 file in which a heap was overwritten with zeros: the library would look for its end for ever."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from laminar.data.hdf5.heaps import endless_heap
from laminar.data.load import load_episodes
from laminar.errors import LaminarError


def robomimic(path: Path, text: str = '{"env_name": "Lift"}') -> Path:
    with h5py.File(path, "w") as file:
        data = file.create_group("data")
        data.attrs["env_args"] = text
        for number in range(2):
            demo = data.create_group(f"demo_{number}")
            demo["obs/arm"] = np.arange(6.0).reshape(3, 2)
            demo["actions"], demo["rewards"] = np.zeros((3, 2)), np.zeros(3)
            demo["dones"] = np.arange(3) == 2
    return path


@pytest.mark.parametrize("length", [0, 1, 8, 100, 3000, 4050, 4064, 4065, 4080, 5000, 100_000])
def test_good_heaps_end(length: int, tmp_path: Path) -> None:
    path = robomimic(tmp_path / "a.hdf5", "x" * length)
    with h5py.File(path, "a") as file:
        for number in range(40):
            file.attrs[f"note {number}"] = "y" * number * 7
        del file.attrs["note 3"]
    assert endless_heap(path) is None


@pytest.mark.parametrize("zeros", [16, 64, 1024])
@pytest.mark.parametrize("far", [0, 400_000])
def test_a_heap_of_zeros_is_refused(zeros: int, far: int, tmp_path: Path) -> None:
    path = robomimic(tmp_path / "a.hdf5")
    content = bytearray(path.read_bytes())
    place = content.index(b"GCOL")
    content[place + 16 : place + 16 + zeros] = bytes(zeros)
    path.write_bytes(bytes(content) + bytes(far))
    assert endless_heap(path) == place
    with pytest.raises(LaminarError, match=rf"a\.hdf5: cut off or damaged HDF5 file \(the heap at byte {place} has no"):
        load_episodes(path)


def test_a_heap_at_the_end_of_a_large_file(tmp_path: Path) -> None:
    path = tmp_path / "a.hdf5"
    with h5py.File(path, "w") as file:
        file["large"] = np.zeros(1_000_000)
        file.flush()
        file.attrs["late"] = "text"
    assert endless_heap(path) is None
    content = bytearray(path.read_bytes())
    place = content.index(b"GCOL")
    assert place > 1 << 20
    content[place + 16 : place + 48] = bytes(32)
    path.write_bytes(bytes(content))
    assert endless_heap(path) == place
