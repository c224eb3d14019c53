"""A contact sheet: pictures of all cameras in some episodes, from their beginning to their end, as one PNG."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import LaminarError
from ...overwriting import check_files
from ..episodes import Episodes
from .frames import cameras, picture

if TYPE_CHECKING:
    from PIL import Image

_EPISODES, _MOMENTS = 8, 8
_SIDE = 128  # pixels of a picture's longer side
_GAP, _LINE = 6, 18
_PAPER, _INK, _SOFT = "white", "#1c2330", "#5b6675"


def check_sheet(file: Path, overwrite: bool = False) -> Path:
    """Return a file that a sheet may be written to.

    Raises:
        LaminarError: it is no PNG, or exists.
    """
    if file.suffix.lower() != ".png":
        raise LaminarError(f"sheet={file}: a contact sheet is a PNG file; call it {file.name}.png")
    check_files([file], overwrite, setting="sheet")
    return file


def write_sheet(episodes: Episodes, file: Path) -> Path:
    """Write a sheet, a row an episode and camera.

    Raises:
        LaminarError: there are no pictures in the episodes, or the file cannot be written.
    """
    keys = cameras(episodes)
    if not keys:
        raise LaminarError(f"{episodes.source}: has no pictures to put on {file}; leave sheet= out")
    chosen = np.unique(np.linspace(0, episodes.num_episodes - 1, _EPISODES).round().astype(np.int64))
    strips = [_strip(episodes, int(episode), key) for episode in chosen for key in keys]
    width = max(strip.width for strip in strips) + 2 * _GAP
    height = sum(strip.height + _GAP for strip in strips) + _GAP
    sheet, top = _blank(width, height), _GAP
    for strip in strips:
        sheet.paste(strip, (_GAP, top))
        top += strip.height + _GAP
    stream = io.BytesIO()
    sheet.save(stream, "PNG", optimize=True)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(stream.getvalue())
    except OSError as error:
        raise LaminarError(f"{file}: cannot be written ({error.strerror}); choose another sheet=") from error
    return file


def _strip(episodes: Episodes, episode: int, key: str) -> Image.Image:
    """Return pictures of an episode by one camera, under a line that names both."""
    from PIL import ImageDraw, ImageFont

    start, end = int(episodes.starts[episode]), int(episodes.ends[episode])
    rows = np.unique(np.linspace(start, end - 1, _MOMENTS).round().astype(np.int64))
    shown = [_enlarged(picture(frame, _SIDE)) for frame in np.asarray(episodes.observation[key][rows])]
    width = sum(one.width for one in shown) + _GAP * (_MOMENTS - 1)
    strip = _blank(width, _LINE + max(one.height for one in shown) + _LINE)
    pen, font, small = ImageDraw.Draw(strip), ImageFont.load_default(13), ImageFont.load_default(11)
    pen.text((0, 0), _title(episodes, episode, key), _INK, font)
    left = 0
    for row, one in zip(rows, shown, strict=True):
        strip.paste(one, (left, _LINE))
        pen.text((left, _LINE + one.height + 2), f"step {row - start}", _SOFT, small)
        left += one.width + _GAP
    return strip


def _title(episodes: Episodes, episode: int, key: str) -> str:
    end = ""
    if episodes.success is not None:
        end = ", success" if episodes.success[episode] else ", no success"
    return f"episode {episode}{end}: {key.encode('ascii', 'backslashreplace').decode()}"


def _enlarged(image: Image.Image) -> Image.Image:
    """Return a picture of few pixels with each of them several times as large."""
    times: Any = max(1, _SIDE // max(image.size))
    return image.resize((image.width * times, image.height * times), 0) if times > 1 else image


def _blank(width: int, height: int) -> Image.Image:
    from PIL import Image

    return Image.new("RGB", (width, height), _PAPER)
