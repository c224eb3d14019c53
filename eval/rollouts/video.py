"""Filming episodes into an MP4 that every browser plays, with what is going on written into each frame."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from io import BytesIO
from itertools import chain
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont, ImageOps

from ...envs.make import control_rate
from ...envs.rendering import Camera
from ...errors import LaminarError

Frame = NDArray[np.uint8]
FRAMES_PER_SECOND = 25.0  # of simulated time, at most
_HOLD = 1.0  # seconds that the last frame of an episode stays, with how it ended
_LETTERS, _MARGIN, _LINES = 17, 10, 2  # pixels; lines of a caption, at most
_STRIP = "#14181d"
_COLORS = {True: "#4cd38a", False: "#ff7b6b", None: "#c8d0da"}


@dataclass(frozen=True)
class Caption:
    """What is written into a frame.

    Attributes:
        whose: which episode: "seed 1003".
        clock: how far it is: "4.2 s".
        outcome: so far, or at the end.
        good: whether that is a success; None where it is not decided or not known.
        task: what is to be done.
    """

    whose: str = ""
    clock: str = ""
    outcome: str = ""
    good: bool | None = None
    task: str = ""


@dataclass
class _Take:
    """What was filmed of one episode; pictures wait as JPEG, a tenth of their size."""

    caption: Caption
    shots: list[tuple[bytes, Caption]] = field(default_factory=list[tuple[bytes, Caption]])
    steps: int = 0
    fresh: bool = False  # whether the last shot is of the current step


class Recorder:
    """Collects pictures of the episodes with the given seeds while they run."""

    def __init__(self, path: Path, seeds: Sequence[int], width: int = 640, height: int = 480) -> None:
        """Film episodes `seeds` for the file `path`; `width` and `height` in pixels, even."""
        self.path, self.size = path, (width, height)
        self._takes = {seed: _Take(Caption(f"seed {seed}")) for seed in seeds}
        self._cameras: dict[int, Camera] = {}  # by the identity of the environment, which Lockstep keeps alive
        self._rate = FRAMES_PER_SECOND

    def add(self, seed: int) -> None:
        """Film another episode, too, which comes after those that are filmed already."""
        self._takes.setdefault(seed, _Take(Caption(f"seed {seed}")))

    def films(self, seed: int) -> bool:
        """Tell whether an episode is one to film."""
        return seed in self._takes

    def caption(self, seed: int, **told: Any) -> None:
        """Write something else into the pictures of an episode, from the one of the current step on.

        Args:
            seed: of an episode; one that is not filmed is ignored.
            told: fields of `Caption` that change.
        """
        take = self._takes.get(seed)
        if take is None:
            return
        take.caption = replace(take.caption, **told)
        if take.fresh:
            take.shots[-1] = (take.shots[-1][0], take.caption)

    def film(self, seed: int, env: gymnasium.Env[Any, Any]) -> None:
        """Take a picture if the episode is one to film and a frame is due; call it after reset and every step."""
        take = self._takes.get(seed)
        if take is None:
            return
        known = control_rate(env)
        rate = known or FRAMES_PER_SECOND
        stride = max(1, round(rate / FRAMES_PER_SECOND))
        self._rate = rate / stride
        take.fresh = take.steps % stride == 0
        take.caption = replace(take.caption, clock=f"{take.steps / rate:.1f} s" if known else f"step {take.steps}")
        if take.fresh:
            if id(env) not in self._cameras:
                self._cameras[id(env)] = Camera(env, *self.size)
            take.shots.append((_packed(self._cameras[id(env)].picture(), self.size), take.caption))
        take.steps += 1

    def write(self) -> None:
        """Write the episodes one after the other, in the order of the seeds."""
        write_video(self.path, chain.from_iterable(map(self._frames, self._takes.values())), self._rate)

    def _frames(self, take: _Take) -> Iterator[Frame]:
        for packed, caption in take.shots:
            yield captioned(_unpacked(packed), caption)
        if take.shots:
            last = captioned(_unpacked(take.shots[-1][0]), take.caption)
            yield from (last for _ in range(round(_HOLD * self._rate)))

    def close(self) -> None:
        """Free the cameras."""
        for camera in self._cameras.values():
            camera.close()
        self._cameras.clear()


def _packed(picture: NDArray[Any], size: tuple[int, int]) -> bytes:
    """Return a picture in another size, with black beside it where it has another shape, as JPEG."""
    image = Image.fromarray(np.asarray(picture, np.uint8)).convert("RGB")
    if image.size != size:
        image = ImageOps.pad(image, size, color="black")
    packed = BytesIO()
    image.save(packed, "JPEG", quality=92)
    return packed.getvalue()


def _unpacked(packed: bytes) -> Frame:
    return np.asarray(Image.open(BytesIO(packed)))


def captioned(picture: Frame, caption: Caption) -> Frame:
    """Return a picture (height, width, 3), scaled down to make room for a caption below it, of the same size."""
    height, width = picture.shape[:2]
    font, line = _font(), _LETTERS + 6
    lines = _wrapped(caption.task, font, width - 2 * _MARGIN)
    top = height - _MARGIN - line * (1 + len(lines))
    image = Image.new("RGB", (width, height), _STRIP)
    image.paste(ImageOps.pad(Image.fromarray(picture), (width, top), color=_STRIP))
    pen = ImageDraw.Draw(image)
    pen.text((_MARGIN, top + 5), f"{caption.whose}   {caption.clock}".strip(), fill="white", font=font)
    pen.text((width - _MARGIN, top + 5), caption.outcome, fill=_COLORS[caption.good], font=font, anchor="ra")
    for number, text in enumerate(lines, start=1):
        pen.text((_MARGIN, top + 5 + number * line), text, fill="white", font=font)
    return np.asarray(image)


@cache
def _font() -> Any:
    return ImageFont.load_default(_LETTERS)


@cache
def _wrapped(text: str, font: Any, width: int) -> list[str]:
    """Return a text in lines of that many pixels; what is too long ends with an ellipsis."""
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and font.getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    cut = len(lines) > _LINES
    shown = lines[:_LINES]
    for index, one in enumerate(shown):
        more = cut and index == _LINES - 1
        while font.getlength(f"{one}…" if more else one) > width:
            one, more = one[:-1], True
        shown[index] = f"{one}…" if more else one
    return shown


def write_video(path: Path, frames: Iterable[Frame], rate: float) -> None:
    """Write frames (height, width, 3) as H.264 in yuv420p; an odd row or column is cut off.

    Raises:
        LaminarError: no frames, or the encoder is not installed.
    """
    rest = iter(frames)
    first = next(rest, None)
    if first is None:
        raise LaminarError(f"{path}: no frames to write; film at least one episode")
    try:
        import imageio_ffmpeg
    except ImportError as error:
        raise LaminarError(f"{path}: videos need the package imageio-ffmpeg; pip install imageio-ffmpeg") from error
    height, width = (size - size % 2 for size in first.shape[:2])
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".tmp.mp4")
    encode: Any = imageio_ffmpeg.write_frames  # its annotation forbids a fractional frame rate, ffmpeg takes it
    # faststart: the index comes first, so that a browser plays before it has all
    how = {"codec": "libx264", "pix_fmt_out": "yuv420p", "macro_block_size": 2}
    writer = encode(str(unfinished), (width, height), fps=rate, output_params=["-movflags", "+faststart"], **how)
    writer.send(None)  # starts the encoder
    for frame in chain([first], rest):
        writer.send(np.ascontiguousarray(frame[:height, :width]))
    writer.close()
    os.replace(unfinished, path)
