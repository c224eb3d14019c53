"""Rows that are packed once beside the data, or held in memory where nothing can be written there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from laminar.data import packing
from laminar.data.on_disk import is_on_disk
from laminar.data.packing import packed_or_held

ROWS = np.random.default_rng(0).integers(0, 256, (7, 4, 5, 3), np.uint8)


class Blocks:
    """Yields the rows, three at a time, and counts how often it was asked to."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self) -> Iterator[np.ndarray]:
        self.asked += 1
        yield from (ROWS[first : first + 3] for first in range(0, len(ROWS), 3))


def test_rows_are_packed_once_and_then_only_read(tmp_path: Path) -> None:
    blocks, remarks = Blocks(), list[str]()
    for _ in range(2):
        found = packed_or_held(tmp_path / ".laminar/rows-0123456789abcdef.npy", "rows", len(ROWS), blocks, remarks)
        assert is_on_disk(found)
        np.testing.assert_array_equal(np.asarray(found), ROWS)
    assert (blocks.asked, remarks) == (1, [])


def test_where_nothing_can_be_written_they_are_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "is_writable", lambda _: False)
    blocks, remarks = Blocks(), list[str]()
    found = packed_or_held(tmp_path / ".laminar/rows-0123456789abcdef.npy", "rows", len(ROWS), blocks, remarks)
    assert isinstance(found, np.ndarray)
    np.testing.assert_array_equal(found, ROWS)
    assert remarks == ["the folder is read-only: 'rows' cannot be packed beside it and is held in memory"]
    assert list(tmp_path.iterdir()) == []
