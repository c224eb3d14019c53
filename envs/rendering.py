"""Pictures of MuJoCo environments without a screen, fast enough for a CPU.

Shadows, multisampling and reflections are off: software rendering is fifty times faster without them. All pictures of
laminar, in data and in videos, are made this way, because a policy that sees shadows notices their absence.
"""

from __future__ import annotations

import ctypes
import os
import sys
import warnings
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from ..errors import LaminarError

_LIBRARIES = {"egl": ("libEGL.so.1",), "osmesa": ("libOSMesa.so.8", "libOSMesa.so.6", "libOSMesa.so")}
_REMEDY = (
    "install one (Debian, Ubuntu: apt-get install libegl1 libgl1-mesa-dri, or libosmesa6), "
    "or set MUJOCO_GL to egl, osmesa or glfw before Python starts, or evaluate without a video"
)


def choose_backend() -> None:
    """Set MUJOCO_GL on a Linux machine without a screen, unless it is set.

    MuJoCo reads it once, when it is imported, and then cannot even simulate if the library it names is missing. So
    only a library that loads is named.
    """
    screen = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    if sys.platform != "linux" or screen or "MUJOCO_GL" in os.environ or "mujoco" in sys.modules:
        return
    for backend, names in _LIBRARIES.items():
        if any(_loads(name) for name in names):
            os.environ["MUJOCO_GL"] = backend
            return


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def rendering_problem() -> str:
    """Return why this machine cannot draw MuJoCo scenes, with the remedy; "" if it can."""
    mujoco = _mujoco()
    box = "<mujoco><worldbody><geom size='1'/></worldbody></mujoco>"
    try:
        open_renderer(mujoco.MjModel.from_xml_string(box), 16, 16).close()
    except LaminarError as error:
        return str(error)
    return ""


def simulator(env: gymnasium.Env[Any, Any]) -> Any:
    """Return the object inside an environment that has MuJoCo's `model` and `data`; None for other environments."""
    inner = env.unwrapped
    for owner in (*(getattr(inner, name, None) for name in ("point_env", "ant_env", "robot_env")), inner):
        if hasattr(owner, "model") and hasattr(owner, "data"):
            return owner
    return None


class Camera:
    """Takes pictures of one environment; from its own default view, as gymnasium's renderer would."""

    def __init__(self, env: gymnasium.Env[Any, Any], width: int = 320, height: int = 240) -> None:
        """Open a rendering context.

        Raises:
            LaminarError: the machine has no OpenGL library that works.
        """
        self._env = env
        self._owner = simulator(env)
        self._renderer: Any = None
        if self._owner is not None:
            self._renderer = open_renderer(self._owner.model, width, height)
            self._view = _view(env, self._owner)

    def picture(self) -> NDArray[np.uint8]:
        """Return the current picture (height, width, 3).

        Raises:
            LaminarError: the picture has one color only, which a dead rendering context gives without any error.
        """
        if self._renderer is not None:
            self._renderer.update_scene(self._owner.data, self._view)
            picture = self._renderer.render()
        else:
            picture = np.asarray(self._env.render())
        if picture.ndim != 3 or picture.min() == picture.max():
            raise LaminarError(
                f"the picture of {self._env} is empty (shape {picture.shape}, all pixels equal): the rendering context "
                "died; set MUJOCO_GL=osmesa or MUJOCO_GL=egl, the one that is not in use"
            )
        return picture

    def close(self) -> None:
        """Free the rendering context."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None


def _mujoco() -> Any:
    """Import MuJoCo only when there is something to draw; its names come from a compiled module without types."""
    import mujoco

    return mujoco


def open_renderer(model: Any, width: int, height: int) -> Any:
    """Return a `mujoco.Renderer` that draws fast on a CPU.

    Raises:
        LaminarError: the machine has no OpenGL library that works; tells the remedy.
    """
    mujoco = _mujoco()
    model.vis.quality.shadowsize = 0
    model.vis.quality.offsamples = 0
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # glfw warns before MuJoCo fails; the error below says it all
            renderer = mujoco.Renderer(model, height, width)
    except (mujoco.FatalError, ImportError, AttributeError, RuntimeError) as error:
        backend = os.environ.get("MUJOCO_GL", "glfw")
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise LaminarError(f"no OpenGL for pictures (MUJOCO_GL={backend}: {reason}); {_REMEDY}") from error
    for flag in (mujoco.mjtRndFlag.mjRND_SHADOW, mujoco.mjtRndFlag.mjRND_REFLECTION, mujoco.mjtRndFlag.mjRND_SKYBOX):
        renderer.scene.flags[flag] = 0
    return renderer


def _view(env: gymnasium.Env[Any, Any], owner: Any) -> Any:
    """Return the camera: the playroom's static one, mazes from above, all else as gymnasium's own renderer has it."""
    mujoco = _mujoco()
    view = mujoco.MjvCamera()
    mujoco.mjv_defaultFreeCamera(owner.model, view)
    static = mujoco.mj_name2id(owner.model, mujoco.mjtObj.mjOBJ_CAMERA, "static")
    if static >= 0:
        view.type, view.fixedcamid = mujoco.mjtCamera.mjCAMERA_FIXED, static
        return view
    maze = getattr(env.unwrapped, "maze", None)
    if maze is not None:
        view.lookat[:] = 0.0
        view.elevation, view.distance = -75.0, 1.2 * maze.maze_size_scaling * max(maze.map_length, maze.map_width)
        return view
    view.lookat[:] = np.median(owner.data.geom_xpos, axis=0)
    settings = getattr(getattr(owner, "mujoco_renderer", None), "default_cam_config", None) or {}
    for name, value in settings.items():
        if isinstance(value, np.ndarray):
            getattr(view, name)[:] = value
        else:
            setattr(view, name, value)
    return view
