"""Settings of a sweep; those of its runs are words of `laminar train`."""

# Hydra reads these classes and needs real types: no postponed annotations here.
from dataclasses import dataclass, field
from typing import Any

from ...settings import choice, number, path


@dataclass
class StopConfig:
    """A rule that ends runs early which do worse than others."""

    # asha: at each rung the best of the runs that came so far go on; launcher=ray. `stop=asha` for short
    rule: str | None = choice(None, "asha", null=True)
    metric: str = "loss"  # entry of metrics.jsonl by which runs are held against each other
    mode: str = choice("min", "min", "max")  # whether less or more of it is better
    grace: int = number(1000, least=1)  # updates before the first rung, which every run gets
    reduction: int = number(3, least=2)  # one of so many runs goes on at a rung; the next one is so many times as far


@dataclass
class SweepConfig:
    """Runs of `laminar train`, side by side."""

    # Where runs are started; launcher=NAME chooses it and brings its own settings.
    launcher: Any = None
    out: str | None = path()  # folder of the sweep, in which each run has one
    cpus: float = number(1.0, above=0)  # cores of a run
    gpus: float = number(0.0, least=0)  # GPUs of a run; 0.25 lets four runs share one
    tries: int = number(3, least=1)  # starts of a run that is killed, from its last checkpoint each
    stop: StopConfig = field(default_factory=StopConfig)
