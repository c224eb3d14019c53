"""Pictures of episodes as JPEG, as small and as many as a page may hold."""

from __future__ import annotations

import io
from base64 import b64encode
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...data.inspection.frames import picture
from ...progress import Finished, Progress, silent

Array = NDArray[Any]
_SIZES = ((256, 1), (160, 1), (160, 2), (96, 2))  # longer side in pixels, and every how many moments: the best first
_SAMPLES = 16  # pictures of each camera that tell how large they become
_QUALITY = 80
_MARGIN = 0.9  # of the room, for what the samples do not tell


@dataclass(frozen=True)
class Shown:
    """The pictures of one episode by one camera.

    Attributes:
        every: moments from one picture to the next.
        pictures: JPEG files in base64.
    """

    every: int
    pictures: list[str]

    def thinned(self) -> Shown:
        """Return half as many."""
        return Shown(2 * self.every, self.pictures[::2])


def film(
    sources: dict[str, Array], moments: Sequence[Array], room: float, progress: Progress = silent
) -> list[dict[str, Shown]]:
    """Return camera -> pictures, for each episode.

    Args:
        sources: camera -> (N, height, width, ...), maybe on disk.
        moments: of each episode the rows that can be looked at.
        room: bytes that all of them may take.
        progress: follows the pictures.
    """
    if not sources:
        return [{} for _ in moments]
    side, every = _size(sources, moments, room)
    with progress(len(sources) * len(moments), "strip", "pictures") as watch:
        found: list[dict[str, Shown]] = []
        for rows in moments:
            found.append({})
            for key, source in sources.items():
                pictures = [b64encode(_jpeg(frame, side)).decode("ascii") for frame in _frames(source, rows[::every])]
                found[-1][key] = Shown(every, pictures)
                watch(Finished())
    while _bytes(found) > room and any(len(one.pictures) > 1 for shown in found for one in shown.values()):
        found = [{key: one.thinned() for key, one in shown.items()} for shown in found]
    return found


def _size(sources: dict[str, Array], moments: Sequence[Array], room: float) -> tuple[int, int]:
    """Return the longer side of pictures, and every how many moments there is one."""
    rows, need = np.concatenate(list(moments)), 0.0
    some = rows[np.unique(np.linspace(0, len(rows) - 1, _SAMPLES).astype(np.int64))]
    frames = [frame for source in sources.values() for frame in _frames(source, some)]
    side, every = _SIZES[-1]
    for side, every in _SIZES:
        size = float(np.mean([len(_jpeg(frame, side)) for frame in frames])) * 4 / 3
        need = size * len(rows) * len(sources)
        if need / every <= _MARGIN * room:
            return side, every
    return side, int(np.ceil(need / (_MARGIN * max(room, 1.0))))


def _frames(source: Array, rows: Array) -> Iterator[Array]:
    """Yield rows of pictures, few in memory at a time."""
    for begin in range(0, len(rows), 32):
        yield from np.asarray(source[rows[begin : begin + 32]])


def _jpeg(frame: Array, side: int) -> bytes:
    stream = io.BytesIO()
    picture(frame, side).save(stream, "JPEG", quality=_QUALITY)
    return stream.getvalue()


def _bytes(found: Sequence[dict[str, Shown]]) -> int:
    return sum(len(picture) for shown in found for one in shown.values() for picture in one.pictures)
