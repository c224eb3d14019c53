"""The user's own copy of `calvin_env`: finding it, checking it, importing it, reading its settings.

CALVIN's simulator (Mees et al. 2022, arXiv:2112.03227) is on no package index: it is a git checkout with its settings
and meshes beside the package, found through CALVIN_ENV_ROOT or as an importable package `calvin_env`. Nothing of it is
part of laminar.
"""

from __future__ import annotations

import ctypes
import os
import re
import sys
import warnings
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import yaml

from ..data.calvin.layout import LAYOUTS
from ..errors import LaminarError

VARIABLE = "CALVIN_ENV_ROOT"
CHECKOUT = f"git clone https://github.com/mees/calvin_env && export {VARIABLE}=$PWD/calvin_env"
_ROBOT = ("robot/panda.yaml", "robot/panda_longer_finger.yaml")  # the second one changes the first
_ENVIRONMENT, _TASKS = "env/play_table_env.yaml", "tasks/new_playtable_tasks.yaml"
_CAMERAS = {name: f"cameras/cameras/{name}.yaml" for name in ("static", "gripper")}
_DRAWING = ("createVisualShape", "createMultiBody")


def find_root() -> Path | None:
    """Return the folder that CALVIN_ENV_ROOT names, or else that of an importable `calvin_env`; None without both."""
    named = os.environ.get(VARIABLE)
    if named:
        return Path(named).expanduser().resolve()
    found = find_spec("calvin_env")
    return Path(found.origin).resolve().parents[1] if found and found.origin else None


def calvin_problem() -> str:
    """Return what is missing of calvin_env itself, with the remedy; "" if it is all there."""
    root = find_root()
    if root is None:
        return f"no calvin_env: {VARIABLE} is not set and no package of that name is installed; get it with: {CHECKOUT}"
    missing = next((path for path in _needed_files(root) if not path.is_file()), None)
    if missing is not None:
        return f"calvin_env in {root} lacks {missing.relative_to(root)}; get a whole checkout with: {CHECKOUT}"
    if not any((folder / ".git").exists() for folder in (root, *root.parents)):
        return f"{root} is no git checkout, and calvin_env asks git for its own commit; get one with: {CHECKOUT}"
    return ""


def _needed_files(root: Path) -> Iterator[Path]:
    """Yield code, settings, models and their meshes; what a file mentions comes after the file itself."""
    conf, data = root / "conf", root / "data"
    yield root / "calvin_env" / "envs" / "play_table_env.py"
    yield from (conf / name for name in (*_ROBOT, _ENVIRONMENT, _TASKS, *_CAMERAS.values()))
    models = {data / "plane" / "plane.urdf", data / _read(conf / _ROBOT[1])["filename"]}
    for scene in LAYOUTS:
        yield conf / _scene_file(scene)
        for group in _read(conf / _scene_file(scene))["objects"].values():
            models |= {data / item["file"] for item in group.values()}
    for model in sorted(models):
        yield model
        for mesh in re.findall(r'<mesh[^>]*filename="(?:package://)?([^"]+)"', model.read_text()):
            yield Path(os.path.normpath(model.parent / mesh))


def _scene_file(scene: str) -> str:
    return f"scene/calvin_scene_{scene}.yaml"


def _read(path: Path) -> dict[str, Any]:
    settings: dict[str, Any] = yaml.safe_load(path.read_text())
    return settings


def world_settings(root: Path, scene: str) -> dict[str, Any]:
    """Return the arguments of calvin_env's PlayTableSimEnv for a scene, without a window, EGL and cameras.

    calvin_env would compose them with Hydra; here its files are merged by hand, so that this process's own Hydra is
    left alone.
    """
    conf = root / "conf"
    place = _read(conf / _scene_file(scene))
    robot = _read(conf / _ROBOT[0]) | _read(conf / _ROBOT[1])
    del robot["defaults"]
    for key in ("base_position", "base_orientation", "initial_joint_positions"):
        robot[key] = place[f"robot_{key}"]
    place |= {"data_path": str(root / "data"), "euler_obs": robot["euler_obs"]}
    settings = _read(conf / _ENVIRONMENT)
    del settings["_target_"], settings["_recursive_"]
    off = dict.fromkeys(("use_egl", "use_vr", "show_gui"), False)
    return settings | off | {"use_scene_info": True, "cameras": {}, "robot_cfg": robot, "scene_cfg": place}


def camera_settings(root: Path, name: str) -> dict[str, Any]:
    """Return the arguments of the "static" or the "gripper" camera."""
    settings = _read(root / "conf" / _CAMERAS[name])
    del settings["_target_"]
    return settings


@dataclass(frozen=True)
class Simulator:
    """calvin_env, imported.

    Attributes:
        root: its folder.
        commit: of the checkout.
        world, static_camera, gripper_camera: its classes.
        oracle: says which tasks were completed between two infos.
    """

    root: Path
    commit: str
    world: Any
    static_camera: Any
    gripper_camera: Any
    oracle: Any


def load_simulator() -> Simulator:
    """Import the user's calvin_env.

    Raises:
        LaminarError: it, or a package that it needs, is missing; says how to get it.
    """
    problem = calvin_problem()
    if problem:
        raise LaminarError(f"{problem}; `laminar doctor` checks it")
    try:
        with unheard(), _importable(find_root()), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Hydra, about a main function that nobody calls here
            world = import_module("calvin_env.envs.play_table_env")
            tasks = import_module("calvin_env.envs.tasks")
            static, gripper = (import_module(f"calvin_env.camera.{name}_camera") for name in _CAMERAS)
            robot = import_module("calvin_env.robot.robot")
    except ImportError as error:
        raise LaminarError(
            f"calvin_env cannot be imported ({error}); pip install 'laminar[calvin]', and see `laminar doctor`"
        ) from error
    _draw_base_in_own_world(robot)
    file = Path(str(world.__file__)).resolve()
    root = file.parents[2]
    oracle = tasks.Tasks(_read(root / "conf" / _TASKS)["tasks"])
    commit = world.get_git_commit_hash(file)
    return Simulator(root, commit, world.PlayTableSimEnv, static.StaticCamera, gripper.GripperCamera, oracle)


@contextmanager
def unheard() -> Generator[None, None, None]:
    """Keep from the terminal what C code prints meanwhile: pybullet says "argv[0]=" for every world that it makes."""
    c = ctypes.CDLL(None)
    sys.stdout.flush()
    c.fflush(None)
    shown, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    try:
        yield
    finally:
        c.fflush(None)  # into nowhere
        os.dup2(shown, 1)
        os.close(shown)
        os.close(nowhere)


@contextmanager
def _importable(root: Path | None) -> Generator[None, None, None]:
    """Let `calvin_env` be found, and let gymnasium stand in for the gym that it was written for, while it is imported.

    It needs gym's Env and np_random only, and gym is no longer maintained.
    """
    names = ("", ".utils", ".utils.seeding")
    before = {f"gym{name}": sys.modules.get(f"gym{name}") for name in names}
    sys.modules.update({f"gym{name}": import_module(f"gymnasium{name}") for name in names})
    sys.path.insert(0, str(root))
    try:
        yield
    finally:
        sys.path.remove(str(root))
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module


def _draw_base_in_own_world(robot: Any) -> None:
    """Make every world draw the robot's pedestal in itself.

    calvin_env leaves out the number of the world in these calls, so that each further world of a process puts its
    pedestal into the first one: its own pictures lack it, and it cannot be loaded once the first one is closed.
    """
    bullet, draw = robot.p, robot.Robot.add_base_cylinder
    if draw.__module__ != robot.__name__:
        return  # done when it was imported first

    def add_base_cylinder(self: Any) -> None:
        own = {name: partial(getattr(bullet, name), physicsClientId=self.cid) for name in _DRAWING}
        robot.p = SimpleNamespace(**{**vars(bullet), **own})
        try:
            draw(self)
        finally:
            robot.p = bullet

    robot.Robot.add_base_cylinder = add_base_cylinder
