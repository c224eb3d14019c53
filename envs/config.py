"""Settings that name an environment, and those of `laminar collect`."""

# Hydra reads these classes and needs real types: no postponed annotations here.
from dataclasses import dataclass, field


@dataclass
class EnvConfig:
    """An environment."""

    id: str | None = None  # a gymnasium id, maybe with arguments (NAME?key=value&key=value), or a D4RL id


@dataclass
class CollectConfig:
    """Recording demonstrations of a built-in task, or free play, by scripted experts."""

    env: EnvConfig = field(default_factory=EnvConfig)
    episodes: int = 200  # demonstrations of a task
    steps: int = 100_000  # control steps of play
    processes: int | None = None  # that play at the same time; null: one a processor core
    seed: int = 0
    out: str | None = None  # HDF5 file in D4RL's layout; for play a folder in CALVIN's
