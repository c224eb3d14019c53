"""Where a run starts: a new policy for its data, or a saved one whose weights go on learning."""

from __future__ import annotations

from ..data.episodes import Episodes
from ..errors import LaminarError
from ..policies import GenerativePolicy, load_policy
from ..policies.guided import Guided
from ..policies.module import PolicyModule
from .config import TrainConfig


def starting_policy(config: TrainConfig, recorded: Episodes | None) -> PolicyModule:
    """Return the policy that a run improves.

    Raises:
        LaminarError: neither data nor a saved policy say what it sees and does, or they do not fit together.
    """
    if config.init is None:
        if recorded is None:
            raise LaminarError(
                "train needs data.path=FILE, or data.path=[FILE,FILE] to concatenate demonstrations, or init=POLICY: a "
                "policy's widths and statistics come from there"
            )
        return GenerativePolicy.build(config.policy, config.network, recorded)
    policy = load_policy(config.init)
    policy.schedules = {}  # searched for weights that change now
    if recorded is not None:
        policy.spec.check_compatible(recorded.spec, f"the policy of init={config.init}", str(config.data.path))
    return policy


def clone_of(policy: PolicyModule) -> GenerativePolicy:
    """Return the generative policy whose weights a method trains; a critic behind it is left behind.

    Raises:
        LaminarError: the policy is composed of more than that.
    """
    inner = policy.composed_of if isinstance(policy, Guided) else policy
    if not isinstance(inner, GenerativePolicy):
        raise LaminarError(
            f"this method trains the weights of a generative policy, and init= is a {policy.config['kind']} one; start "
            "from the policy that it was made of"
        )
    return inner
