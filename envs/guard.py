"""What other people's environments give back: a line for whoever wrote them, where it is not gymnasium's interface.

Nothing here runs in a step that goes well, but for what reads a reward that is no plain number.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from traceback import walk_tb
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from ..errors import LaminarError

_STEP = "(observation, reward, terminated, truncated, info)"
_RESET = "(observation, info)"
_OWN = __name__.partition(".")[0]
_LEGACY = 2**32  # the seeds of `numpy.random.seed` and of many simulators end here


def begin(env: gymnasium.Env[Any, Any], env_id: str, seed: int, options: dict[str, Any] | None = None) -> Any:
    """Reset an environment and return its observation.

    Args:
        env: from `make_env`.
        env_id: for messages.
        seed: not negative.
        options: of the reset.

    Raises:
        LaminarError: it takes no seed, does not return an observation and a dictionary, or raised an error.
    """
    try:
        given: Any = env.reset(seed=seed, options=options)
    except Exception as error:
        raise failed(env, env_id, error, seed) from error
    # an array of two numbers, as environments of before gymnasium return, would pass for a pair
    if type(given) is tuple and len(given) == 2 and isinstance(given[1], Mapping):
        return given[0]
    raise _interface(env_id, "reset", _RESET, _kind(given))


def failed(env: gymnasium.Env[Any, Any], env_id: str, error: Exception, seed: int | None = None) -> Exception:
    """Return what to raise where a reset (with a seed) or a step (without) failed: a line, or a bug as it is."""
    call, due = ("step", _STEP) if seed is None else ("reset", _RESET)
    if isinstance(error, LaminarError):
        return error
    text = " ".join(str(error).split())
    theirs = _theirs(env)
    calls = [(frame, line) for frame, line in walk_tb(error.__traceback__) if id(frame.f_locals.get("self")) in theirs]
    unknown = re.search(r"unexpected keyword argument '(seed|options)'", text)
    if unknown and not calls:
        return LaminarError(
            f"reset() of environment '{env_id}' takes no argument '{unknown[1]}', so no seed can decide an episode; "
            "let it be reset(self, *, seed=None, options=None), call super().reset(seed=seed), draw from self.np_random"
        )
    if calls:
        frame, line = calls[-1]
        how = "" if seed is None else f"seed={seed}"
        remedy = "choose a smaller seed, below 2**32" if (seed or 0) >= _LEGACY else "correct the environment"
        where = f"{Path(frame.f_code.co_filename).name}:{line}"
        return LaminarError(
            f"environment '{env_id}' raised {type(error).__name__} in {call}({how}) at {where}: {text}; {remedy}"
        )
    counted = re.search(r"values to unpack \(expected \d(?:, got (\d+))?\)", text)
    if counted:
        return _interface(env_id, call, due, f"{counted[1]} values" if counted[1] else "something else")
    if "unpack non-iterable" in text or "has no attribute 'get'" in text:
        return _interface(env_id, call, due, f"something else ({text})")
    return error


def number(reward: Any, env_id: str) -> float:
    """Return a reward that `float` does not read: an array of one element, as many environments return.

    Raises:
        LaminarError: it is anything else; names it.
    """
    array = np.asarray(reward)
    if array.size == 1 and array.dtype.kind in "biuf":
        return float(array.item())
    raise LaminarError(
        f"environment '{env_id}' returned a reward that is {_kind(reward)}; it has to be one number: register the "
        "environment in a wrapper that makes one of it"
    )


def not_finite(reward: float, env_id: str) -> LaminarError:
    """Return the error for a reward that is no number or infinite: nothing is learned from it, and nothing compared."""
    return LaminarError(
        f"environment '{env_id}' returned a reward that is {reward}; correct the environment, or register it in a "
        "wrapper that returns a finite one"
    )


def array(env_id: str, shown: Mapping[str, Any], key: str, shape: tuple[int, ...]) -> NDArray[Any]:
    """Return one of the observations that an environment shows.

    Raises:
        LaminarError: it is missing, no array of numbers, or of another shape than in the space; names both.
    """
    remedy = "correct the environment, or register it in a wrapper that does"
    where = f"'{key}' of environment '{env_id}'"
    if key not in shown:
        raise LaminarError(f"observation {where} is in its space but was not shown (there is {[*shown]}); {remedy}")
    try:
        value = np.asarray(shown[key])
    except ValueError:  # lists of several lengths
        value = np.empty(0, object)
    if value.dtype.kind not in "biuf":
        raise LaminarError(f"observation {where} is {_kind(shown[key])}, no array of numbers; {remedy}")
    if value.shape != shape:
        raise LaminarError(f"observation {where} has shape {value.shape}, its space says {shape}; {remedy}")
    return value


def _interface(env_id: str, call: str, due: str, got: str) -> LaminarError:
    return LaminarError(
        f"{call}() of environment '{env_id}' returned {got} in place of {due}, as gymnasium has it; register the "
        "environment in a wrapper that returns that"
    )


def _theirs(env: gymnasium.Env[Any, Any]) -> set[int]:
    """Return by `id` the environment and those of its wrappers that are neither laminar's nor gymnasium's."""
    own = {_OWN, "gymnasium"}
    found: set[int] = set()
    while isinstance(env, gymnasium.Wrapper):
        found |= set() if _room(env) in own else {id(env)}
        env = env.env
    return found if _room(env) == _OWN else found | {id(env)}


def _room(env: gymnasium.Env[Any, Any]) -> str:
    return type(env).__module__.partition(".")[0]


def _kind(value: Any) -> str:
    """Return for example ``an array of shape (3,)``."""
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape}"
    if isinstance(value, tuple):
        return f"{len(value)} values ({', '.join(type(one).__name__ for one in value)})"
    return "None" if value is None else f"a {type(value).__name__}"
