"""The installed package, imported without its warnings and without a need for OpenGL."""

from __future__ import annotations

import os
import warnings
from importlib import import_module

from ..packages import require
from ..rendering import choose_backend, load_mujoco

# 1.2.2 is the release that was tried; OGBench itself leaves MuJoCo 3.9.0 out
NEEDED = {"ogbench": ">=1.2.2,<1.3", "mujoco": ">=3.3,!=3.9.0,<3.12"}


def load(env_id: str) -> None:
    """Import OGBench, which registers its environments with gymnasium.

    MuJoCo's own pictures have their backend by then. The one of dm_control, which only builds the models, would look
    for a screen, and warn where there is none.

    Args:
        env_id: for the message.

    Raises:
        LaminarError: it is not installed, or in another release than it needs.
    """
    require(env_id, "ogbench", NEEDED)
    choose_backend()
    load_mujoco()
    before = os.environ.get("MUJOCO_GL")
    os.environ["MUJOCO_GL"] = "disable"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import_module("dm_control.mjcf")
            import_module("ogbench")
    finally:
        if before is None:
            del os.environ["MUJOCO_GL"]
        else:
            os.environ["MUJOCO_GL"] = before
