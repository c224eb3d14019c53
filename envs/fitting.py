"""An environment made for one policy: a room is asked for what the policy sees and does."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote

import gymnasium

from ..data.spec import Feature, Spec
from ..errors import LaminarError
from .ids import split_id
from .make import make_env
from .room import as_room
from .spec import env_spec

_OF_POLICY = ("instruction", "cameras", "action")  # arguments of a room that follow from the policy


@dataclass(frozen=True)
class Fitted:
    """An environment that fits a policy.

    Attributes:
        env_id: all arguments included, those too that follow from the policy.
        env: the environment.
        spec: of it; of a room only the observations that the policy sees.
    """

    env_id: str
    env: gymnasium.Env[Any, Any]
    spec: Spec


def fit_env(env_id: str, wanted: Spec, render: bool = False, whose: str = "the policy") -> Fitted:
    """Make an environment for what a policy sees and does.

    A room (an environment that takes instructions) shows more than a policy has to see, and what `env_id` leaves open
    follows from the policy: the embedding of its instructions, cameras if it sees pictures, absolute actions.

    Args:
        env_id: see `make_env`.
        wanted: what the policy, or the data for one, has.
        render: see `make_env`.
        whose: what the spec is of, for messages.

    Raises:
        LaminarError: no such environment, or it does not fit; names the key and both sides.
    """
    env = make_env(env_id, render)
    try:
        if as_room(env) is not None:
            added = {key: text for key, text in _arguments(wanted).items() if key not in split_id(env_id)[1]}
            if added:
                env.close()
                env_id, env = _make_with(env_id, added, render)
        spec = env_spec(env)
        if as_room(env) is not None:
            seen = {key: feature for key, feature in spec.observation.items() if key in wanted.observation}
            spec = replace(spec, observation=seen)
        wanted.check_compatible(spec, whose, f"environment '{env_id}'")
        spec = replace(spec, observation={key: _precise(key, one, wanted) for key, one in spec.observation.items()})
    except LaminarError:
        env.close()
        raise
    return Fitted(env_id, env, spec)


def _precise(key: str, feature: Feature, wanted: Spec) -> Feature:
    """Keep the digits of what a policy needs in double precision."""
    needed = wanted.observation.get(key)
    return replace(feature, dtype="float64") if needed is not None and needed.dtype == "float64" else feature


def place(env_id: str) -> tuple[str, dict[str, Any]]:
    """Return name and arguments of an environment without those that follow from the policy."""
    name, arguments = split_id(env_id)
    return name, {key: value for key, value in arguments.items() if key not in _OF_POLICY}


def _arguments(wanted: Spec) -> dict[str, str]:
    """Return the arguments of a room that follow from what a policy sees and does."""
    told = wanted.observation.get("instruction")
    pictures = any(key.startswith("rgb_") for key in wanted.observation)
    arguments = {
        "instruction": told.unit if told else "",
        "cameras": "true" if pictures else "",
        "action": "absolute" if wanted.action.unit == "absolute" else "",
    }
    return {key: text for key, text in arguments.items() if text}


def _make_with(env_id: str, added: dict[str, str], render: bool) -> tuple[str, gymnasium.Env[Any, Any]]:
    words = "&".join(f"{key}={quote(text, safe='')}" for key, text in added.items())
    env_id = f"{env_id}{'&' if '?' in env_id else '?'}{words}"
    try:
        return env_id, make_env(env_id, render)
    except LaminarError as error:
        if "instruction" not in added:
            raise
        told = f"the policy was trained with the instruction embedding '{added['instruction']}'"
        raise LaminarError(f"{error}; {told}: say where it is, in env.id ('…instruction=PATH')") from error
