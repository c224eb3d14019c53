"""Where a run starts: a new policy for its data, or a saved one whose weights go on learning."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace
from typing import Any

from ..data.episodes import Episodes
from ..data.spec import Spec
from ..errors import LaminarError
from ..policies import GenerativePolicy, load_policy
from ..policies.black_box import black_box
from ..policies.generative import fit_normalizers
from ..policies.guided import Guided
from ..policies.module import PolicyModule
from ..policies.planners import Planner, fitting
from .config import TrainConfig

FITTED = {"generative": GenerativePolicy.build, "planners": fitting.new}
"""Kind of the settings `policy` -> what builds an untrained policy for some recordings."""
GIVEN = "(a policy given in Python)"
"""What `init.path` of such a run says."""


def named(settings: Mapping[str, Any]) -> tuple[dict[str, Any], PolicyModule | None]:
    """Return settings whose `init.path` is text, and the policy, if one was given in its place.

    What is not made of tensors is a black box.

    Raises:
        LaminarError: a function, which does not say what it sees and does.
    """
    given = settings.get("init.path")
    if given is None or isinstance(given, str):
        return dict(settings), None
    policy = given if isinstance(given, PolicyModule) else black_box(given)
    return {**settings, "init.path": GIVEN}, policy


def opened(config: TrainConfig, given: PolicyModule | None) -> PolicyModule:
    """Return the policy that a run starts from: a copy of what was given, or what `init.path` holds.

    Raises:
        LaminarError: the run began with one that was given, and now there is none.
    """
    if given is not None:
        return deepcopy(given)
    if config.init.path == GIVEN:
        raise LaminarError(
            "this run began with a policy that was given in Python: continue it by "
            f"laminar.train(init=POLICY, out={config.out!r}, resume=True)"
        )
    assert config.init.path is not None
    return load_policy(config.init.path)


def starting_policy(config: TrainConfig, recorded: Episodes | None, given: PolicyModule | None = None) -> PolicyModule:
    """Return the policy that a run improves.

    Args:
        config: of the run.
        recorded: demonstrations or logs.
        given: the policy in place of `init.path`.

    Raises:
        LaminarError: neither data nor a saved policy say what it sees and does, or they do not fit together.
    """
    if config.init.path is None:
        if recorded is None:
            raise LaminarError(
                "train needs data.path=FILE, or data.path=[FILE,FILE] to concatenate demonstrations, or init=POLICY: a "
                "policy's widths and statistics come from there"
            )
        new = FITTED[config.policy.kind]
        return new(config.policy, config.network, recorded, getattr(config.method, "prefix", 0))
    policy = opened(config, given)
    policy.schedules = {}  # searched for weights that change now
    if recorded is None:
        return policy
    seen = fitting.with_goals(policy.planner_config, recorded) if isinstance(policy, Planner) else recorded
    _check_data(policy.spec, seen.spec, config)
    return refitted(_generative(policy), recorded) if config.init.normalizer == "refit" else policy


def _check_data(spec: Spec, data: Spec, config: TrainConfig) -> None:
    """Refuse data of other observations and actions than the policy's.

    Raises:
        LaminarError: names what differs; where the data only show more, how to leave it out.
    """
    whose = f"the policy of init={config.init.path}"
    if data.observation.keys() > spec.observation.keys():
        more = sorted(data.observation.keys() - spec.observation.keys())
        raise LaminarError(
            f"{config.data.path} gives observations {more} that {whose} was not trained on; read only what it sees: "
            f"data.observation=[{','.join(spec.observation)}]"
        )
    spec.check_compatible(data, whose, str(config.data.path))


def refitted(policy: GenerativePolicy, recorded: Episodes) -> GenerativePolicy:
    """Return a policy with the weights of another, and the statistics and action limits of other data."""
    data = recorded.spec
    limits = {"action_low": data.action_low, "action_high": data.action_high}
    spec = replace(policy.spec, observation=data.observation, **limits)
    normalizers = fit_normalizers(policy.policy_config, recorded)
    fresh = GenerativePolicy(policy.policy_config, policy.network_config, spec, *normalizers, policy.prefix)
    statistics = {name: value for name, value in fresh.state_dict().items() if "_normalizer." in name}
    weights = {name: value for name, value in policy.state_dict().items() if "_normalizer." not in name}
    fresh.load_state_dict(weights | statistics)
    fresh.encoder.transforms.fit(recorded.observation)
    return fresh.eval()


def clone_of(policy: PolicyModule, prefix: int = 0) -> GenerativePolicy:
    """Return the generative policy whose weights a method trains; a critic behind it is left behind.

    Args:
        policy: that a run starts from.
        prefix: first actions of a chunk that the method gives it, at most.

    Raises:
        LaminarError: the policy is composed of more than that, or was built for another prefix.
    """
    inner = _generative(policy)
    if inner.prefix != prefix:
        raise LaminarError(
            f"the policy was built for a prefix of {inner.prefix} actions, and this method would train one of "
            f"{prefix}; method=bc with method.prefix={inner.prefix} goes on with it"
        )
    return inner


def _generative(policy: PolicyModule) -> GenerativePolicy:
    if isinstance(policy, Planner):
        raise LaminarError(
            "this method trains the weights of a generative policy, and not of a planner; choose method=planning, or "
            "another policy"
        )
    inner = policy.composed_of if isinstance(policy, Guided) else policy
    if not isinstance(inner, GenerativePolicy):
        raise LaminarError(
            f"this method trains the weights of a generative policy, and init= is a {policy.config['kind']} one; start "
            "from the policy that it was made of"
        )
    return inner
