"""Settings of `laminar eval` and `laminar compare`."""

# Hydra reads these classes and needs real types: no postponed annotations here.
from dataclasses import dataclass, field

from ..envs.config import EnvConfig


@dataclass
class PolicyPath:
    """A saved policy."""

    path: str | None = None  # out= folder of a run, a checkpoint, or a saved policy


@dataclass
class EvalConfig:
    """One evaluation."""

    policy: PolicyPath = field(default_factory=PolicyPath)
    env: EnvConfig = field(default_factory=EnvConfig)
    episodes: int = 50
    chains: int | None = None  # instead of episodes: chains of five instructions, see task=calvin-chain
    protocol: str = "episodes"  # offline: three numbers of a run, see eval/offline.py
    candidates: int | None = None  # chunks that the critic chooses from; null is 1, and 50 for protocol=offline
    selection: str = "softmax"  # of a candidate: softmax of Q / temperature, or argmax of Q
    temperature: float = 1.0  # of the softmax, in units of Q
    noise_scale: float = 1.0  # of the noise that samples start from; 0 is deterministic
    max_steps: int = 360  # limit of each instruction of a chain
    seed: int = 0  # episode i runs on seed + i; chain i draws its noise from it
    out: str | None = None  # folder for eval.json and the report
    num_envs: int | None = None  # environments that step together; null chooses
    processes: int = 0  # worker processes; 0 evaluates in this one
    video_episodes: int = 3  # filmed episodes, or chains, in the report; 0 films none


@dataclass
class CompareConfig:
    """A paired comparison of two policies on identical seeds."""

    a: PolicyPath = field(default_factory=PolicyPath)
    b: PolicyPath = field(default_factory=PolicyPath)
    env: EnvConfig = field(default_factory=EnvConfig)
    episodes: int = 50
    seed: int = 0
    out: str | None = None  # folder for compare.json
