"""Settings of on-policy improvement, and which of them go together."""

# Hydra reads this class and needs real types: no postponed annotations here.
from dataclasses import dataclass, field

from ....errors import LaminarError
from ....policies.networks.critics import CriticConfig
from ....policies.networks.noise_head import NoiseHeadConfig
from ....settings import check, choice, number, share

OBJECTIVES = ("denoising", "noise_head", "matching", "pmpo")


def _value() -> CriticConfig:
    return CriticConfig(heads=1)


@dataclass
class Config:
    """Settings of denoising PPO (DPPO, Ren et al. 2024) and its relatives."""

    name: str = "policy_gradient"
    recipe: str = "dppo"  # name of these settings in tables: the file of configs/method/
    # What is made more likely: each denoising step, the whole chain of a policy whose steps are given noise by a
    # learned head, samples by the training loss, or steps by the sign of their advantage alone.
    objective: str = choice("denoising", *OBJECTIVES)
    chunks: int = number(32, least=1)  # executed in each slot in one iteration, which are then learned from
    # Iterations of a run that is given neither env.steps nor steps; null leaves it to these.
    iterations: int | None = number(None, least=1, null=True)
    epochs: int = number(10, least=1)  # passes over what an iteration has seen
    minibatches: int = number(4, least=1)  # updates of a pass
    tuned_steps: int | None = number(10, least=1, null=True)  # last denoising steps that learn, at most all; null: all
    lr: float = number(1e-4, above=0)  # of Adam, for the policy; falls by half a cosine
    final_lr: float = share(0.1)  # share of it at the end
    value_lr: float = number(1e-3, above=0)  # of the value function
    value: CriticConfig = field(default_factory=_value)  # V(s) of what the policy's encoder gives
    max_grad_norm: float = number(1.0, above=0, infinite=True)  # longer gradients of the policy are shortened to it
    discount: float = number(0.99, least=0, below=1)  # of the next control step
    # What would follow an episode that was cut off counts as expected; false: for nothing, as where success ends one.
    bootstrap: bool = True
    trace: float = share(0.95)  # lambda of GAE, from chunk to chunk
    scale_rewards: bool = True  # divide rewards by the running deviation of their discounted sums
    value_warm_up: int = number(1, least=0)  # iterations in which the value function alone learns
    # Episodes are cut off after this many times what nine of ten successful ones took; 0 lets each run to its end.
    patience: float = number(3.0, least=0)
    clip: float = number(0.1, above=0)  # of a ratio of probabilities, which are means over a chunk's numbers
    clip_first: float = number(0.1, above=0)  # the same at the noisiest of the tuned steps
    target_kl: float | None = number(1.0, above=0, null=True)  # an update further away ends its iteration's updates
    denoising_discount: float = share(0.99)  # of an advantage, for each denoising step before the last
    min_std: float = number(0.1, above=0)  # least deviation of a tuned step, normalized; it explores
    noise_clip: float = number(3.0, above=0, infinite=True)  # deviations at which noise on the way is cut off
    noise_head: NoiseHeadConfig = field(default_factory=NoiseHeadConfig)  # of objective=noise_head
    noise_hold: float = share(0.35)  # share of the run for which its upper bound stays as it is
    noise_final: float = share(0.3)  # share of the range between its bounds that is left at the end
    entropy: float = number(0.0, least=0)  # weight of its entropy
    draws: int = number(8, least=1)  # (time, noise) draws for each chunk, of matching
    action_noise: float = number(0.05, least=0)  # deviation of executed actions, normalized, of matching
    trust: str = choice("asymmetric", "asymmetric", "clip")  # of matching: a smooth penalty where advantages are < 0
    positive: float = share(0.5)  # weight of what was better than expected, of pmpo
    # Weight of a leash to the policy that it starts from, and which way it pulls: its samples stay likely, or the
    # policy's own are likely to it.
    leash: float = number(0.0, least=0)
    leash_direction: str = choice("policy", "policy", "base")
    leash_until: float | None = number(None, above=0, most=1, null=True)  # share of the run after which it is gone
    progressive: float = share(0.0)  # share of the run over which the tuned steps grow from the last one to all
    average: float = number(0.0, least=0, below=1)  # decay of the averaged weights that are saved; 0: the newest


def check_settings(config: Config) -> None:
    """Refuse settings out of their bounds, and those that contradict each other.

    Raises:
        LaminarError: names them.
    """
    check(config, "method")
    if config.noise_head.low >= config.noise_head.high:
        raise LaminarError(
            f"method.noise_head.low={config.noise_head.low:g} is not below method.noise_head.high="
            f"{config.noise_head.high:g}; make it smaller"
        )
    if config.objective == "denoising" and config.clip_first > config.clip:
        raise LaminarError(
            f"method.clip_first={config.clip_first:g} is above method.clip={config.clip:g}, and noisier steps are "
            "clipped sooner; make it smaller"
        )
    if config.progressive and config.objective not in ("denoising", "pmpo"):
        raise LaminarError(
            f"method.progressive takes denoising steps one by one, and method.objective={config.objective} does not; "
            "leave it out"
        )
    if config.objective == "matching" and config.leash_direction == "base" and config.leash:
        raise LaminarError(
            "method.leash_direction=base needs the probability of a sample, and matching has none; leave it out"
        )
