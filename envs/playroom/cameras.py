"""The two cameras of the room: one that looks at the table, one in the hand."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import LaminarError
from ..rendering import open_renderer
from .physics import Physics

_NAMES = {"rgb_static": "static", "rgb_gripper": "gripper"}  # key of the observation -> camera of the model


class Cameras:
    """Square pictures of one room, drawn without shadows as all pictures of laminar are.

    Attributes:
        sizes: "rgb_static" and "rgb_gripper" -> pixels a side.
    """

    def __init__(self, room: Physics, static_size: int, gripper_size: int) -> None:
        """Prepare; the rendering contexts are opened for the first picture."""
        self._room = room
        self.sizes = {"rgb_static": static_size, "rgb_gripper": gripper_size}
        self._renderers: dict[str, Any] = {}

    def pictures(self) -> dict[str, NDArray[np.uint8]]:
        """Return both pictures, key -> (size, size, 3)."""
        return {key: self.picture(key) for key in self.sizes}

    def picture(self, key: str) -> NDArray[np.uint8]:
        """Return one picture (size, size, 3).

        Raises:
            LaminarError: no OpenGL library works here, or the rendering context died.
        """
        if key not in self._renderers:
            size = self.sizes[key]
            self._renderers[key] = open_renderer(self._room.model, size, size)
        renderer = self._renderers[key]
        renderer.update_scene(self._room.data, _NAMES[key])
        picture = renderer.render()
        if picture.min() == picture.max():
            raise LaminarError(
                f"the picture '{key}' of the playroom is empty: the rendering context died; "
                "set MUJOCO_GL=osmesa or MUJOCO_GL=egl, the one that is not in use"
            )
        return picture

    def close(self) -> None:
        """Free the rendering contexts."""
        for renderer in self._renderers.values():
            renderer.close()
        self._renderers = {}
