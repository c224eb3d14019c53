"""One factory for every environment: gymnasium ids and D4RL ids."""

from __future__ import annotations

import warnings
from contextlib import redirect_stderr
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

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
        env_id: for example "Hopper-v4", "door-human-v1", "laminar/PointMaze-v0".
        render: make environments without a MuJoCo model able to give pictures.

    Raises:
        LaminarError: unknown id, an id that no installed package can run, or an unsupported space.
    """
    register()
    task = resolve(env_id)
    if task is not None and task.gymnasium_id is None:
        raise LaminarError(
            f"no current package has an environment for D4RL id '{env_id}' (family {task.family}); "
            "its reference scores and data files can be used, rollouts cannot"
        )
    task = task or D4RLTask(env_id, "", None, None, None, gymnasium_id=env_id)
    kwargs = task.kwargs | ({"maze_map": ant_layout(task)} if task.adapter == "antmaze" else {})
    if task.max_steps is not None:
        kwargs["max_episode_steps"] = task.max_steps
    env = _make(env_id, str(task.gymnasium_id), kwargs, render)
    if task.adapter:
        env = ADAPTERS[task.adapter](env, task)
    if isinstance(env.observation_space, spaces.Dict):
        env = FlatKeys(env)
    env_spec(env)  # an unsupported space is refused here, not in the middle of an evaluation
    return env


def register() -> None:
    """Register gymnasium-robotics and laminar's own tasks with gymnasium, once."""
    choose_backend()
    if "laminar/PointMaze-v0" not in gymnasium.registry:
        gymnasium.register("laminar/PointMaze-v0", f"{__package__}.pointmaze:PointMaze", max_episode_steps=80)
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
        except (gymnasium.error.Error, ImportError) as error:
            raise LaminarError(f"environment '{gymnasium_id}' cannot be made: {error}") from error
    model_file = getattr(env.unwrapped, "tmp_xml_file_path", None)
    if model_file is not None:  # every maze leaves one in the temporary folder
        Path(model_file).unlink(missing_ok=True)
    return env


def env_spec(env: gymnasium.Env[Any, Any]) -> Spec:
    """Return the spec of an environment from `make_env`.

    Raises:
        LaminarError: names the space when observations are not arrays or actions are not a continuous vector.
    """
    space = env.observation_space
    boxes = space.spaces if isinstance(space, spaces.Dict) else {"observation": space}
    features: dict[str, Feature] = {}
    for key, box in boxes.items():
        if not isinstance(box, spaces.Box):
            raise LaminarError(
                f"observation '{key}' of {_name(env)} is a {type(box).__name__}; only arrays are supported"
            )
        features[key] = Feature(tuple(box.shape), "uint8" if box.dtype == np.uint8 else "float32")
    action = env.action_space
    if not isinstance(action, spaces.Box) or len(action.shape) != 1:
        raise LaminarError(f"actions of {_name(env)} are {action}; only continuous action vectors are supported")
    bounded = bool(np.isfinite(action.low).all() and np.isfinite(action.high).all())
    return Spec(
        observation=features,
        action=Feature(tuple(action.shape)),
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
