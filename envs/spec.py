"""What an environment shows and takes: one level of observation keys, and its Spec."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from ..data.spec import Feature, Spec
from ..errors import LaminarError
from .rendering import simulator

Array = NDArray[Any]


class FlatKeys(gymnasium.ObservationWrapper[Any, Any, Any]):
    """Flatten nested Dict observations to one level; keys are joined by "/" as in HDF5 files."""

    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        """Wrap `env`, whose observation space must be a Dict."""
        super().__init__(env)
        self.observation_space = spaces.Dict(_flatten(env.observation_space))

    def observation(self, observation: Any) -> dict[str, Array]:
        """Return one level of keys."""
        return _flatten(observation)


def _flatten(tree: Any, prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict | spaces.Dict):
            flat |= _flatten(value, f"{prefix}{key}/")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


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
