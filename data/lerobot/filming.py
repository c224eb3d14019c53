"""Pictures to MP4 as LeRobot has it: many episodes in one file, every second frame a key frame."""

from __future__ import annotations

import errno
import os
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import LaminarError

Array = NDArray[Any]
KEY_FRAMES = 2
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_CHECKED = 32  # first frames of a file that are decoded again


@dataclass(frozen=True)
class Codec:
    """How frames are encoded.

    Attributes:
        encoder: FFmpeg's name of it.
        name: of the codec, as `meta/info.json` has it.
        pixels: format of the pixels; 4:2:0 keeps colour at half the resolution.
        options: of the encoder.
    """

    encoder: str
    name: str
    pixels: str
    options: dict[str, str]


CODECS = {
    "av1": Codec("libsvtav1", "av1", "yuv420p", {"crf": "20", "preset": "8"}),
    "h264": Codec("libx264", "h264", "yuv444p", {"crf": "12", "preset": "veryfast"}),
}
"""Codecs by the names of the setting `video_codec`."""


class Film:
    """One MP4 that is being written."""

    def __init__(self, path: Path, shape: tuple[int, ...], rate: Fraction, codec: Codec) -> None:
        """Begin a file of frames (height, width, 3).

        Raises:
            LaminarError: the encoder does not take frames of this size.
        """
        import av

        os.environ.setdefault("SVT_LOG", "1")  # its encoder talks otherwise
        self.path, self._rate, self._first = path, rate, np.zeros((0, *shape), np.uint8)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._library: Any = av
        self._container: Any = self._library.open(str(path), "w")
        self._stream: Any = self._container.add_stream(codec.encoder, rate=rate)
        self._stream.height, self._stream.width, self._stream.pix_fmt = shape[0], shape[1], codec.pixels
        self._stream.options = codec.options | {"g": str(KEY_FRAMES)}
        self.frames = self.size = 0  # bytes, of the packets so far

    def add(self, frames: Array) -> None:
        """Encode frames (n, height, width, 3)."""
        if len(self._first) < _CHECKED:
            self._first = np.concatenate([self._first, frames[: _CHECKED - len(self._first)]])
        for pixels in frames:
            frame = self._library.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            frame.pts, frame.time_base = self.frames, 1 / self._rate
            self._encode(frame)
            self.frames += 1

    def close(self) -> float:
        """Finish the file.

        Returns:
            The lowest peak signal-to-noise ratio of its first frames, in dB.

        Raises:
            LaminarError: it does not hold as many frames as were given.
        """
        self._encode(None)
        with self._writing():
            self._container.close()
        worst, count = np.inf, 0
        with self._library.open(str(self.path)) as container:
            container.streams.video[0].thread_type = "NONE"
            for frame, expected in zip(container.decode(video=0), self._first, strict=False):
                error = np.mean((frame.to_ndarray(format="rgb24").astype(np.float32) - expected) ** 2)
                worst, count = min(worst, 10 * float(np.log10(255.0**2 / max(error, 1e-9)))), count + 1
        if count != len(self._first):
            raise LaminarError(f"{self.path}: {count} of {len(self._first)} frames came back; try another video_codec")
        return worst

    def _encode(self, frame: Any) -> None:
        with self._writing():
            for packet in self._stream.encode(frame):
                self.size += packet.size
                self._container.mux(packet)

    @contextmanager
    def _writing(self) -> Generator[None]:
        """Tell a full disk from frames that the encoder does not take."""
        try:
            yield
        except self._library.FFmpegError as error:
            if error.errno in _NO_ROOM:
                raise OSError(error.errno, os.strerror(error.errno)) from error
            raise LaminarError(
                f"{self.path.name}: frames of {self._stream.width} x {self._stream.height} pixels cannot be encoded by "
                f"{self._stream.codec_context.name} ({error.strerror}); give another video_codec, or video=false"
            ) from error
