"""Settings of offline Q-learning, and which of them go together."""

# Hydra reads this class and needs real types: no postponed annotations here.
from dataclasses import dataclass, field

from ....errors import LaminarError
from ....policies.generative import GenerativePolicy
from ....policies.networks.critics import CriticConfig
from ....settings import check, choice, number, share

HEADS = ("random", "mean", "min", "first")
"""Which value the actor climbs."""
BEST = ("heads", "critic")
"""Who says which of several next actions is backed up."""
SCALES = ("policy", "data", "slope", "none")
"""What divides it: mean |Q| of these actions, the size of Q's slope at the data's, or nothing."""


@dataclass
class Config:
    """Settings of offline Q-learning; the defaults are DQL's (Wang et al. 2023)."""

    name: str = "q_learning"
    recipe: str = "dql"  # name of these settings in tables: the file of configs/method/
    batch_size: int = number(256, least=1)  # transitions in an update, per process
    lr: float = number(3e-4, above=0)  # of Adam, for the actor
    critic_lr: float = number(3e-4, above=0)  # of Adam, for the critic
    final_lr: float = share(1.0)  # share of both that a half cosine over the run ends at; 1 keeps them constant
    discount: float = number(0.99, least=0, below=1)  # of the reward of the next step
    n_step: int = number(1, least=1)  # rewards in a target, which has one for each action of a chunk at least
    reward: str = "none"  # tuning of the rewards in training, see rewards.py
    critic: CriticConfig = field(default_factory=CriticConfig)
    target_rate: float = number(0.005, above=0, most=1)  # share of the critic that its slow copy takes over
    target_value: str = choice("min", "min", "mean")  # of the target's heads
    pessimism: float = number(0.0, least=0)  # deviations of the heads below their mean, of values that are backed up
    backup_actions: int = number(1, least=1)  # actions whose best value is backed up; DQL takes 10 on most AntMazes
    # Who says which is best: each head of the slow copy for itself (DQL), or the critic as it is now (QC).
    backup_best: str = choice("heads", *BEST)
    target_noise: float = number(0.0, least=0)  # deviation of noise on the target's actions (TD3), normalized units
    target_noise_clip: float = number(0.5, least=0)  # bound of that noise
    # Weight of the squared distance between the target's and the data's next action (ReBRAC).
    target_penalty: float = number(0.0, least=0)
    # Implicit Q-learning: V is this expectile of Q, and targets are V(s').
    expectile: float | None = number(None, above=0, below=1, null=True)
    eta: float = number(1.0, least=0)  # weight of the critic's term; 0 clones
    # Updates over which a target goes over from the recording's return, where the whole of it is known, to what the
    # critic says: at first it says nothing, and takes thousands of updates to learn how large values are.
    from_returns: int = number(0, least=0)
    eta_ramp: float = share(0.0)  # share of the run over which it grows from 0, while the critic learns what to say
    q_head: str = choice("random", *HEADS)  # value that the actor climbs: of a random head, mean, min or first
    # The critic's term is divided by mean |Q| of these actions; by the slope of Q at the data's, which what is added to
    # all rewards does not change; or by nothing.
    q_scale: str = choice("policy", *SCALES)
    behavior_weight: float = number(1.0, least=0)  # of the cloning loss beside the critic's term
    # Weight of the squared distance between the actor's sample and the data that its flow sees in it when it is noised
    # again (SRPO): it keeps samples among data, of whatever mode; the cloning loss holds each where it was.
    anchor: float = number(0.0, least=0)
    distill: float = number(0.0, least=0)  # above 0: a one-call actor is distilled from the policy (FQL's alpha)
    one_call: bool = False  # climb Q at a one-call estimate from a noised action of the data (EDP)
    # Whose gradient trains the encoder of pictures and instructions: the critic's, with which the actor's stops at what
    # was encoded, once an update (DrQ), or the actor's.
    encoder: str = choice("critic", "critic", "actor")
    actor_every: int = number(1, least=1)  # critic updates for each of the actor and of the slow copies (TD3)
    # longer gradients are shortened to it
    max_grad_norm: float | None = number(None, above=0, null=True, infinite=True)
    ema_decay: float = share(0.995)  # of the actor's slow copy, which targets use and which is deployed
    ema_every: int = number(5, least=1)  # updates between two steps of it
    ema_start: int = number(1000, least=0)  # until then it is a plain copy


def check_settings(config: Config) -> None:
    """Refuse settings out of their bounds, and those that exclude each other.

    Raises:
        LaminarError: names the settings and the remedy.
    """
    check(config, "method")
    if config.anchor > 0 and (config.one_call or config.distill > 0):
        raise LaminarError(
            "method.anchor holds what the policy itself samples, and with method.one_call or method.distill the critic "
            "judges something else; set method.anchor=0"
        )
    if config.one_call and config.distill > 0:
        raise LaminarError("method.one_call and method.distill are two ways to a fast actor; choose one of them")
    for name, unused in (
        ("backup_actions", config.backup_actions > 1),
        ("target_noise", config.target_noise > 0),
        ("target_penalty", config.target_penalty > 0),
    ):
        if config.expectile is not None and unused:
            raise LaminarError(
                f"method.{name} does not apply with method.expectile, whose targets are V(s') without an action; "
                "leave one of them out"
            )
    if config.pessimism > 0 and config.target_value != "mean":
        raise LaminarError(
            "method.pessimism counts from the mean of the heads, and method.target_value=min takes the least of them; "
            "set method.target_value=mean"
        )
    if config.target_penalty > 0 and config.backup_actions > 1:
        raise LaminarError("method.target_penalty judges one next action; set method.backup_actions=1")
    if config.q_head == "random" and config.critic.heads != 2:
        raise LaminarError(f"method.q_head=random picks one of two heads, the critic has {config.critic.heads}")


def check_process(config: Config, policy: GenerativePolicy) -> None:
    """Refuse what a method cannot do with a policy's process.

    Raises:
        LaminarError: names the process and the remedy.
    """
    process, name = policy.process, policy.policy_config.process.name
    if config.one_call and not process.estimates_data:
        raise LaminarError("method.one_call estimates actions by denoising: choose policy=dql or another diffusion")
    if config.distill > 0 and (process.deterministic or not process.learns_from_data):
        raise LaminarError(
            f"method.distill teaches a one-call actor what a generative policy samples, and policy={name} is no such "
            "policy; choose policy=flow, or init= of a flow clone"
        )
    if not process.learns_from_data:
        raise LaminarError(
            "a one-call actor with noise (policy.process.noise=true) learns from a teacher alone, which it does not "
            "bring; choose policy=direct without it, or start from the clone that it was distilled from"
        )
    if config.anchor > 0 and not process.denoises:
        raise LaminarError(
            f"method.anchor asks the policy itself where data are, which policy={name} cannot tell of noised actions; "
            "choose policy=meanflow, flow or diffusion, or set method.anchor=0"
        )
    if config.distill > 0 and process.inner_draws:
        raise LaminarError(
            f"method.distill needs a teacher that is a function of its noise, and this {name} draws more on the way; "
            "choose policy=flow, or policy.process.solver=ddim"
        )
