"""The newest pictures of a robot's cameras, small enough for a page."""

from __future__ import annotations

import io
from dataclasses import dataclass

from PIL import Image

from ...data.robots.aligning import Seen
from ...data.robots.description import Camera
from ...data.robots.values import picture
from ...errors import LaminarError
from ..perception import Perception

_WIDEST = 320  # pixels
_QUALITY = 75


@dataclass(frozen=True)
class Picture:
    """One picture.

    Attributes:
        seen: what it was made of.
        jpeg: the file.
    """

    seen: Seen
    jpeg: bytes


class Pictures:
    """Makes JPEG files of what cameras show; called from one thread at a time, which is not the control loop's.

    Attributes:
        newest: the last picture of each camera; None before the first.
    """

    def __init__(self, perception: Perception) -> None:
        """Know the cameras, in the order of the observation."""
        self._sources = perception.sources
        self._cameras = [shown for shown in perception.robot.observation.values() if isinstance(shown, Camera)]
        self.newest: list[Picture | None] = [None] * len(self._cameras)

    def make(self) -> None:
        """Make those that are new."""
        newest = self._sources.newest()
        for index, camera in enumerate(self._cameras):
            seen, before = newest.get(camera.topic), self.newest[index]
            if seen is not None and (before is None or seen is not before.seen):
                self.newest[index] = _made(camera, seen) or before


def _made(camera: Camera, seen: Seen) -> Picture | None:
    """Return a picture; None of what is none, for which the controller holds and says why."""
    try:
        image = Image.fromarray(picture(camera, seen.message))
    except LaminarError:
        return None
    image.thumbnail((_WIDEST, _WIDEST))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=_QUALITY)
    return Picture(seen, file.getvalue())
