"""Small npz files, and how fast they are read."""

from __future__ import annotations

import contextlib
import io
import random
import time
import tracemalloc
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from laminar.data import npz
from laminar.errors import LaminarError


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed, npz.write])
def test_npz_files_of_every_writer(tmp_path: Path, save: Any) -> None:
    rng = np.random.default_rng(0)
    arrays = {
        "a": rng.normal(size=7),
        "big": rng.integers(0, 256, (40, 40, 3), dtype=np.uint8),
        "matrix": rng.normal(size=(3, 5)).astype("f"),
        "number": np.array(3.0),
        "empty": np.zeros((0, 4)),
    }
    if save is npz.write:
        npz.write(tmp_path / "a.npz", arrays)
    else:
        save(tmp_path / "a.npz", **arrays)
    for keys in (list(arrays), ["empty", "a"], ["big"]):
        found = npz.read(tmp_path / "a.npz", keys)
        assert list(found) == keys
        for key in keys:
            assert found[key].dtype == arrays[key].dtype
            np.testing.assert_array_equal(found[key], arrays[key])
    with np.load(tmp_path / "a.npz") as found:
        assert sorted(found) == sorted(arrays)
        for key, value in arrays.items():
            np.testing.assert_array_equal(found[key], value)
    assert sorted(npz.names(tmp_path / "a.npz")) == sorted(arrays)


def test_unusual_npz_files_are_read_too(tmp_path: Path) -> None:
    values = np.asfortranarray(np.arange(12.0).reshape(3, 4))
    np.savez(tmp_path / "a.npz", values=values)
    np.testing.assert_array_equal(npz.read(tmp_path / "a.npz", ["values"])["values"], values)
    content = (tmp_path / "a.npz").read_bytes()
    (tmp_path / "b.npz").write_bytes(content[:-2] + (7).to_bytes(2, "little") + b"comment")
    np.testing.assert_array_equal(npz.read(tmp_path / "b.npz", ["values"])["values"], values)
    with pytest.raises(LaminarError, match=r"missing.npz: no such file"):
        npz.read(tmp_path / "missing.npz", ["values"])


def npy_file(shape: tuple[int, ...], content: bytes, fortran_order: bool = False) -> bytes:
    stream = io.BytesIO()
    layout = {"descr": "<f4", "fortran_order": fortran_order, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, layout)
    return stream.getvalue() + content


def archive(file: Path, content: bytes, claimed: int | None = None, method: int = zipfile.ZIP_DEFLATED) -> None:
    """Write a file with one member, whose size the archive's directory may claim to be another one."""
    with zipfile.ZipFile(file, "w", method) as writer:
        writer.writestr("a.npy", content)
        if claimed is not None:
            member = writer.getinfo("a.npy")
            member.file_size, member.CRC = claimed, zlib.crc32(content[:claimed])


def test_a_small_file_is_not_inflated_into_all_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(npz, "_LARGEST", 1 << 20)
    whole = npy_file((1 << 22,), bytes(1 << 24))
    archive(tmp_path / "large.npz", whole)
    with pytest.raises(LaminarError, match=r"large\.npz: truncated or damaged npz file \('a.npy' would take 16 MB"):
        npz.read(tmp_path / "large.npz", ["a"])
    archive(tmp_path / "liar.npz", whole, claimed=1000)
    tracemalloc.start()
    with pytest.raises(LaminarError, match=r"liar\.npz: truncated or damaged"):
        npz.read(tmp_path / "liar.npz", ["a"])
    assert tracemalloc.get_traced_memory()[1] < 1 << 21
    tracemalloc.stop()


@pytest.mark.parametrize(("fortran_order", "method"), [(False, 8), (True, 8), (False, zipfile.ZIP_LZMA)])
def test_a_shape_beyond_all_memory(tmp_path: Path, fortran_order: bool, method: int) -> None:
    archive(tmp_path / "a.npz", npy_file((10**6, 10**7), bytes(16), fortran_order), method=method)
    with pytest.raises(LaminarError, match="truncated or damaged npz file"):
        npz.read(tmp_path / "a.npz", ["a"])


def test_flipped_bytes_give_an_error_or_arrays(tmp_path: Path) -> None:
    npz.write(tmp_path / "a.npz", {"x": np.arange(24.0), "y": np.zeros((20, 20, 3), np.uint8)})
    content, draw = (tmp_path / "a.npz").read_bytes(), random.Random(0)
    for _ in range(500):
        damaged = bytearray(content)
        for _ in range(draw.randint(1, 4)):
            damaged[draw.randrange(len(damaged))] = draw.randrange(256)
        (tmp_path / "b.npz").write_bytes(damaged)
        for look in (npz.names, lambda path: npz.read(path, ["x", "y"])):
            with contextlib.suppress(LaminarError):
                look(tmp_path / "b.npz")


def test_frames_are_read_much_faster_than_by_numpy(calvin: Any, tmp_path: Path) -> None:
    """100,000 frames within 20 s is the aim: 200 microseconds a frame, of which this takes a tenth or two."""
    calvin.write(tmp_path / "play")
    paths = [str(tmp_path / "play" / "training" / f"episode_{i:07d}.npz") for i in range(16)] * 10
    keys = ["robot_obs", "scene_obs", "rel_actions"]

    def usual(path: str) -> None:
        with np.load(path) as frame:
            for key in keys:
                _ = frame[key]

    def fastest(read: Any) -> float:
        times = []
        for _ in range(5):
            begin = time.process_time()
            for path in paths:
                read(path)
            times.append(time.process_time() - begin)
        return min(times)

    assert 3 * fastest(lambda path: npz.read(path, keys)) < fastest(usual)
