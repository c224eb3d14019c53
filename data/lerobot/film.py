"""One MP4 file: which frames it has, and these frames as pictures, found by their exact presentation time.

A frame is numbered by its place among all of the file in the order of presentation. Decoding begins at the key frame
before it; frames that are asked for in ascending order are decoded in one go.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.error import FFmpegError
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from ...errors import LaminarError

Array = NDArray[Any]
DAMAGE = (FFmpegError, OSError, ValueError, OverflowError, EOFError, IndexError)
_APART = 0.25  # of a frame's duration: further away from the time that was asked for is another frame


@dataclass(frozen=True)
class Frames:
    """All frames of a file in the order of presentation, F in number.

    Attributes:
        pts: (F,) presentation times in units of the file.
        keys: (K,) numbers of those that decoding can begin at.
        seconds: of one unit.
    """

    pts: Array
    keys: Array
    seconds: float


@dataclass(frozen=True)
class Film:
    """A file, and what its pictures must be.

    Attributes:
        shape: (H, W, 3).
        rate_hz: frames a second of the data set.
    """

    file: Path
    shape: tuple[int, int, int]
    rate_hz: float

    def check(self, needed: int) -> int:
        """Look at the description of the file alone, and return how many frames it says there are.

        Args:
            needed: frames that rows of the data set are about.

        Raises:
            LaminarError: it is missing, cut off, of an unknown codec or another size, or has too few frames.
        """
        with self.opened() as container:
            stream = container.streams.video[0]
            entries = stream.index_entries
            count = len(entries) or stream.frames
            reach = entries[len(entries) - 1].pos + entries[len(entries) - 1].size if len(entries) else 0
        if reach > self.file.stat().st_size:
            raise LaminarError(f"{self.file}: cut off, the last of its frames are missing; copy it again")
        if 0 < count < needed:
            raise LaminarError(
                f"{self.file}: has {count} frames, and the data set has {needed} rows of it: they contradict each "
                "other; copy it again, or record these episodes anew"
            )
        return count

    def opened(self) -> Any:
        """Return the opened container.

        Raises:
            LaminarError: it is missing or damaged, has no film that can be decoded, or one of another size.
        """
        if not self.file.is_file():
            raise LaminarError(f"{self.file}: missing; copy the data set again")
        try:
            container = av.open(str(self.file), metadata_errors="ignore")
        except DAMAGE as error:
            raise self.damaged(error) from error
        try:
            self._check_stream(container)
        except BaseException:
            container.close()
            raise
        return container

    def _check_stream(self, container: Any) -> None:
        streams = container.streams.video
        context: Any = streams[0].codec_context if len(streams) else None
        if context is None:
            raise LaminarError(
                f"{self.file}: no film inside, or of a codec that is not known here; encode it as AV1 or H.264"
            )
        pixels = context.format
        if pixels is not None and pixels.name.startswith("gray") and pixels.components[0].bits > 8:
            raise LaminarError(f"{self.file}: gray of {pixels.components[0].bits} bits is no picture; leave it out")
        if (context.height, context.width) != self.shape[:2]:
            raise LaminarError(
                f"{self.file}: frames of {context.width} x {context.height}, meta/info.json says {self.shape[1]} x "
                f"{self.shape[0]}; repair the one that is wrong"
            )
        context.thread_count = 1  # several decoders run side by side; threads in each would hold frames back

    @cached_property
    def frames(self) -> Frames:
        """All frames, by the description of every packet; nothing is decoded.

        Raises:
            LaminarError: the file is missing or damaged.
        """
        with self.opened() as container:
            stream = container.streams.video[0]
            try:
                found = [(p.pts, p.is_keyframe) for p in container.demux(stream) if p.pts is not None and p.size]
                seconds = float(stream.time_base)
            except (*DAMAGE, TypeError) as error:
                raise self.damaged(error) from error
        pts = np.array([one for one, _ in found], np.int64)
        order = np.argsort(pts, kind="stable")
        keys = np.flatnonzero(np.array([key for _, key in found], np.bool_)[order])
        if len(keys) == 0 or keys[0] != 0 or (np.diff(pts[order]) <= 0).any():
            raise LaminarError(f"{self.file}: damaged, its frames are in no order of time; copy it again")
        return Frames(pts[order], keys, seconds)

    def numbers(self, seconds: Array) -> Array:
        """Return the numbers of the frames at some times (N,).

        Raises:
            LaminarError: there is no frame at one of them.
        """
        times = self.frames.pts * self.frames.seconds
        after = np.clip(np.searchsorted(times, seconds), 1, max(len(times) - 1, 1))
        nearest = np.where(seconds - times[after - 1] <= times[after % len(times)] - seconds, after - 1, after)
        nearest = np.minimum(nearest, len(times) - 1)
        far = np.flatnonzero(np.abs(times[nearest] - seconds) > _APART / self.rate_hz)
        if len(far):
            raise LaminarError(
                f"{self.file}: no frame at {seconds[far[0]]:.4f} s, the nearest of {len(times)} is at "
                f"{times[nearest[far[0]]]:.4f} s; copy it again, or record these episodes anew"
            )
        return nearest

    def damaged(self, error: BaseException) -> LaminarError:
        """Return what to say of a damaged file."""
        reason = getattr(error, "strerror", None) or type(error).__name__
        return LaminarError(f"{self.file}: cut off or damaged MP4 file ({reason}); copy it again")


class Decoder:
    """An opened film that gives its frames, soonest in ascending order; for one thread at a time."""

    def __init__(self, film: Film) -> None:
        """Open the film.

        Raises:
            LaminarError: it cannot be opened.
        """
        self.film = film
        self._frames = film.frames
        self._container = film.opened()
        self._stream = self._container.streams.video[0]
        self._convert = VideoReformatter()
        self._decoded: Iterator[Any] = iter(())
        self._next: int | None = None  # number of the frame that comes next

    def close(self) -> None:
        """Close the file."""
        self._container.close()

    def read(self, numbers: Sequence[int]) -> Iterator[Array]:
        """Yield the pictures (H, W, 3) of frames with ascending numbers.

        Raises:
            LaminarError: one of them cannot be decoded.
        """
        for number in numbers:
            try:
                frame = self._find(number)
                picture = self._convert.reformat(frame, format="rgb24").to_ndarray()
            except DAMAGE as error:
                raise self.film.damaged(error) from error
            if picture.shape != self.film.shape:
                raise LaminarError(
                    f"{self.film.file}: frame {number} has shape {picture.shape}, expected {self.film.shape}; repair it"
                )
            yield picture

    def _find(self, number: int) -> Any:
        keys = self._frames.keys
        at = int(np.searchsorted(keys, number, side="right")) - 1
        begin = self._next is not None and keys[at] <= self._next <= number
        while not begin:  # a seek may end at a key frame behind, where frames are reordered: then from one before
            self._container.seek(int(self._frames.pts[keys[at]]), stream=self._stream)
            self._decoded = iter(self._container.decode(self._stream))
            frame = next(self._decoded, None)
            self._next = None if frame is None else self._number(frame) + 1
            if frame is not None and self._number(frame) == number:
                return frame
            begin = self._next is not None and self._next <= number
            at -= 1
            if at < 0 and not begin:
                break
        for frame in self._decoded:
            self._next = self._number(frame) + 1
            if self._next > number:
                if self._next == number + 1:
                    return frame
                break
        self._next = None
        raise LaminarError(f"{self.film.file}: frame {number} cannot be decoded, the file is damaged; copy it again")

    def _number(self, frame: Any) -> int:
        pts = -1 if frame.pts is None else frame.pts
        number = int(np.searchsorted(self._frames.pts, pts))
        if number == len(self._frames.pts) or self._frames.pts[number] != pts:
            raise LaminarError(f"{self.film.file}: a frame has a time that no packet has; copy it again")
        return number
