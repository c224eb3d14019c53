"""Settings of steering by Stable-Baselines3's SAC."""

# Hydra reads this class and needs real types: no postponed annotations here.
from dataclasses import dataclass, field

from ....policies.networks.critics import CriticConfig
from ....policies.networks.noise_actor import NoiseActorConfig
from ....settings import number


def _critic() -> CriticConfig:
    return CriticConfig(activation="tanh", layer_norm=True)


@dataclass
class Config:
    """Settings of DSRL-SAC (Wagenmaker et al. 2025): soft actor-critic (Haarnoja et al. 2018) whose action is noise."""

    name: str = "dsrl_sac"
    batch_size: int = number(256, least=1)  # executed chunks in an update
    lr: float = number(3e-4, above=0)  # of Adam, for all that learns
    discount: float = number(0.99, least=0, below=1)  # of the next control step
    reward_shift: float = number(0.0)  # added to the reward of each control step; -1 makes an early success better
    reward_scale: float = number(1.0, above=0)  # of rewards in training
    critic: CriticConfig = field(default_factory=_critic)  # of noises
    actor: NoiseActorConfig = field(default_factory=NoiseActorConfig)
    noise_bound: float = number(2.0, above=0)  # the actor's noise lies within; the base was trained with N(0, 1)
    repeated: bool = False  # the actor chooses one vector of noise for all steps of a chunk
    target_rate: float = number(0.005, above=0, most=1)  # share of the critic that its slow copy takes over
    target_entropy: float = number(-0.5)  # of the actor, for each number of noise; the temperature follows it
    temperature: float = number(0.01, above=0)  # of the entropy in returns and in the actor's loss, at first
    updates_per_step: float = number(1.0, above=0)  # updates for each control step in the environment
    warm_up: int = number(1000, least=1)  # control steps by the base alone, before the first update
    replay: int = number(1_000_000, least=1)  # executed chunks that are kept
