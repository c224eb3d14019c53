"""Pictures of MuJoCo environments without a screen, fast enough for a CPU.

Shadows, multisampling and reflections are off: software rendering is fifty times faster without them. All pictures of
laminar, in data and in videos, are made this way, because a policy that sees shadows notices their absence.
"""

from __future__ import annotations

import ctypes
import os
import sys
import warnings
from contextlib import suppress
from importlib import import_module
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from ..errors import LaminarError, nearest

_LIBRARIES = {"egl": ("libEGL.so.1",), "osmesa": ("libOSMesa.so.8", "libOSMesa.so.6", "libOSMesa.so")}
_WITHOUT = ("disable", "disabled", "off", "false", "0")  # values of MUJOCO_GL that ask for no pictures
_WITH = ("", "glfw", "enable", "enabled", "on", "true", "1")
_ON_SYSTEM = {"linux": ("egl", "glx", "osmesa"), "win32": ("wgl",), "darwin": ("cgl",)}
_REMEDY = (
    "install one (Debian, Ubuntu: apt-get install libegl1 libgl1-mesa-dri, or libosmesa6), "
    "or set MUJOCO_GL to egl, osmesa or glfw before Python starts, or evaluate without a video"
)
_unusable: list[str] = []  # what MUJOCO_GL was and why it was set aside, once it was


def choose_backend() -> None:
    """See to it that MUJOCO_GL names something that works: physics needs no OpenGL, but MuJoCo's import does.

    MuJoCo reads it once, when it is imported, and fails then, also where nothing is drawn, if the value is unknown or
    the library is missing. So on a Linux machine without a screen a library that loads is named, unless one is; and a
    value that cannot work is set aside, to be told by whoever wants pictures.
    """
    if "mujoco" in sys.modules:
        return
    if "MUJOCO_GL" in os.environ:
        problem = _problem(os.environ["MUJOCO_GL"].lower().strip())
        if problem:
            _set_aside(problem)
        return
    screen = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    if sys.platform != "linux" or screen:
        return
    for backend, names in _LIBRARIES.items():
        if any(_loads(name) for name in names):
            os.environ["MUJOCO_GL"] = backend
            return


def _problem(backend: str) -> str:
    """Return why MuJoCo cannot be imported with a value of MUJOCO_GL; "" if it probably can."""
    known = [*_ON_SYSTEM.get(sys.platform, ()), "glfw"]
    if backend not in (*_WITHOUT, *_WITH, *known):
        return f"is no OpenGL backend (known: {', '.join(known)}){nearest(backend, known)}"
    names = _LIBRARIES.get(backend, ()) if sys.platform == "linux" else ()
    return f"needs {names[0]}, which cannot be loaded" if names and not any(_loads(name) for name in names) else ""


def _set_aside(problem: str) -> None:
    _unusable[:] = [f"MUJOCO_GL={os.environ.get('MUJOCO_GL', '')} {problem}"]
    os.environ["MUJOCO_GL"] = "disable"


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def load_mujoco() -> Any:
    """Import MuJoCo, without pictures if its OpenGL backend fails; its names come from a compiled module without types.

    Call it before anything else imports MuJoCo: what a library that loads does not have is found out only then.

    Raises:
        ImportError: it is not installed, or broken in another way.
    """
    try:
        return import_module("mujoco")
    except Exception as error:  # whatever the OpenGL library or its wrapper raises
        if os.environ.get("MUJOCO_GL", "").lower() in _WITHOUT or isinstance(error, ModuleNotFoundError):
            raise
        _set_aside(f"fails ({str(error).splitlines()[0] if str(error) else type(error).__name__})")
        return import_module("mujoco")


def backend_remark() -> str:
    """Say, once in a process, that MUJOCO_GL was set aside, if it was and MuJoCo is in use; "" else."""
    if not _unusable or _unusable[1:] or "mujoco" not in sys.modules:
        return ""
    _unusable.append("told")
    return f"MuJoCo simulates without pictures: {_unusable[0]}"


def rendering_problem() -> str:
    """Return why this machine cannot draw MuJoCo scenes, with the remedy; "" if it can."""
    mujoco = load_mujoco()
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


def drawing_problem(env: gymnasium.Env[Any, Any]) -> str:
    """Return why an environment without a MuJoCo model cannot be filmed; "" if it can."""
    if simulator(env) is not None:
        return ""
    with suppress(AttributeError):  # gymnasium draws nothing before the first episode
        if not env.get_wrapper_attr("has_reset"):
            env.reset()
    try:
        Camera(env).picture()
    except LaminarError as error:
        return str(error)
    return ""


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
            LaminarError: the picture has one color only, which a dead rendering context gives without any error; or
                the environment gives none.
        """
        if self._renderer is not None:
            self._renderer.update_scene(self._owner.data, self._view)
            picture = self._renderer.render()
        else:
            picture = self._rendered()
        if picture.ndim != 3 or picture.min() == picture.max():
            raise LaminarError(
                f"the picture of {self._env} is empty (shape {picture.shape}, all pixels equal): the rendering context "
                "died; set MUJOCO_GL=osmesa or MUJOCO_GL=egl, the one that is not in use"
            )
        return picture

    def _rendered(self) -> NDArray[Any]:
        """Return what the environment draws by itself."""
        picture: Any = None
        if getattr(self._env, "render_mode", None) is not None:  # else gymnasium warns or fails
            with suppress(NotImplementedError):
                picture = self._env.render()
        if np.ndim(picture) != 3:
            raise LaminarError(
                f"{name_of(self._env)} draws none: render() with render_mode=rgb_array, which its metadata must list, "
                "has to return (height, width, 3); video_episodes=0 asks for no film"
            )
        return np.asarray(picture)

    def close(self) -> None:
        """Free the rendering context."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None


def name_of(env: gymnasium.Env[Any, Any]) -> str:
    """Return what an environment is called in messages: its id, or its class."""
    return env.spec.id if env.spec is not None else type(env.unwrapped).__name__


def open_renderer(model: Any, width: int, height: int) -> Any:
    """Return a `mujoco.Renderer` that draws fast on a CPU.

    Raises:
        LaminarError: the machine has no OpenGL library that works; tells the remedy.
    """
    mujoco = load_mujoco()
    if _unusable:
        _unusable[1:] = ["told"]
        raise LaminarError(f"no OpenGL for pictures ({_unusable[0]}); {_REMEDY}")
    model.vis.quality.shadowsize = 0
    model.vis.quality.offsamples = 0
    model.vis.global_.offwidth = max(model.vis.global_.offwidth, width)
    model.vis.global_.offheight = max(model.vis.global_.offheight, height)
    context = getattr(mujoco, "GLContext", None)
    if context is not None and not hasattr(context, "_context"):
        context._context = None  # else one that could not be made prints a traceback when it is deleted
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # glfw warns before MuJoCo fails; the error below says it all
            renderer = mujoco.Renderer(model, height, width)
    except (mujoco.FatalError, ImportError, AttributeError, RuntimeError) as error:
        backend = os.environ.get("MUJOCO_GL", "glfw")
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        if backend.lower() in _WITHOUT:
            reason = "pictures are switched off"
        raise LaminarError(f"no OpenGL for pictures (MUJOCO_GL={backend}: {reason}); {_REMEDY}") from error
    for flag in (mujoco.mjtRndFlag.mjRND_SHADOW, mujoco.mjtRndFlag.mjRND_REFLECTION, mujoco.mjtRndFlag.mjRND_SKYBOX):
        renderer.scene.flags[flag] = 0
    return renderer


def _view(env: gymnasium.Env[Any, Any], owner: Any) -> Any:
    """Return the camera: the playroom's static one, mazes from above, all else as gymnasium's own renderer has it.

    An environment may say which by `filmed_by`, a name in its model or a camera of MuJoCo's.
    """
    mujoco = load_mujoco()
    chosen = getattr(env.unwrapped, "filmed_by", "static")
    if not isinstance(chosen, str):
        return chosen
    view = mujoco.MjvCamera()
    mujoco.mjv_defaultFreeCamera(owner.model, view)
    fixed = mujoco.mj_name2id(owner.model, mujoco.mjtObj.mjOBJ_CAMERA, chosen)
    if fixed >= 0:
        view.type, view.fixedcamid = mujoco.mjtCamera.mjCAMERA_FIXED, fixed
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
