"""What `laminar serve` does with its settings."""

from __future__ import annotations

import torch

from ..errors import LaminarError
from ..eval.guidance import acting_told
from ..policies import Policy, load_policy
from ..policies.guided import guide
from ..policies.module import sampled_otherwise
from ..policies.runtimes.accelerate import accelerate
from ..policies.runtimes.pace import resolve_steps
from ..progress import tell
from .access import token_of
from .config import ServeConfig
from .server import PolicyServer


def serve(config: ServeConfig, given: set[str]) -> None:
    """Serve a policy until Ctrl-C.

    Args:
        config: the settings.
        given: names of the settings that the user gave; one that has no effect is refused.

    Raises:
        LaminarError: the policy cannot be loaded or built, or the address not be listened at.
    """
    torch.set_num_threads(config.threads)
    policy = opened(config, given)
    token = token_of(config.token)
    server = PolicyServer(policy, config.host, config.port, token, config.batch, config.seed)
    server.run(lambda url: tell(f"serving {config.policy.path} at {url}; Ctrl-C ends it"))


def opened(config: ServeConfig, given: set[str]) -> Policy:
    """Return the policy that is to be served, its sampling loop built for some batches."""
    policy = guide(load_policy(str(config.policy.path)), acting_told(config, given))
    otherwise = sampled_otherwise(policy)
    if otherwise is not None:
        raise LaminarError(f"{config.policy.path}: {otherwise}")
    sizes = sorted({*(2**power for power in range(config.batch.bit_length())), config.batch})
    return accelerate(policy, config.policy.runtime, sizes, resolve_steps(policy, config.policy.steps))
