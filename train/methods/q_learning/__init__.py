"""Offline Q-learning: one improver for DQL, OFQL, FQL, IDQL, TD3+BC and ReBRAC, which configs/method/ spells out.

`losses` and `targets` have the terms of the papers, `agent` what they are about, `config` the settings.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import Tensor

from ....data.episodes import Episodes
from ....data.transitions import Transitions
from ....errors import LaminarError
from ....policies.guided import Guided
from ....policies.module import PolicyModule
from ....policies.processes import Metrics
from ...improver import Context, Improver, need
from ...offline_checks import check_offline
from ...start import clone_of
from ...update.learner import Learner, Loss, average
from ...update.program import State
from ...update.rates import cosine
from .agent import Agent, student_of
from .config import Config, check_process, check_settings
from .draws import draw
from .losses import actor_loss, behavior_of
from .rewards import tune
from .targets import Batch, critic_loss, next_value_of

__all__ = ["Agent", "Config", "QLearning"]


class QLearning(Improver):
    """Improver that climbs a learned Q while it stays near the demonstrations.

    `product()` has the averaged weights, with the slow copy of the critic behind them.
    """

    def __init__(self, policy: PolicyModule, recorded: Episodes | None, config: Config, context: Context) -> None:
        check_settings(config)
        start = clone_of(policy)
        check_process(config, start)
        if isinstance(context.like, QLearning):
            self.transitions = context.like.transitions
        else:
            self.transitions = _transitions(start, need(recorded, config.recipe), config, context)
        self.config = config = _with_scale(config, self.transitions)
        teacher = start if config.distill > 0 else None
        _check_group(config, context)
        student = student_of(teacher) if teacher else start
        self.agent = Agent(student, config, teacher, context.group).to(context.device)
        self._next_value, self._behavior = next_value_of(config), behavior_of(config)
        learner = Learner(self.agent, _part, context.group, context.runtime.autocast)
        slow = [part for part in ("averaged", "averaged_encoder", "target") if part in learner.layouts]
        learned = [part for part in learner.layouts if part not in slow]
        self._learn(context, learner, self.transitions, learned, ["actor_step", "critic_step"], deployed=slow)
        self._product = Guided(self.agent.averaged, self.agent.target)

    def _draw(self) -> tuple[Tensor, dict[str, Any]]:
        group, generator = self.context.group, self.context.generator
        size = self.config.batch_size * group.size
        index = self.transitions.draw(size, generator)
        return group.share(index), draw(self.agent, size, generator, group)

    def _rates(self, step: int) -> tuple[tuple[float, ...], bool]:
        """Return lr, critic_lr, shares of the average renewed, eta, that of returns; and whether the actor learns."""
        c, steps = self.config, self.context.steps
        left = cosine(step / steps, c.final_lr)
        renewed = 1.0 if step < c.ema_start else (1 - c.ema_decay) * (step % c.ema_every == 0)
        ramp = min((step + 1) / (c.eta_ramp * steps), 1.0) if c.eta_ramp else 1.0
        returns = max(0.0, 1 - step / c.from_returns) if c.from_returns else 0.0
        return (left * c.lr, left * c.critic_lr, renewed, ramp * c.eta, returns), step % c.actor_every == 0

    def _update(self, state: State, batch: Batch, draws: dict[str, Any], rates: Any, variant: bool) -> Metrics:
        """One update: critic, and of a `variant` that acts also actor and slow copies; delayed ones (TD3) do not."""
        lr, critic_lr, renewed, eta, returns = rates
        trained, shared = self._present("encoder"), self.config.encoder == "critic"
        critic = self._present("critic", "value") + (trained if shared else [])
        found = self._descend(state, critic, critic_loss, (batch, draws, self._next_value, returns), critic_lr)
        cond = found.pop("cond")
        if variant:
            actor = self._present("actor", "teacher") + ([] if shared else trained)
            inputs = (batch, draws, self._behavior, eta, cond if shared else None)
            found |= self._descend(state, actor, actor_loss, inputs, lr)
            for slow, fast in (("averaged", "actor"), ("averaged_encoder", "encoder")):
                if slow in self.learner.layouts:
                    average(state, slow, fast, renewed)
            average(state, "target", "critic", self.config.target_rate)
        return found

    def _descend(self, state: State, parts: list[str], loss: Loss, inputs: tuple[Any, ...], lr: Any) -> Metrics:
        counter, norm = f"{parts[0]}_step", self.config.max_grad_norm
        found = self.learner.descend(state, parts, loss, inputs, lr, counter, norm)
        return {f"{parts[0]}_{name}" if name == "grad_norm" else name: value for name, value in found.items()}

    def _present(self, *parts: str) -> list[str]:
        return [part for part in parts if part in self.learner.layouts]

    def product(self) -> Guided:
        """Return the policy with averaged weights, and the critic that can choose among its samples."""
        return self._product


def _check_group(config: Config, context: Context) -> None:
    """Refuse a compiler where the critic's scale is a sum over processes, which it has no way through."""
    scaled = config.eta > 0 and config.q_scale != "none"
    if context.group.size > 1 and context.runtime.compiled and scaled:
        raise LaminarError(
            f"under torchrun method.q_scale={config.q_scale} is a mean over all processes, which a compiled update "
            "cannot take; use runtime=eager, or method.q_scale=none"
        )


def _part(name: str) -> str:
    """Part that a parameter of the agent belongs to; the encoders are parts of their own."""
    part, inside = name.split(".")[:2]
    if inside != "encoder":
        return part
    return {"actor": "encoder", "averaged": "averaged_encoder"}.get(part, part)


def _with_scale(config: Config, transitions: Transitions) -> Config:
    """Settle around what the critic's values lie, and how far, where that is left to the recording."""
    critic, returns = config.critic, transitions.returns.double()
    offset = float(returns.mean()) if critic.offset is None else critic.offset
    scale = float((returns - offset).square().mean().sqrt()) or 1.0 if critic.scale is None else critic.scale
    return replace(config, critic=replace(critic, scale=scale, offset=offset))


def _transitions(policy: PolicyModule, episodes: Episodes, config: Config, context: Context) -> Transitions:
    reward = tune(config.reward, episodes)
    check_offline(episodes, policy.spec.chunk, reward, context.short_episodes)
    return Transitions(
        episodes,
        history=policy.spec.history,
        chunk=policy.spec.chunk,
        n_step=config.n_step,
        discount=config.discount,
        reward=reward,
        device=context.device,
    )
