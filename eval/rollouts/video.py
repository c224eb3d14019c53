"""Filming episodes into an MP4 that every browser plays."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from ...envs.make import control_rate
from ...envs.rendering import Camera
from ...errors import LaminarError

FRAMES_PER_SECOND = 25.0  # of simulated time, at most


class Recorder:
    """Collects pictures of the episodes with the given seeds while they run."""

    def __init__(self, path: Path, seeds: Sequence[int], width: int = 320, height: int = 240) -> None:
        """Film episodes `seeds` for the file `path`; `width` and `height` in pixels, even."""
        self.path, self.size = path, (width, height)
        self._frames: dict[int, list[NDArray[np.uint8]]] = {seed: [] for seed in seeds}
        self._steps = dict.fromkeys(seeds, 0)
        self._captions: dict[int, str] = {}
        self._cameras: dict[int, Camera] = {}  # by the identity of the environment, which Lockstep keeps alive
        self._rate = FRAMES_PER_SECOND

    def caption(self, seed: int, text: str) -> None:
        """Write a text into the pictures of an episode from now on, at their lower edge."""
        self._captions[seed] = text

    def film(self, seed: int, env: gymnasium.Env[Any, Any]) -> None:
        """Take a picture if the episode is one to film and a frame is due; call it after reset and every step."""
        if seed not in self._frames:
            return
        rate = control_rate(env) or FRAMES_PER_SECOND
        stride = max(1, round(rate / FRAMES_PER_SECOND))
        self._rate = rate / stride
        if self._steps[seed] % stride == 0:
            if id(env) not in self._cameras:
                self._cameras[id(env)] = Camera(env, *self.size)
            picture = self._cameras[id(env)].picture()
            self._frames[seed].append(_captioned(picture, self._captions.get(seed, "")))
        self._steps[seed] += 1

    def write(self) -> None:
        """Write the episodes one after the other, in the order of the seeds."""
        frames = [frame for episode in self._frames.values() for frame in episode]
        write_video(self.path, frames, self._rate)

    def close(self) -> None:
        """Free the cameras."""
        for camera in self._cameras.values():
            camera.close()
        self._cameras.clear()


def _captioned(picture: NDArray[np.uint8], text: str) -> NDArray[np.uint8]:
    if not text:
        return picture
    image = Image.fromarray(picture)
    text = textwrap.fill(text, image.width // 6)  # a letter is about 6 pixels wide
    pen, font = ImageDraw.Draw(image), ImageFont.load_default(12)
    height = 4 + pen.multiline_textbbox((0, 0), text, font)[3]
    pen.rectangle((0, image.height - height, image.width, image.height), fill="black")
    pen.multiline_text((4, image.height - height), text, fill="white", font=font)
    return np.asarray(image)


def write_video(path: Path, frames: Sequence[NDArray[np.uint8]], rate: float) -> None:
    """Write frames (height, width, 3) as H.264 in yuv420p; an odd row or column is cut off.

    Raises:
        LaminarError: no frames, or the encoder is not installed.
    """
    if not frames:
        raise LaminarError(f"{path}: no frames to write; film at least one episode")
    try:
        import imageio_ffmpeg
    except ImportError as error:
        raise LaminarError(f"{path}: videos need the package imageio-ffmpeg; pip install imageio-ffmpeg") from error
    height, width = (size - size % 2 for size in frames[0].shape[:2])
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".tmp.mp4")
    encode: Any = imageio_ffmpeg.write_frames  # its annotation forbids a fractional frame rate, ffmpeg takes it
    writer = encode(
        str(unfinished), (width, height), fps=rate, codec="libx264", pix_fmt_out="yuv420p", macro_block_size=2
    )
    writer.send(None)  # starts the encoder
    for frame in frames:
        writer.send(np.ascontiguousarray(frame[:height, :width]))
    writer.close()
    os.replace(unfinished, path)
