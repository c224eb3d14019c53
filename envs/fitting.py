"""An environment made for one policy: a room is asked for what the policy sees and does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from ..data.calvin.hindsight import KEY as GOAL
from ..data.spec import Feature, Spec
from ..errors import LaminarError
from .ids import extended, split_id
from .limits import ActionLimits, Clipping
from .make import adopt_env, make_env
from .on_request import showing
from .rendering import name_of
from .room import as_room
from .spec import env_spec, no_array, no_arrays
from .step_cap import assumed_cap, cap_remark

_OF_POLICY = (
    "instruction",
    "goal",
    "cameras",
    "action",
    "static_size",
    "gripper_size",
)  # arguments of a room that follow from the policy


@dataclass(frozen=True)
class Fitted:
    """An environment that fits a policy.

    Attributes:
        env_id: all arguments included, those too that follow from the policy.
        env: the environment.
        spec: of it; only the observations that the policy sees.
        limits: of its actions.
        unseen: what it shows besides.
    """

    env_id: str
    env: gymnasium.Env[Any, Any]
    spec: Spec
    limits: ActionLimits
    unseen: tuple[str, ...]

    def another(self, render: bool = False) -> gymnasium.Env[Any, Any]:
        """Make one more like it."""
        return showing(make_env(self.env_id, render), self.spec.observation)


def fit_env(
    env_id: str | gymnasium.Env[Any, Any], wanted: Spec, render: bool = False, whose: str = "the policy"
) -> Fitted:
    """Make an environment for what a policy sees and does.

    An environment may show more than the policy sees, and is asked for what it shows on request alone (`on_request`).
    Of a room (an environment that takes instructions) what `env_id`
    leaves open follows from the policy: the embedding of its instructions, what its goals are, cameras if it sees
    pictures and their sizes where the room has a choice (`picture_sizes`: key -> its argument and default), absolute
    actions.

    Args:
        env_id: see `make_env`; or an environment that is there already, which is taken as it is.
        wanted: what the policy, or the data for one, has.
        render: see `make_env`.
        whose: what the spec is of, for messages.

    Raises:
        LaminarError: no such environment, or it does not fit; names the key and both sides.
    """
    made = isinstance(env_id, str)
    env, env_id = (make_env(env_id, render), env_id) if made else (adopt_env(env_id), name_of(env_id))
    try:
        if made and as_room(env) is not None:
            sizes: dict[str, tuple[str, int]] = getattr(env.unwrapped, "picture_sizes", {})
            added = {key: text for key, text in _arguments(wanted, sizes).items() if key not in split_id(env_id)[1]}
            if added:
                env.close()
                env_id, env = _make_with(env_id, added, render)
        env = showing(env, wanted.observation)
        spec = env_spec(env)
        missing = wanted.observation.keys() - spec.observation.keys()
        odd = {key: kind for key, kind in no_arrays(env).items() if key in missing}
        if odd:
            raise no_array(env, *next(iter(odd.items())))
        seen = {key: feature for key, feature in spec.observation.items() if key in wanted.observation}
        if missing:  # told with all that there is
            seen = spec.observation
        unseen = tuple(sorted((spec.observation.keys() | no_arrays(env).keys()) - seen.keys()))
        spec = replace(spec, observation=seen)
        wanted.check_compatible(spec, whose, f"environment '{env_id}'")
        spec = replace(spec, observation={key: _precise(key, one, wanted) for key, one in spec.observation.items()})
    except LaminarError:
        if made:
            env.close()
        raise
    space: Any = env.action_space  # a Box, or it would have no spec
    return Fitted(env_id, env, spec, ActionLimits(space, spec.action.names), unseen)


def unseen_remark(env_id: str, unseen: Sequence[str]) -> str:
    """Say that a policy does not see all that an environment shows; "" where it does."""
    keys = ", ".join(f"'{key}'" for key in unseen)
    return f"'{env_id}' also shows {keys}, which the policy was not trained on and does not see" if unseen else ""


def training_remarks(fitted: Fitted, actions: NDArray[Any] | None) -> list[str]:
    """Return what a training for an environment should know about it, from one line each.

    Args:
        fitted: the environment that the policy is evaluated in.
        actions: (N, A) of the data, if there are any.
    """
    cut = Clipping() if actions is None else fitted.limits.beyond(np.asarray(actions, np.float32))
    cap = assumed_cap(fitted.env)
    where = f"'{fitted.env_id}'"
    remarks = [
        f"actions of the data are outside of the limits of {where}, where they will be clipped: {cut.text}"
        if cut.clipped
        else "",
        unseen_remark(fitted.env_id, () if as_room(fitted.env) else fitted.unseen),
        "" if cap is None else cap_remark(fitted.env_id, cap),
    ]
    return [remark for remark in remarks if remark]


def _precise(key: str, feature: Feature, wanted: Spec) -> Feature:
    """Keep the digits of what a policy needs in double precision."""
    needed = wanted.observation.get(key)
    return replace(feature, dtype="float64") if needed is not None and needed.dtype == "float64" else feature


def place(env_id: str) -> tuple[str, dict[str, Any]]:
    """Return name and arguments of an environment without those that follow from the policy."""
    name, arguments = split_id(env_id)
    return name, {key: value for key, value in arguments.items() if key not in _OF_POLICY}


def _arguments(wanted: Spec, sizes: Mapping[str, tuple[str, int]]) -> dict[str, str]:
    """Return the arguments of a room that follow from what a policy sees and does; `sizes` are those of pictures."""
    told, goal = wanted.observation.get("instruction"), wanted.observation.get(GOAL)
    pictures = any(key.startswith("rgb_") for key in wanted.observation)
    arguments = {
        "instruction": told.unit if told else "",
        "goal": goal.unit if goal else "",
        "cameras": "true" if pictures else "",
        "action": "absolute" if wanted.action.unit == "absolute" else "",
    }
    for key, (argument, usual) in sizes.items():
        shape = wanted.observation[key].shape if key in wanted.observation else ()
        arguments[argument] = str(shape[0]) if len(shape) == 3 and usual != shape[0] == shape[1] else ""
    return {key: text for key, text in arguments.items() if text}


def _make_with(env_id: str, added: dict[str, str], render: bool) -> tuple[str, gymnasium.Env[Any, Any]]:
    env_id = extended(env_id, added)
    try:
        return env_id, make_env(env_id, render)
    except LaminarError as error:
        if "instruction" not in added:
            raise
        told = f"the policy was trained with the instruction embedding '{added['instruction']}'"
        raise LaminarError(f"{error}; {told}: say where it is, in env.id ('…instruction=PATH')") from error
