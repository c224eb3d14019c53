"""What an environment shows and takes: one level of observation keys, and its Spec."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from ..data.spec import Feature, Spec, joined
from ..errors import LaminarError
from .rendering import simulator

Array = NDArray[Any]


class FlatKeys(gymnasium.ObservationWrapper[Any, Any, Any]):
    """Flatten nested Dict observations to one level; keys are joined by "/" as in HDF5 files.

    A scalar, alone or under a key, becomes a vector of one number, as readers make of a column of numbers.
    """

    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        """Wrap `env`, whose observation space must be a Dict or a Box."""
        super().__init__(env)
        space = env.observation_space
        flat = joined(space) if isinstance(space, spaces.Dict) else {"": space}
        self._scalars = [key for key, one in flat.items() if _is_scalar(one)]
        flat |= {key: _vector(flat[key]) for key in self._scalars}
        self.observation_space = spaces.Dict(flat) if isinstance(space, spaces.Dict) else flat[""]

    def observation(self, observation: Any) -> Any:
        """Return one level of keys; or the vector of a lone scalar."""
        if not isinstance(observation, dict):
            return _one(observation)  # of a lone scalar, or of an environment that does not keep to its space
        flat = joined(observation)
        for key in self._scalars:
            if key in flat:
                flat[key] = _one(flat[key])
        return flat


def with_flat_keys(env: gymnasium.Env[Any, Any]) -> gymnasium.Env[Any, Any]:
    """Return an environment whose observation is an array, or a dictionary of one level of arrays."""
    space = env.observation_space
    shown = space.values() if isinstance(space, spaces.Dict) else [space]
    return FlatKeys(env) if any(isinstance(one, spaces.Dict) or _is_scalar(one) for one in shown) else env


def _is_scalar(space: Any) -> bool:
    return isinstance(space, spaces.Box) and space.shape == ()


def _one(value: Any) -> Any:
    """Return a scalar as a vector; what is none is left for whoever stores it to refuse."""
    return np.reshape(value, 1) if np.ndim(value) == 0 else value


def _vector(space: Any) -> spaces.Box:
    return spaces.Box(space.low.reshape(1), space.high.reshape(1), (1,), space.dtype)


def no_arrays(env: gymnasium.Env[Any, Any]) -> dict[str, str]:
    """Return observation key -> kind of space ("Text") of what an environment shows but no policy can see."""
    shown = _shown(env)
    return {key: type(space).__name__ for key, space in shown.items() if not isinstance(space, spaces.Box)}


def no_array(env: gymnasium.Env[Any, Any], key: str, kind: str) -> LaminarError:
    """Return the error for a policy that wants to see what is no array."""
    return LaminarError(
        f"observation '{key}' of {_name(env)} is a {kind}; only arrays (Box, and Dict of them) are supported: register "
        "the environment in a wrapper that makes an array of it, such as gymnasium.wrappers.FlattenObservation"
    )


def _shown(env: gymnasium.Env[Any, Any]) -> dict[str, Any]:
    space = env.observation_space
    return dict(space.spaces) if isinstance(space, spaces.Dict) else {"observation": space}


def env_spec(env: gymnasium.Env[Any, Any]) -> Spec:
    """Return the spec of an environment from `make_env`.

    An environment may say more about its numbers: `observation_units` (key -> unit), `action_unit` and `action_names`
    (A names). Observations that are no arrays, beside others that are, are left out: a policy may do without.

    Raises:
        LaminarError: names the space when no observation is an array or actions are not a continuous vector.
    """
    boxes = {key: space for key, space in _shown(env).items() if isinstance(space, spaces.Box)}
    if not boxes:
        raise no_array(env, *next(iter(no_arrays(env).items()), ("observation", "Dict without keys")))
    units: dict[str, str] = getattr(env.unwrapped, "observation_units", {})
    features = {
        key: Feature(tuple(box.shape), "uint8" if box.dtype == np.uint8 else "float32", units.get(key, ""))
        for key, box in boxes.items()
    }
    action = env.action_space
    if not isinstance(action, spaces.Box) or len(action.shape) != 1:
        raise LaminarError(
            f"actions of {_name(env)} are {action}; only continuous action vectors are supported: register the "
            "environment in a wrapper that takes a Box of shape (A,)"
        )
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
