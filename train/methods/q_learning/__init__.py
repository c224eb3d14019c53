"""Offline Q-learning: one improver for DQL, OFQL, FQL, IDQL, TD3+BC and ReBRAC, which configs/method/ spells out."""

from __future__ import annotations

import math
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor

from ....data.batches import Batch
from ....data.episodes import Episodes
from ....data.transitions import Transitions
from ....errors import LaminarError
from ....policies import GenerativePolicy
from ....policies.networks.critics import CriticConfig
from ....policies.processes.diffusion import Diffusion
from ....policies.processes.direct import Config as DirectConfig
from ....policies.processes.direct import Direct
from ...improver import Context
from ...update.functional import FunctionalImprover, check_capture, check_processes
from ...update.runners import Program, State
from .agent import HEADS, SCALES, Agent, draw
from .offline_checks import check_offline
from .rewards import tune
from .update import QUpdate, Rates


@dataclass
class Config:
    """Settings of offline Q-learning; the defaults are DQL's (Wang et al. 2023)."""

    name: str = "q_learning"
    recipe: str = "dql"  # name of these settings in tables: the file of configs/method/
    batch_size: int = 256
    lr: float = 3e-4  # of Adam, for the actor
    critic_lr: float = 3e-4
    final_lr: float = 1.0  # share of both that a half cosine over the run ends at; 1 keeps them constant
    discount: float = 0.99
    n_step: int = 1  # rewards in a target; a chunk's target always has one reward for each of its actions
    reward: str = "none"  # tuning of the rewards in training, see rewards.py
    # critic
    critic: CriticConfig = field(default_factory=CriticConfig)
    target_rate: float = 0.005  # share of the critic that its slow copy takes over every update
    target_value: str = "min"  # of the target's heads: min or mean
    backup_actions: int = 1  # actions whose best value is backed up; DQL takes 10 on most AntMazes
    target_noise: float = 0.0  # deviation of noise on the target's actions (TD3), normalized units
    target_noise_clip: float = 0.5
    target_penalty: float = 0.0  # of the squared distance between the target's and the data's next action (ReBRAC)
    expectile: float | None = None  # implicit Q-learning: V is this expectile of Q, and targets are V(s')
    # actor
    eta: float = 1.0  # weight of the critic's term; 0 clones
    eta_ramp: float = 0.0  # share of the run over which it grows from 0, while the critic learns what to say
    q_head: str = "random"  # value that the actor climbs: of a random head, mean, min or first
    q_scale: str = "policy"  # the critic's term is divided by mean |Q| of the policy's or the data's actions, or none
    behavior_weight: float = 1.0
    distill: float = 0.0  # above 0: a one-call actor is distilled from the policy, with this weight (FQL's alpha)
    one_call: bool = False  # climb Q at a one-call estimate from a noised action of the data (EDP)
    actor_every: int = 1  # critic updates for each of the actor and of the slow copies (TD3)
    max_grad_norm: float | None = None
    ema_decay: float = 0.995  # of the actor's slow copy, which targets use and which is deployed
    ema_every: int = 5  # updates between two steps of it
    ema_start: int = 1000  # until then it is a plain copy


class QLearning(FunctionalImprover):
    """Improver that climbs a learned Q while it stays near the demonstrations. `policy()` has the averaged weights."""

    deployed = ("averaged", "target")

    def __init__(self, policy: GenerativePolicy, episodes: Episodes, config: Config, context: Context) -> None:
        check_processes(context, config.recipe)
        _check(config)
        _check_process(config, policy)
        self.config = config
        teacher = policy if config.distill > 0 else None
        self.agent = Agent(student(policy) if teacher else policy, config, teacher).to(context.device)
        self.agent.requires_grad_(False)
        if isinstance(context.like, QLearning):
            self.transitions = context.like.transitions
        else:
            self.transitions = _transitions(policy, episodes, config, context)
        check_capture(context, self.transitions.reads_disk)
        self._update = QUpdate(self.agent, autocast=context.autocast)
        feed = (self._draw, self.transitions.gather, self._schedule, (context.generator,))
        program = Program(self._update.start(), self._function, *feed)
        super().__init__(self.agent, self._update.layouts, program, context)

    def _draw(self) -> tuple[Tensor, dict[str, Any]]:
        size, generator = self.config.batch_size, self.context.generator
        return self.transitions.draw(size, generator), draw(self.agent, size, generator)

    def _function(
        self, state: State, batch: Batch, draws: dict[str, Any], rates: Tensor, act: bool
    ) -> tuple[State, dict[str, Tensor]]:
        return self._update(state, batch, draws, Rates(*rates.unbind()), act)

    def _schedule(self, step: int) -> tuple[tuple[float, ...], bool]:
        """Return the `Rates` of an update, and whether it trains the actor."""
        config = self.config
        share = config.final_lr + (1 - config.final_lr) * 0.5 * (1 + math.cos(math.pi * step / self.context.steps))
        average = 1.0 if step < config.ema_start else (1 - config.ema_decay) * (step % config.ema_every == 0)
        ramp = min((step + 1) / (config.eta_ramp * self.context.steps), 1.0) if config.eta_ramp else 1.0
        rates = (share * config.lr, share * config.critic_lr, average, ramp * config.eta)
        return rates, step % config.actor_every == 0

    def policy(self) -> GenerativePolicy:
        """Return the policy with averaged weights; it holds the target critic."""
        return self.agent.averaged


def _transitions(policy: GenerativePolicy, episodes: Episodes, config: Config, context: Context) -> Transitions:
    reward = tune(config.reward, episodes)
    check_offline(episodes, policy, reward, context.short_episodes)
    return Transitions(
        episodes,
        history=policy.spec.history,
        chunk=policy.spec.chunk,
        n_step=config.n_step,
        discount=config.discount,
        reward=reward,
        device=context.device,
    )


def student(teacher: GenerativePolicy) -> GenerativePolicy:
    """Return a policy of one call with a teacher's network, untrained, normalizers and encoder (Park et al. 2025).

    The encoder is a copy, because the teacher's network goes on from what the student's encoder sees.
    """
    normalizers = (deepcopy(teacher.observation_normalizer), deepcopy(teacher.action_normalizer))
    config = replace(teacher.policy_config, process=DirectConfig(noise=True))
    policy = GenerativePolicy(config, teacher.network_config, teacher.spec, *normalizers)
    policy.encoder.load_state_dict(teacher.encoder.state_dict())
    return policy


def _check_process(config: Config, policy: GenerativePolicy) -> None:
    """Refuse what a method cannot do with a policy's process."""
    process, name = policy.process, policy.policy_config.process.name
    if config.one_call and not isinstance(process, Diffusion):
        raise LaminarError("method.one_call estimates actions by denoising: choose policy=dql or another diffusion")
    if isinstance(process, Direct):
        if config.distill > 0:
            raise LaminarError(
                "method.distill teaches a one-call actor what a generative policy samples, and policy=direct is no "
                "such policy; choose policy=flow, or init= of a flow clone"
            )
        if process.config.noise:
            raise LaminarError(
                "a one-call actor with noise (policy.process.noise=true) learns from a teacher alone, which it does "
                "not bring; choose policy=direct without it, or start from the clone that it was distilled from"
            )
    if config.distill > 0 and process.inner_draws:
        raise LaminarError(
            f"method.distill needs a teacher that is a function of its noise, and this {name} draws more on the way; "
            "choose policy=flow, or policy.process.solver=ddim"
        )


def _check(config: Config) -> None:
    share, positive = (lambda x: 0 <= x <= 1), (lambda x: x > 0)
    allowed: dict[str, tuple[Callable[[Any], bool], str]] = {
        "batch_size": (lambda x: x >= 1, "at least 1"),
        "lr": (positive, "above 0"),
        "critic_lr": (positive, "above 0"),
        "final_lr": (share, "a share between 0 and 1"),
        "discount": (lambda x: 0 <= x < 1, "from 0 to below 1"),
        "n_step": (lambda x: x >= 1, "at least 1"),
        "target_rate": (lambda x: 0 < x <= 1, "above 0 and at most 1"),
        "target_value": (lambda x: x in ("min", "mean"), "min or mean"),
        "backup_actions": (lambda x: x >= 1, "at least 1"),
        "target_noise": (lambda x: x >= 0, "at least 0"),
        "target_noise_clip": (lambda x: x >= 0, "at least 0"),
        "target_penalty": (lambda x: x >= 0, "at least 0"),
        "expectile": (lambda x: x is None or 0 < x < 1, "between 0 and 1, or null"),
        "eta": (lambda x: 0 <= x < math.inf, "at least 0 and finite"),
        "eta_ramp": (share, "a share between 0 and 1"),
        "q_head": (lambda x: x in HEADS, f"one of {', '.join(HEADS)}"),
        "q_scale": (lambda x: x in SCALES, f"one of {', '.join(SCALES)}"),
        "behavior_weight": (lambda x: x >= 0, "at least 0"),
        "distill": (lambda x: x >= 0, "at least 0"),
        "actor_every": (lambda x: x >= 1, "at least 1"),
        "max_grad_norm": (lambda x: x is None or x > 0, "above 0, or null"),
        "ema_decay": (share, "between 0 and 1"),
        "ema_every": (lambda x: x >= 1, "at least 1"),
        "ema_start": (lambda x: x >= 0, "at least 0"),
    }
    for name, (good, expected) in allowed.items():
        if not good(getattr(config, name)):
            raise LaminarError(f"method.{name} must be {expected}, got {getattr(config, name)}")
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
    if config.target_penalty > 0 and config.backup_actions > 1:
        raise LaminarError("method.target_penalty judges one next action; set method.backup_actions=1")
    if config.q_head == "random" and config.critic.heads != 2:
        raise LaminarError(f"method.q_head=random picks one of two heads, the critic has {config.critic.heads}")
