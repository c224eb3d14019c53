"""Settings that name an environment, and those of `laminar collect`."""

# Hydra reads these classes and needs real types: no postponed annotations here.
from dataclasses import dataclass, field


@dataclass
class EnvConfig:
    """An environment."""

    id: str | None = None  # a gymnasium id or a D4RL id


@dataclass
class CollectConfig:
    """Recording demonstrations with a built-in task's scripted controller."""

    env: EnvConfig = field(default_factory=EnvConfig)
    episodes: int = 200
    seed: int = 0
    out: str | None = None  # HDF5 file in D4RL's layout
