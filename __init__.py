"""laminar: robot policies that flow.

Write or record demonstrations, clone them into a diffusion or one-step flow policy, measure it honestly::

    import laminar

    laminar.write_episodes("demonstrations.hdf5", episodes)
    run = laminar.train(data="demonstrations.hdf5", policy="flow", steps=20_000, out="outputs/run")
    policy = laminar.load_policy(run)
    result = laminar.evaluate(policy, "Hopper-v4", seeds=range(50))
    fast = laminar.accelerate(policy)

Add a process, network, method, … of your own, one module with its `Config`, which then can be chosen by name::

    laminar.register("process", my_process)

The functions are imported on first use, so that `import laminar` costs nothing and
`laminar.policies` needs neither gymnasium nor h5py.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from .version import __version__

if TYPE_CHECKING:
    from .api import collect, train
    from .data.episodes import Episodes
    from .data.load import load_episodes
    from .data.writing import write_episodes
    from .deploy.client import PolicyClient
    from .eval.rollouts.episodes import evaluate
    from .policies import Actor, Policy, load_policy
    from .policies.black_box import black_box
    from .policies.runtimes.accelerate import accelerate
    from .train.noise_env import NoiseEnv


__all__ = [
    "Actor",
    "Episodes",
    "NoiseEnv",
    "Policy",
    "PolicyClient",
    "__version__",
    "accelerate",
    "black_box",
    "collect",
    "evaluate",
    "load_episodes",
    "load_policy",
    "register",
    "train",
    "write_episodes",
]

_HOME = {
    "Actor": ".policies",
    "Episodes": ".data.episodes",
    "NoiseEnv": ".train.noise_env",
    "Policy": ".policies",
    "PolicyClient": ".deploy.client",
    "accelerate": ".policies.runtimes.accelerate",
    "black_box": ".policies.black_box",
    "collect": ".api",
    "evaluate": ".eval.rollouts.episodes",
    "load_episodes": ".data.load",
    "load_policy": ".policies",
    "write_episodes": ".data.writing",
}

_FAMILIES = {
    "process": ".policies.processes:PROCESSES",
    "network": ".policies.networks:NETWORKS",
    "method": ".train.methods:METHODS",
    "suite": ".envs.suites:SUITES",
    "format": ".data.formats:FORMATS",
    "runtime": ".policies.runtimes:RUNTIMES",
    "policy": ".policies:POLICIES",
}


def register(family: str, module: ModuleType) -> str:
    """Add a module of yours to an axis, for the life of this process.

    Args:
        family: process, network, method, suite, format, runtime or policy.
        module: defines what the modules of that axis in laminar define; it is known by the name of its `Config`, or
            else by its `NAME`, or else by its file's.

    Returns:
        The name to choose it by.

    Raises:
        LaminarError: there is no such axis, the module lacks what a member defines, or its name is taken.
    """
    if family not in _FAMILIES:
        from .errors import LaminarError, nearest

        known = ", ".join(_FAMILIES)
        raise LaminarError(f"no axis is called '{family}' (known: {known}){nearest(family, _FAMILIES)}")
    home, _, name = _FAMILIES[family].partition(":")
    return getattr(import_module(home, __name__), name).register(module)


def __getattr__(name: str) -> Any:
    if name == "train":
        return import_module(".train", __name__)  # a folder that can be called
    if name not in _HOME:
        raise AttributeError(f"module 'laminar' has no attribute '{name}'")
    value = getattr(import_module(_HOME[name], __name__), name)
    globals()[name] = value  # the next access no longer comes here
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
