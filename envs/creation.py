"""Registering environments with gymnasium, and making them with errors that say what to do."""

from __future__ import annotations

import inspect
import re
import sys
import warnings
from collections.abc import Iterable, Mapping
from contextlib import redirect_stderr, suppress
from importlib import invalidate_caches
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import Any, get_args

import gymnasium
from gymnasium.envs.registration import load_env_creator

from ..errors import LaminarError, nearest
from .ids import split_id
from .rendering import load_mujoco


def register_own(env_id: str, creator: str, max_steps: int | None = None, **fixed: Any) -> None:
    """Register one of laminar's own environments with gymnasium, once.

    Args:
        env_id: what `gymnasium.make` is to know it by.
        creator: "module:Class" below `laminar.envs`; imported when the environment is made.
        max_steps: time limit in control steps; None: the environment's own.
        fixed: arguments of the class that the id decides.
    """
    if env_id not in gymnasium.registry:
        gymnasium.register(env_id, f"{__package__}.{creator}", max_episode_steps=max_steps, kwargs=fixed)


def register_robotics() -> None:
    """Register the environments of gymnasium-robotics with gymnasium, once, where it is installed."""
    if "PointMaze_UMaze-v3" not in gymnasium.registry and find_spec("gymnasium_robotics"):
        load_mujoco()
        # its import prints that the Adroit rewards changed: the suite of D4RL corrects that
        with redirect_stderr(StringIO()):
            import gymnasium_robotics

            gymnasium.register_envs(gymnasium_robotics)


def make_own(env_id: str, render: bool = False) -> gymnasium.Env[Any, Any]:
    """Make one of laminar's own environments, whose arguments have types.

    Raises:
        LaminarError: an argument that it does not take, or of another type than it takes.
    """
    name, arguments = split_id(env_id)
    _check_types(name, arguments)
    return create(name, arguments, render)


def check_known(gymnasium_id: str, asked: str, others: Iterable[str]) -> None:
    """Raise LaminarError for an id that gymnasium does not know.

    Args:
        gymnasium_id: the id; one of the form "package:Id-v0" is left for gymnasium to look up.
        asked: what the user wrote, to which the nearest known id is named.
        others: ids that are known besides gymnasium's.
    """
    if gymnasium_id not in gymnasium.registry and ":" not in gymnasium_id:
        known = [*gymnasium.registry, *others]
        near = nearest(asked, known)
        spaces = {one.rpartition("/")[0] for one in known}
        own = gymnasium_id.rpartition("/")[0]
        module = own.split("/")[0] or "MODULE"
        hint = f"; one of your own is named with the module that registers it, module:id, {module}:{gymnasium_id}"
        raise LaminarError(f"unknown environment '{gymnasium_id}'{near if near and own in spaces else hint}")


def create(gymnasium_id: str, kwargs: Mapping[str, Any], render: bool) -> gymnasium.Env[Any, Any]:
    """Make an environment that gymnasium knows.

    Args:
        gymnasium_id: without arguments.
        kwargs: for `gymnasium.make`.
        render: make environments without a MuJoCo model able to give pictures.

    Raises:
        LaminarError: an argument that it does not take, or whatever else keeps it from being made.
    """
    if "render_mode" in kwargs:
        raise LaminarError(
            f"environment '{gymnasium_id}' cannot be made: render_mode follows from the use; leave it out"
        )
    _look_here(gymnasium_id.rpartition(":")[0])
    if "mujoco" in _entry(gymnasium_id):
        load_mujoco()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.filterwarnings("ignore", message=".*out of date.*")  # -v4 is chosen on purpose: D4RL's dynamics
        try:
            env = _make(gymnasium_id, kwargs, render)
        except TypeError as error:
            raise LaminarError(_unknown_argument(gymnasium_id, error)) from error
        except (gymnasium.error.Error, ImportError, ValueError) as error:
            raise LaminarError(f"environment '{gymnasium_id}' cannot be made: {error}") from error
    model_file = getattr(env.unwrapped, "tmp_xml_file_path", None)
    if model_file is not None:  # every maze leaves one in the temporary folder
        Path(model_file).unlink(missing_ok=True)
    return env


def _look_here(module: str) -> None:
    """Let the module of "module:Id-v0" be found in the current folder too, as Python finds what a script imports.

    Raises:
        LaminarError: it is neither there nor installed.
    """
    package = module.partition(".")[0]
    if not package or package in sys.modules or find_spec(package):
        return
    if not any(Path(f"{package}{end}").exists() for end in (".py", "/__init__.py")):
        raise LaminarError(
            f"no module '{package}' registers environments here: it is not installed, and there is no {package}.py in "
            f"{Path.cwd()}"
        )
    sys.path.append(str(Path.cwd()))
    invalidate_caches()


def _make(gymnasium_id: str, kwargs: Mapping[str, Any], render: bool) -> gymnasium.Env[Any, Any]:
    """Call `gymnasium.make`; an environment that takes no render mode is made without, and cannot be filmed."""
    if render:
        with suppress(TypeError), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it has no such mode; whoever wants its picture will hear of it
            return gymnasium.make(gymnasium_id, render_mode="rgb_array", disable_env_checker=True, **kwargs)
    return gymnasium.make(gymnasium_id, disable_env_checker=True, **kwargs)


def _entry(gymnasium_id: str) -> str:
    """Return the place of the code that makes an environment, "" where gymnasium does not know it as text."""
    known = gymnasium.registry.get(gymnasium_id)
    return known.entry_point if known and isinstance(known.entry_point, str) else ""


def _unknown_argument(gymnasium_id: str, error: TypeError) -> str:
    """Say in one line which argument an environment refuses, and which it takes."""
    unknown = re.search(r"unexpected keyword argument '(\w+)'", str(error))
    if unknown is None:
        return f"environment '{gymnasium_id}' cannot be made: {error}"
    fixed = gymnasium.registry[gymnasium_id].kwargs if _entry(gymnasium_id).startswith(f"{__package__}.") else {}
    known = [
        p.name
        for p in _parameters(gymnasium_id.rpartition(":")[2]).values()
        if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD) and p.name not in {"render_mode", *fixed}
    ]
    takes = f"it takes {', '.join(known)}" if known else "it takes none"
    return f"environment '{gymnasium_id}' has no argument '{unknown[1]}' ({takes}){nearest(unknown[1], known)}"


def _parameters(gymnasium_id: str, evaluate: bool = False) -> Mapping[str, inspect.Parameter]:
    entry = gymnasium.registry[gymnasium_id].entry_point
    creator = load_env_creator(entry) if isinstance(entry, str) else entry
    return inspect.signature(creator, eval_str=evaluate).parameters if creator else {}


_WORDS = {str: "text", int: "a whole number", float: "a number", bool: "true or false", type(None): "none"}


def _check_types(name: str, arguments: dict[str, Any]) -> None:
    """Raise LaminarError for an argument of laminar's own environments that is fixed, or of another type."""
    parameters = _parameters(name, evaluate=True)
    for key, value in arguments.items():
        if key in gymnasium.registry[name].kwargs:
            raise LaminarError(f"environment '{name}' has a fixed '{key}', which its id says; choose by the id")
        annotation = parameters[key].annotation if key in parameters else type(value)
        kinds = get_args(annotation) or (annotation,)
        if type(value) not in kinds and not (float in kinds and type(value) is int):
            expected = " or ".join(_WORDS[kind] for kind in kinds)
            raise LaminarError(f"argument '{key}' of environment '{name}' is {value!r}, expected {expected}")
