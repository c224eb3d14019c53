"""The frames of one split: which there are, which episodes they make, and their numbers."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import LaminarError
from .. import npz

Array = NDArray[Any]
SPLITS = ("training", "validation")
SPANS = "ep_start_end_ids.npy"
LENGTHS = "ep_lens.npy"
_FRAME = re.compile(r"(.*?)([0-9]+)\.npz")


@dataclass(frozen=True)
class Frames:
    """The frames of one split.

    Attributes:
        folder: `training` or `validation`.
        prefix: what a frame's file name begins with, before the number.
        digits: how many the number has.
        spans: (E, 2) int64, number of the first and of the last frame of each episode, both inclusive.
    """

    folder: Path
    prefix: str
    digits: int
    spans: Array

    @cached_property
    def numbers(self) -> Array:
        """(N,) numbers of all frames that belong to an episode, ascending."""
        return np.sort(np.concatenate([np.arange(first, last + 1) for first, last in self.spans.tolist()]))

    def owns(self, name: str) -> bool:
        """Tell whether a file of this name is a frame of an episode."""
        match = _FRAME.fullmatch(name)
        if match is None or (match[1], len(match[2])) != (self.prefix, self.digits):
            return False
        first, last = self.spans.T
        return bool(((first <= int(match[2])) & (int(match[2]) <= last)).any())

    def path(self, number: int) -> str:
        """Return the file of one frame."""
        return f"{self.folder}/{self.prefix}{number:0{self.digits}d}.npz"

    def stored_keys(self) -> list[str]:
        """Return the names of the arrays in the first frame, sorted."""
        return sorted(npz.names(self.path(int(self.numbers[0]))))

    def shapes(self, keys: Sequence[str]) -> dict[str, tuple[int, ...]]:
        """Return the shapes of arrays in the first frame."""
        return {key: value.shape for key, value in npz.read(self.path(int(self.numbers[0])), keys).items()}

    def read(self, numbers: Array, keys: Sequence[str]) -> dict[str, Array]:
        """Return key -> (len(numbers), ...), of the type that the first frame has.

        Raises:
            LaminarError: a file is missing or damaged, lacks a key, or has another shape than the first.
        """
        first = npz.read(self.path(int(self.numbers[0])), keys)
        rows = {key: np.empty((len(numbers), *value.shape), value.dtype) for key, value in first.items()}
        for row, number in enumerate(numbers.tolist()):
            for key, value in npz.read(self.path(number), keys).items():
                like = rows[key]
                if (
                    value.shape != like.shape[1:]
                    or value.dtype.kind not in "fiub"
                    or value.dtype.kind != like.dtype.kind
                ):
                    raise LaminarError(
                        f"{self.path(number)}: '{key}' is {value.dtype} of shape {value.shape}, expected numbers of "
                        f"shape {like.shape[1:]} like the first frame's {like.dtype}"
                    )
                like[row] = value
        return rows


def find_split(path: Path) -> Path | None:
    """Return the folder of frames at a path: itself, or the `training` below it; None where there is neither.

    Raises:
        LaminarError: only `validation` is below it.
    """
    if not path.is_dir():
        return None
    if path.name in SPLITS or (path / SPANS).is_file() or _has_frame(path):
        return path
    inside = [path / name for name in SPLITS if (path / name).is_dir()]
    if inside and inside[0].name != SPLITS[0]:
        raise LaminarError(f"{path}: a CALVIN data set without {SPLITS[0]}; choose {inside[0]}")
    return inside[0] if inside else None


def open_frames(folder: Path) -> Frames:
    """Look at the frames of a split, without opening them.

    Raises:
        LaminarError: no frames, no or wrong episode numbers, or frames missing that an episode names.
    """
    spans = _read_spans(folder / SPANS)
    matches = [match for entry in os.scandir(folder) if (match := _FRAME.fullmatch(entry.name))]
    if not matches:
        raise LaminarError(f"{folder}: no frames (files like episode_0000000.npz); copy the data set again")
    kinds = Counter((match[1], len(match[2])) for match in matches)
    prefix, digits = kinds.most_common(1)[0][0]
    present = np.array([int(match[2]) for match in matches if (match[1], len(match[2])) == (prefix, digits)])
    frames = Frames(folder, prefix, digits, spans)
    _check_present(frames, np.sort(present))
    return frames


def _check_present(frames: Frames, present: Array) -> None:
    """Raise unless all frames of all episodes are among those present (P,), ascending.

    The numbers of the frames are not written out for it: a damaged file may name more than fit into memory.
    """
    first, last = frames.spans[np.argsort(frames.spans[:, 0])].T
    begin, end = np.searchsorted(present, first), np.searchsorted(present, last, side="right")
    lacking = np.flatnonzero(end - begin <= last - first)
    if len(lacking) == 0:
        return
    gap = int(lacking[0])
    expected = first[gap] + np.arange(end[gap] - begin[gap])
    missing = int(first[gap]) + int(np.searchsorted(present[begin[gap] : end[gap]] != expected, True))
    total = sum((last - first).tolist()) + len(first)
    raise LaminarError(
        f"{frames.folder}: {total - int((end - begin).sum())} of the {total} frames that {SPANS} names are missing, "
        f"first {Path(frames.path(missing)).name} (there are {len(present)}, {present[0]} to {present[-1]}); copy the "
        "data set again"
    )


def _has_frame(folder: Path) -> bool:
    with os.scandir(folder) as entries:
        return any(_FRAME.fullmatch(entry.name) for entry in entries)


def check_lengths(frames: Frames) -> None:
    """Hold the lengths of the episodes, where the split states them, against first and last frames.

    Raises:
        LaminarError: they contradict each other, or the file is damaged.
    """
    file = frames.folder / LENGTHS
    if not file.is_file():
        return
    stated, found = _read_npy(file).reshape(-1), frames.spans[:, 1] - frames.spans[:, 0] + 1
    if stated.shape != found.shape or not (stated == found).all():
        raise LaminarError(
            f"{file} states the lengths {stated[:3].tolist()}…, {SPANS} {found[:3].tolist()}…: they "
            "contradict each other; remove the wrong one"
        )


def _read_npy(file: Path) -> Array:
    try:
        return npz.array(file.read_bytes())
    except npz.DAMAGE as error:
        raise LaminarError(f"{file}: truncated or damaged file ({error}); copy it again") from error


def _read_spans(file: Path) -> Array:
    if not file.is_file():
        raise LaminarError(f"{file}: missing, only it tells where episodes end; copy it from the data set")
    spans = _read_npy(file)
    if spans.dtype.kind not in "iu" or spans.ndim != 2 or spans.shape[1] != 2 or len(spans) == 0:
        raise LaminarError(f"{file}: {spans.dtype} of shape {spans.shape}, expected whole numbers (episodes, 2)")
    spans = spans.astype(np.int64)
    backwards = np.flatnonzero((spans[:, 0] > spans[:, 1]) | (spans[:, 0] < 0))
    if len(backwards):
        raise LaminarError(f"{file}: episode {backwards[0]} has frames {spans[backwards[0]].tolist()}, first to last")
    ordered = spans[np.argsort(spans[:, 0])]
    overlap = np.flatnonzero(ordered[1:, 0] <= ordered[:-1, 1])
    if len(overlap):
        pair = ordered[overlap[0] : overlap[0] + 2].tolist()
        raise LaminarError(f"{file}: episodes {pair[0]} and {pair[1]} share frames; copy it again")
    return spans
