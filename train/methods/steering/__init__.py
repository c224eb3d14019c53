"""Steering: a frozen policy is improved through the noise that it is fed, online or from recordings alone.

    laminar train method=dsrl init=runs/clone task=playroom/open_drawer env.steps=20000 out=runs/steered
    laminar train method=dsrl init=runs/clone data.path=recorded.hdf5 steps=100000 out=runs/steered

Diffusion steering by noise aliasing (DSRL-NA, Wagenmaker et al. 2025): a critic of executed chunks is distilled into
one of noises, which the noise actor climbs. The base is called, and never differentiated nor changed.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from ....data.episodes import Episodes
from ....data.replay import Replay
from ....errors import LaminarError
from ....policies.guided import Acting, Guided
from ....policies.module import PolicyModule
from ....policies.processes import Metrics
from ...improver import Context, Improver, need
from ...pace import Pace
from ...update.learner import Learner, Loss, average
from ...update.program import State
from .agent import Agent
from .collector import OF_ACTING, Collector
from .config import Config, check_settings, check_ways
from .experience import all_recorded, keep_recorded
from .losses import Batch, actor_loss, critic_loss, editor_loss, noise_critic_loss, proposals
from .scale import reward_scale

__all__ = ["Agent", "Config", "Steering"]


class Steering(Improver):
    """Improver that learns which noise to feed to a frozen policy. `product()` is a steered policy with its critic.

    Attributes:
        agent: what learns.
        executed: the chunks that it learns from.
        collector: who acts; None in a run that learns from recordings alone.
    """

    acts = True
    learns_offline = True
    freezes = True

    def __init__(self, policy: PolicyModule, recorded: Episodes | None, config: Config, context: Context) -> None:
        check_settings(config)
        check_ways(config, acts=context.world is not None)
        check_start(policy, config, context)
        self.config, self.world, base = config, context.world, policy.to(context.device).eval()
        self.agent = Agent(base, config).to(context.device)
        self._product = Guided(self.agent.policy, self.agent.target)
        self.collector: Collector | None = None
        self._largest = 0.0  # return of the recordings, where they are all there is
        self.executed = self._recorded(recorded, context) if context.world is None else self._acting(recorded, context)
        learner = Learner(self.agent, self.agent.part_of, context.group, context.runtime.autocast)
        learned = [part for part in learner.layouts if part not in ("target", "slow_actor")]
        counters = [*(f"{part}_step" for part in learned if part != "log_temperature"), "reward_scale"]
        acting = "slow_actor" if config.averages else "actor"
        deployed = [part for part in (acting, "editor", "target") if part in learner.layouts]
        self._learn(context, learner, self.executed, learned, counters, deployed)
        if self.collector is None:
            self._set_scale(reward_scale(config, self._largest))

    def _acting(self, recorded: Episodes | None, context: Context) -> Replay:
        """Begin to act, and return what is learned from: what is executed, beside recordings if there are any."""
        assert context.world is not None
        self.collector = Collector(self.agent, self._product, context.world, context)
        self.replay = self.collector.replay
        if recorded is not None:
            keep_recorded(self.replay, self.agent, recorded, context.short_episodes)
        return self.replay

    def _recorded(self, recorded: Episodes | None, context: Context) -> Replay:
        """Return what is learned from: recordings alone, which are read anew by a run that goes on, and never saved."""
        if isinstance(context.like, Steering):  # another seed of the same base
            self._largest = context.like._largest
            return context.like.executed
        given = need(recorded, self.config.recipe)
        replay, self._largest = all_recorded(self.agent, given, context.short_episodes)
        return replay

    @classmethod
    def updates(cls, config: Config, env_steps: int | None, slots: int, execute: int) -> int | None:
        """Return the updates of a run of so many control steps."""
        return None if env_steps is None else Pace(config.warm_up, config.updates_per_step).updates(env_steps)

    def collect(self, step: int) -> Metrics:
        """Act, if this run does, until there are as many control steps as update `step` and those before shall have."""
        self._grow(self.config.grown(step))
        if self.collector is not None:
            scale = self.collector.collect(step)
            if scale is not None:  # the warm-up is over
                self._set_scale(scale)
        return {}

    def figures(self) -> Metrics:
        """Return control steps and episodes so far, and success and return of the last ones."""
        return {} if self.collector is None else self.collector.interaction.figures()

    def _grow(self, grown: float) -> None:
        """Let so much of what is learned act: edits, and the critic's choice among candidates."""
        if self.config.edits:
            self.agent.edited.share = grown * self.config.edit_share
        self._product.acting = Acting(1 + round(grown * (self.config.candidates - 1)), "argmax")

    def _set_scale(self, scale: float) -> None:
        assert self.program is not None
        self.program.state["reward_scale"].fill_(scale)

    def _draw(self) -> tuple[Tensor, dict[str, Tensor]]:
        config, device, generator = self.config, self.context.device, self.context.generator
        group, agent = self.context.group, self.agent
        size = config.batch_size * group.size
        index = self.executed.draw(size, generator, config.demonstrations)
        width = agent.steered.noise_actor.noise_dim if config.steer else math.prod(agent.base.noise_shape)
        widths = {"next_noise": width, "noise": width, "prior": width}
        if config.edits:
            widths |= dict.fromkeys(("next_edit", "edit"), agent.edited.editor.action_dim)
        drawn = group.share(torch.randn(size, sum(widths.values()), generator=generator, device=device))
        return group.share(index), dict(zip(widths, drawn.split(list(widths.values()), dim=1), strict=True))

    def _rates(self, step: int) -> tuple[tuple[float, ...], bool]:
        """Return the weight of the prior term; and whether the actors learn."""
        c = self.config
        return (c.prior * max(0.0, 1 - step / c.prior_until),), step >= c.actor_start and step % c.actor_every == 0

    def _update(self, state: State, batch: Batch, draws: dict[str, Tensor], rates: Any, variant: bool) -> Metrics:
        """One update: both critics, and of a `variant` that acts also actors and temperature."""
        (prior,) = rates
        found = self._descend(state, ["critic"], critic_loss, (batch, draws, state["reward_scale"]))
        w, action = self.learner.evaluate(state, proposals, (batch, draws))
        if self.config.steer:
            found |= self._descend(state, ["noise_critic"], noise_critic_loss, (batch, w, action))
        if variant and self.config.steer:
            found |= self._descend(state, ["actor", "log_temperature"], actor_loss, (batch, draws, prior))
        if variant and self.config.edits:
            found |= self._descend(state, ["editor"], editor_loss, (batch, action, draws))
        average(state, "target", "critic", self.config.target_rate)
        if self.config.averages:
            average(state, "slow_actor", "actor", self.config.actor_rate)
        return found

    def _descend(self, state: State, parts: list[str], loss: Loss, inputs: tuple[Any, ...]) -> Metrics:
        found = self.learner.descend(state, parts, loss, inputs, self.config.lr, f"{parts[0]}_step")
        return {f"{parts[0]}_{name}" if name == "grad_norm" else name: value for name, value in found.items()}

    def product(self) -> Guided:
        """Return the steered policy, and the critic that can choose among its chunks."""
        return self._product

    def state(self) -> dict[str, Tensor]:
        """Return all tensors that an exact resume needs, beside the product, the replay and the world."""
        return super().state() | ({} if self.collector is None else self.collector.state())

    def load_state(self, state: dict[str, Tensor]) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Restore what `state` returned."""
        super().load_state({name: value for name, value in state.items() if not name.startswith(OF_ACTING)})
        if self.collector is not None:
            self.collector.load_state(state)


def check_start(policy: PolicyModule, config: Config, context: Context) -> None:
    """Refuse a start that is nothing to improve, or that acts otherwise than what is learned of it.

    Raises:
        LaminarError: says why, and what to do.
    """
    if context.init is None:
        raise LaminarError(
            f"method={config.recipe} improves a saved policy: give init=POLICY, clone one with method=bc"
        )
    if policy.spec.ensemble is not None:
        raise LaminarError(
            f"init={context.init} averages over overlapping chunks (policy.ensemble={policy.spec.ensemble:g}), and "
            "steering judges actions as they are executed; start from a policy that was cloned without policy.ensemble"
        )
