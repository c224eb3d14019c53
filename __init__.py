"""laminar: robot policies that flow.

Read demonstrations, clone them into a diffusion or one-step flow policy, measure it honestly::

    import laminar

    episodes = laminar.load_episodes("demonstrations.hdf5")
    policy = laminar.load_policy("outputs/run")
    result = laminar.evaluate(policy, "Hopper-v4", seeds=range(50))
    fast = laminar.accelerate(policy)

The four functions are imported on first use, so that `import laminar` costs nothing and
`laminar.policies` needs neither gymnasium nor h5py.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .version import __version__

if TYPE_CHECKING:
    from .data.load import load_episodes
    from .eval.rollouts.episodes import evaluate
    from .policies import load_policy
    from .policies.runtimes.accelerate import accelerate


__all__ = ["__version__", "accelerate", "evaluate", "load_episodes", "load_policy"]

_HOME = {
    "accelerate": ".policies.runtimes.accelerate",
    "evaluate": ".eval.rollouts.episodes",
    "load_episodes": ".data.load",
    "load_policy": ".policies",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'laminar' has no attribute '{name}'")
    value = getattr(import_module(_HOME[name], __name__), name)
    globals()[name] = value  # the next access no longer comes here
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
