"""Why a file could not be opened or read: each cause has its own sentence and remedy."""

from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from laminar.cli import main
from laminar.data.hdf5.causes import why_not_opened
from laminar.data.load import load_episodes
from laminar.errors import LaminarError

WRITER = """
import sys, h5py
file = h5py.File(sys.argv[1], sys.argv[2], **({"libver": "latest"} if sys.argv[3] else {}))
file.attrs["being"] = "written"
file.flush()
print("open", flush=True)
sys.stdin.read()
"""


def writer(path: Path, mode: str, latest: bool = False) -> subprocess.Popen[str]:
    """Start a process that has a file open for writing."""
    words = [sys.executable, "-c", WRITER, str(path), mode, "latest" if latest else ""]
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "open\n"
    return process


def error_of(path: Path) -> str:
    with pytest.raises(LaminarError) as caught:
        load_episodes(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("mode", ["a", "r+"])
def test_a_file_that_is_being_written(
    mode: str, tmp_path: Path, samples: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    path = samples.d4rl(tmp_path)
    process = writer(path, mode)
    try:
        assert main(["inspect", str(path)]) == 2
    finally:
        process.communicate("")
    message = capsys.readouterr().err
    assert "open for writing elsewhere; close it there or wait" in message
    assert "HDF5_USE_FILE_LOCKING" in message
    assert len(load_episodes(path)) == 12, "nothing is wrong with the file"


def test_a_writer_that_was_killed(tmp_path: Path) -> None:
    process = writer(tmp_path / "a.hdf5", "w", latest=True)
    process.kill()
    process.communicate()
    assert "h5clear --status" in error_of(tmp_path / "a.hdf5")


def test_a_filter_that_is_not_there(tmp_path: Path, samples: Any) -> None:
    path = samples.d4rl(tmp_path, rewards=None)
    with h5py.File(path, "a") as file:
        properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        properties.set_chunk((12,))
        properties.set_filter(32001, h5py.h5z.FLAG_OPTIONAL, ())
        space = h5py.h5s.create_simple((12,))
        made = h5py.h5d.create(file.id, b"rewards", h5py.h5t.NATIVE_DOUBLE, space, properties)
        made.write_direct_chunk((0,), bytes(96), 0)
    message = error_of(path)
    assert "'/rewards' is compressed with filter 32001" in message
    assert message.endswith("pip install hdf5plugin")


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.EACCES, "check its permissions"),
        (errno.EMFILE, "ulimit -n"),
        (errno.EIO, "the drive reports a read error"),
        (errno.ESTALE, "the network drive lost it"),
        (errno.ENOMEM, "not enough memory"),
    ],
)
def test_causes_of_the_system(number: int, message: str, tmp_path: Path, samples: Any, monkeypatch: Any) -> None:
    path = samples.d4rl(tmp_path)

    def fail(*_: Any, **__: Any) -> None:
        raise OSError(number, "what HDF5 says")

    monkeypatch.setattr(h5py, "File", fail)
    text = error_of(path)
    assert message in text
    assert "damaged" not in text


def test_a_drive_without_locks() -> None:
    error = OSError(errno.ENOSYS, "unable to lock file, errno = 38, error message = 'Function not implemented'")
    assert why_not_opened(error).startswith("the drive does not support file locks")


def test_more_than_fits_into_memory(tmp_path: Path, samples: Any, monkeypatch: Any) -> None:
    path = samples.d4rl(tmp_path)

    def fail(*_: Any) -> np.ndarray:
        raise MemoryError

    monkeypatch.setattr(h5py.Dataset, "__getitem__", fail)
    assert "'/observations' takes 0.0 GB, which do not fit into memory" in error_of(path)
