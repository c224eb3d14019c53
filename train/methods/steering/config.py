"""Settings of steering, and which of them go together."""

# Hydra reads this class and needs real types: no postponed annotations here.
from dataclasses import dataclass, field

from ....errors import LaminarError
from ....policies.networks.critics import CriticConfig
from ....policies.networks.noise_actor import NoiseActorConfig
from ....settings import check, number, share


def _critic() -> CriticConfig:
    return CriticConfig(width=128, activation="tanh", layer_norm=True)


def _actor() -> NoiseActorConfig:
    return NoiseActorConfig(width=128)


@dataclass
class Config:
    """Settings of DSRL-NA (Wagenmaker et al. 2025), with what keeps it from falling below its base at first."""

    name: str = "steering"
    recipe: str = "dsrl"  # name of these settings in tables: the file of configs/method/
    batch_size: int = number(256, least=1)  # executed chunks in an update
    lr: float = number(3e-4, above=0)  # of Adam, for all that learns
    discount: float = number(0.99, least=0, below=1)  # of the next control step
    n_step: int = number(1, least=1)  # chunks whose rewards are summed before the critic is asked
    reward: str = "none"  # tuning of recorded rewards, as in Q-learning; those of an environment stay as they are
    reward_shift: float = number(0.0)  # added to the reward of each control step; -1 makes an early success better
    # Factor of rewards in training; null is 1, or what makes 1 of a larger discounted return in the warm-up.
    reward_scale: float | None = number(None, above=0, null=True)
    critic: CriticConfig = field(default_factory=_critic)  # of executed chunks, and that of noises
    actor: NoiseActorConfig = field(default_factory=_actor)  # of noises, and that of edits
    steer: bool = True  # learn the base's noise; false leaves it N(0, I), so that only edits are learned
    noise_bound: float = number(2.0, above=0)  # the actor's noise lies within; the base was trained with N(0, 1)
    repeated: bool = False  # the actor chooses one vector of noise for all steps of a chunk
    target_rate: float = number(0.005, above=0, most=1)  # share of the critic that its slow copy takes over
    # Share of the noise actor that a slow copy takes over, which acts in its place and is what is saved; 1 has no copy.
    # What is learned oscillates about what is good: its average does less.
    actor_rate: float = number(0.001, above=0, most=1)
    pessimism: float = number(0.5, least=0)  # deviations of the heads below their mean, of values that are climbed
    entropy_backup: bool = False  # the entropy of the actor is part of the returns that the critic learns (SAC)
    target_entropy: float = number(1.0)  # of the actor, for each number of noise; the temperature follows it
    temperature: float = number(0.003, above=0)  # of the entropy in the actor's loss, at first
    # Weight of log pi(w) - log N(w; 0, 1) in the actor's loss at first, in units of Q; it fades.
    prior: float = number(0.0, least=0)
    prior_until: int = number(10_000, least=1)  # update at which it has faded
    edit_scale: float = number(0.0, least=0)  # normalized units that an edit can move an executed action by; 0: none
    # Of squared edits, as shares of edit_scale, beside Q in units of its size: what gains little stays small.
    edit_penalty: float = number(0.1, least=0)
    edit_deviation: float = number(0.2, least=0)  # of an edit's noise, as a share of edit_scale
    candidates: int = number(32, least=1)  # chunks that the critic chooses the best of, in training and afterwards
    # Updates, from `actor_start` on, over which candidates grow from 1 to all, and the share of edited chunks from 0:
    # a critic that knows little yet would choose badly.
    growth: int = number(6000, least=1)
    updates_per_step: float = number(1.0, above=0)  # updates for each control step in the environment
    warm_up: int = number(2000, least=1)  # control steps by the base alone, before the first update
    actor_start: int = number(3000, least=0)  # updates of the critics before the first one of the actors
    actor_every: int = number(1, least=1)  # updates of the critic for one of all else
    on_policy: float = share(0.5)  # share of noises that the critic of noises learns on which are the actor's
    # Share of a batch that is drawn from data.path, if there is such. What nobody has tried there since is overrated.
    demonstrations: float = share(0.1)
    # Episodes are cut off after this many times what nine of ten successful ones took; 0 lets each run to its end.
    patience: float = number(3.0, least=0)
    replay: int = number(300_000, least=1)  # executed chunks that are kept

    @property
    def averages(self) -> bool:
        """Whether a slow copy of the noise actor acts."""
        return self.steer and self.actor_rate < 1

    @property
    def edits(self) -> bool:
        """Whether edits are learned."""
        return self.edit_scale > 0

    @property
    def edit_share(self) -> float:
        """Share of chunks that are edited in the end: a critic that chooses needs some without."""
        return 1.0 if self.candidates == 1 else 0.5

    def grown(self, step: int) -> float:
        """Share of what is learned that acts after so many updates, from 0 to 1."""
        return min(1.0, max(0.0, (step - self.actor_start) / self.growth))


def check_settings(config: Config) -> None:
    """Refuse settings out of their bounds, those that learn nothing, and those that contradict each other.

    Raises:
        LaminarError: names them.
    """
    check(config, "method")
    if not (config.steer or config.edits):
        raise LaminarError("method.steer=false and method.edit_scale=0 learn nothing; give method.edit_scale=0.2")
    if config.entropy_backup and not config.steer:
        raise LaminarError(
            "method.entropy_backup counts the entropy of the noise actor, and with method.steer=false there is none; "
            "leave it out"
        )


ONLINE = ("warm_up", "updates_per_step", "patience", "demonstrations", "replay")
"""Settings of acting and of what is kept beside recordings. Where these are all there is, they do nothing."""


def check_ways(config: Config, acts: bool) -> None:
    """Refuse settings that a run has no use for, since it acts or since it does not.

    Raises:
        LaminarError: names the first of them.
    """
    default = Config()
    if acts and config.reward != default.reward:
        raise LaminarError(
            f"method.reward={config.reward} tunes recorded rewards, and this run earns others while it acts, which "
            "stay as they are; leave it out, or leave env.steps out to learn from data.path alone"
        )
    for name in () if acts else ONLINE:
        if getattr(config, name) != getattr(default, name):
            raise LaminarError(
                f"method.{name} is of acting, and without env.steps method={config.recipe} learns from data.path "
                "alone; leave it out, or give env.steps"
            )
