"""One factory for every environment: gymnasium ids and D4RL ids.

A gymnasium id may carry arguments, as the query of a URL: "laminar/Playroom-v0?scene=D&task=open_drawer". So one
string names an environment in settings, on the command line and in results.
"""

from __future__ import annotations

import inspect
import re
import warnings
from collections.abc import Mapping
from contextlib import redirect_stderr
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import Any, get_args
from urllib.parse import unquote

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.envs.registration import load_env_creator

from ..data.spec import Feature, Spec
from ..errors import LaminarError, nearest
from .adapters import ADAPTERS, FlatKeys
from .d4rl import D4RLTask, d4rl_table, resolve
from .mazes import ant_layout
from .rendering import choose_backend, simulator


def make_env(env_id: str, render: bool = False) -> gymnasium.Env[Any, Any]:
    """Make one environment from a gymnasium id or a D4RL id.

    Observations are a flat Box, or a Dict without nesting whose keys are those that recordings of the environment have.
    D4RL ids, and gymnasium ids of the Adroit hand, give the benchmark's observation and reward (see `adapters`).

    Args:
        env_id: for example "Hopper-v4", "door-human-v1", "laminar/Playroom-v0?scene=D"; see `split_id`.
        render: make environments without a MuJoCo model able to give pictures.

    Raises:
        LaminarError: unknown id or argument, an id that no installed package can run, or an unsupported space.
    """
    register()
    name, arguments = split_id(env_id)
    task = resolve(name)
    if task is not None and task.gymnasium_id is None:
        raise LaminarError(
            f"no current package has an environment for D4RL id '{name}' (family {task.family}); "
            "its reference scores and data files can be used, rollouts cannot"
        )
    if arguments and task is not None and (task.adapter or task.gymnasium_id != name):
        raise LaminarError(
            f"'{name}' is a benchmark with a fixed task and takes no arguments, got {sorted(arguments)}; "
            f"use the id alone, or a gymnasium id of your own (this one runs on '{task.gymnasium_id}')"
        )
    if name in _OWN:
        _check_types(name, arguments)
    task = task or D4RLTask(name, "", None, None, None, gymnasium_id=name)
    kwargs = task.kwargs | arguments | ({"maze_map": ant_layout(task)} if task.adapter == "antmaze" else {})
    if task.max_steps is not None:
        kwargs["max_episode_steps"] = task.max_steps
    env = _make(name, str(task.gymnasium_id), kwargs, render)
    if task.adapter:
        env = ADAPTERS[task.adapter](env, task)
    if isinstance(env.observation_space, spaces.Dict):
        env = FlatKeys(env)
    env_spec(env)  # an unsupported space is refused here, not in the middle of an evaluation
    return env


def split_id(env_id: str) -> tuple[str, dict[str, Any]]:
    """Split "NAME?key=value&key=value" into the name and the environment's arguments.

    Values are percent-decoded; true, false, none, integers and decimals are read as such, all else is text.

    Raises:
        LaminarError: an empty query, a part that is no key=value, or a key given twice.
    """
    name, mark, query = env_id.partition("?")
    arguments: dict[str, Any] = {}
    for part in query.split("&") if mark else []:
        key, equals, value = part.partition("=")
        if not (key and equals):
            raise LaminarError(f"'{part}' in environment '{env_id}' is not key=value; write NAME?key=value&key=value")
        if unquote(key) in arguments:
            raise LaminarError(f"argument '{unquote(key)}' is given twice in environment '{env_id}'; give it once")
        arguments[unquote(key)] = _value(unquote(value))
    return name, arguments


def _value(word: str) -> Any:
    words = {"true": True, "false": False, "none": None}
    if word.lower() in words:
        return words[word.lower()]
    for kind in (int, float):
        try:
            return kind(word)
        except ValueError:
            pass
    return word


_OWN: dict[str, tuple[str, int | None]] = {  # id -> class, time limit in steps
    "laminar/PointMaze-v0": ("pointmaze:PointMaze", 80),
    "laminar/Playroom-v0": ("playroom.env:Playroom", None),
    "laminar/CALVIN-v0": ("calvin:Calvin", None),
}


def register() -> None:
    """Register gymnasium-robotics and laminar's own environments with gymnasium, once."""
    choose_backend()
    for name, (creator, limit) in _OWN.items():
        if name not in gymnasium.registry:
            gymnasium.register(name, f"{__package__}.{creator}", max_episode_steps=limit)
    if "PointMaze_UMaze-v3" not in gymnasium.registry and find_spec("gymnasium_robotics"):
        with redirect_stderr(
            StringIO()
        ):  # its import prints that the Adroit rewards changed: AdroitReward corrects that
            import gymnasium_robotics

            gymnasium.register_envs(gymnasium_robotics)


def _make(env_id: str, gymnasium_id: str, kwargs: dict[str, Any], render: bool) -> gymnasium.Env[Any, Any]:
    if gymnasium_id not in gymnasium.registry and ":" not in gymnasium_id:
        known = [*gymnasium.registry, *d4rl_table()]
        raise LaminarError(f"unknown environment '{gymnasium_id}'{nearest(env_id, known)}")
    mode = "rgb_array" if render else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.filterwarnings("ignore", message=".*out of date.*")  # -v4 is chosen on purpose: D4RL's dynamics
        try:
            env = gymnasium.make(gymnasium_id, render_mode=mode, disable_env_checker=True, **kwargs)
        except TypeError as error:
            raise LaminarError(_unknown_argument(gymnasium_id, error)) from error
        except (gymnasium.error.Error, ImportError, ValueError) as error:
            raise LaminarError(f"environment '{gymnasium_id}' cannot be made: {error}") from error
    model_file = getattr(env.unwrapped, "tmp_xml_file_path", None)
    if model_file is not None:  # every maze leaves one in the temporary folder
        Path(model_file).unlink(missing_ok=True)
    return env


def _unknown_argument(gymnasium_id: str, error: TypeError) -> str:
    """Say in one line which argument an environment refuses, and which it takes."""
    unknown = re.search(r"unexpected keyword argument '(\w+)'", str(error))
    if unknown is None:
        return f"environment '{gymnasium_id}' cannot be made: {error}"
    known = [
        p.name
        for p in _parameters(gymnasium_id.rpartition(":")[2]).values()
        if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD) and p.name != "render_mode"
    ]
    takes = f"it takes {', '.join(known)}" if known else "it takes none"
    return f"environment '{gymnasium_id}' has no argument '{unknown[1]}' ({takes}){nearest(unknown[1], known)}"


def _parameters(gymnasium_id: str, evaluate: bool = False) -> Mapping[str, inspect.Parameter]:
    entry = gymnasium.registry[gymnasium_id].entry_point
    creator = load_env_creator(entry) if isinstance(entry, str) else entry
    return inspect.signature(creator, eval_str=evaluate).parameters if creator else {}


_WORDS = {str: "text", int: "a whole number", bool: "true or false", type(None): "none"}


def _check_types(name: str, arguments: dict[str, Any]) -> None:
    """Raise LaminarError for an argument of another type than one of laminar's own environments takes."""
    parameters = _parameters(name, evaluate=True)
    for key, value in arguments.items():
        annotation = parameters[key].annotation if key in parameters else type(value)
        kinds = get_args(annotation) or (annotation,)
        if type(value) not in kinds:
            expected = " or ".join(_WORDS[kind] for kind in kinds)
            raise LaminarError(f"argument '{key}' of environment '{name}' is {value!r}, expected {expected}")


def env_spec(env: gymnasium.Env[Any, Any]) -> Spec:
    """Return the spec of an environment from `make_env`.

    An environment may say more about its numbers: `observation_units` (key -> unit), `action_unit` and `action_names`
    (A names).

    Raises:
        LaminarError: names the space when observations are not arrays or actions are not a continuous vector.
    """
    space = env.observation_space
    boxes = space.spaces if isinstance(space, spaces.Dict) else {"observation": space}
    units: dict[str, str] = getattr(env.unwrapped, "observation_units", {})
    features: dict[str, Feature] = {}
    for key, box in boxes.items():
        if not isinstance(box, spaces.Box):
            raise LaminarError(
                f"observation '{key}' of {_name(env)} is a {type(box).__name__}; only arrays are supported"
            )
        features[key] = Feature(tuple(box.shape), "uint8" if box.dtype == np.uint8 else "float32", units.get(key, ""))
    action = env.action_space
    if not isinstance(action, spaces.Box) or len(action.shape) != 1:
        raise LaminarError(f"actions of {_name(env)} are {action}; only continuous action vectors are supported")
    bounded = bool(np.isfinite(action.low).all() and np.isfinite(action.high).all())
    return Spec(
        observation=features,
        action=Feature(
            tuple(action.shape),
            unit=getattr(env.unwrapped, "action_unit", ""),
            names=tuple(getattr(env.unwrapped, "action_names", ())),
        ),
        action_low=tuple(map(float, action.low)) if bounded else None,
        action_high=tuple(map(float, action.high)) if bounded else None,
        rate_hz=control_rate(env),
    )


def control_rate(env: gymnasium.Env[Any, Any]) -> float | None:
    """Return control steps per simulated second, None when the environment does not say."""
    step = getattr(simulator(env) or env.unwrapped, "dt", None)
    return 1.0 / float(step) if isinstance(step, int | float) and step > 0 else None


def _name(env: gymnasium.Env[Any, Any]) -> str:
    return f"environment '{env.spec.id}'" if env.spec else "the environment"
