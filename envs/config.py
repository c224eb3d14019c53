"""Settings that name an environment, and those of `laminar collect`."""

# Hydra reads these classes and needs real types: no postponed annotations here.
from dataclasses import dataclass, field

from ..settings import number, path, seed_number


@dataclass
class EnvConfig:
    """An environment."""

    id: str | None = None  # a gymnasium id, maybe with arguments (NAME?key=value&key=value), or a D4RL id


@dataclass
class CollectConfig:
    """Recording demonstrations of a built-in task, or free play, by scripted experts."""

    env: EnvConfig = field(default_factory=EnvConfig)
    episodes: int = number(200, least=1)  # demonstrations of a task
    steps: int = number(100_000, least=1)  # control steps of play
    processes: int | None = number(None, least=1, null=True)  # of play, at the same time; null is one a processor core
    seed: int = seed_number()  # the same seed records the same file
    # HDF5 file in D4RL's layout; for play a folder in CALVIN's, or of OGBench FILE.npz, with FILE-val.npz beside it
    out: str | None = path()
    overwrite: bool = False  # but for a folder of play: replace files that are there, unless they are read-only
