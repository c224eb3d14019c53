"""Steering: a frozen policy is improved through the noise that it is fed, online.

    laminar train method=dsrl init=runs/clone task=playroom/open_drawer env.steps=20000 out=runs/steered

Diffusion steering by noise aliasing (DSRL-NA, Wagenmaker et al. 2025): a critic of executed chunks is distilled into
one of noises, which the noise actor climbs. The base is called, and never differentiated nor changed.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from ....data.episodes import Episodes
from ....errors import LaminarError
from ....policies.guided import Acting, Guided
from ....policies.module import PolicyModule
from ....policies.observations import Windows
from ....policies.processes import Metrics
from ...improver import Context, Improver
from ...interaction import Interaction
from ...pace import Pace
from ...returns import NStep
from ...update.learner import Learner, Loss, average
from ...update.program import State
from .agent import Agent
from .config import Config, check_settings
from .experience import empty_replay, executed_rows, keep_recorded
from .losses import Batch, actor_loss, critic_loss, editor_loss, noise_critic_loss, proposals
from .scale import LargestReturn

__all__ = ["Agent", "Config", "Steering"]


class Steering(Improver):
    """Improver that learns which noise to feed to a frozen policy. `product()` is a steered policy with its critic."""

    acts = True
    freezes = True

    def __init__(self, policy: PolicyModule, recorded: Episodes | None, config: Config, context: Context) -> None:
        check_settings(config)
        check_start(policy, config, context)
        assert context.world is not None  # the method acts
        self.config, self.world, base = config, context.world, policy.to(context.device).eval()
        self.agent = Agent(base, config).to(context.device)
        spec = base.spec
        patience = config.patience or None
        self.interaction = Interaction(context.world, spec.history, spec.execute, context.seed, patience)
        self.replay = self.executed = empty_replay(self.agent, self.interaction.seen)
        row = self.executed.gather(torch.zeros(1, dtype=torch.long, device=context.device))
        self.returns = NStep(config.n_step, context.world.slots, row)
        if recorded is not None:
            keep_recorded(self.executed, self.agent, recorded, context.short_episodes)
        learner = Learner(self.agent, self.agent.part_of, context.group, context.runtime.autocast)
        learned = [part for part in learner.layouts if part not in ("target", "slow_actor")]
        counters = [*(f"{part}_step" for part in learned if part != "log_temperature"), "reward_scale"]
        acting = "slow_actor" if config.averages else "actor"
        deployed = [part for part in (acting, "editor", "target") if part in learner.layouts]
        self._learn(context, learner, self.replay, learned, counters, deployed)
        self._product = Guided(self.agent.policy, self.agent.target)
        self._explorer = self.agent.explorer()

    @classmethod
    def updates(cls, config: Config, env_steps: int | None, slots: int, execute: int) -> int | None:
        """Return the updates of a run of so many control steps."""
        return None if env_steps is None else Pace(config.warm_up, config.updates_per_step).updates(env_steps)

    def collect(self, step: int) -> Metrics:
        """Act until there are as many control steps as this update and those before it shall have."""
        self._grow(self.config.grown(step))
        due = Pace(self.config.warm_up, self.config.updates_per_step).due(step)
        returns = LargestReturn(self.config, self.interaction.world.slots) if step == 0 else None
        while self.interaction.steps < due or not len(self.executed):
            seen = self.interaction.step(self._decide)
            if returns is not None:
                returns.add(seen)
            complete = self.returns.push(executed_rows(self.agent, seen), seen["ended"])
            if complete is not None:
                self.executed.add(complete)
        if returns is not None:  # the warm-up is over
            assert self.program is not None
            self.program.state["reward_scale"].fill_(returns.reward_scale)
        return {}

    def figures(self) -> Metrics:
        """Return control steps and episodes so far, and success and return of the last ones."""
        return self.interaction.figures()

    def _grow(self, grown: float) -> None:
        """Let so much of what is learned act: edits, and the critic's choice among candidates."""
        if self.config.edits:
            self.agent.edited.share = grown * self.config.edit_share
        self._product.acting = Acting(1 + round(grown * (self.config.candidates - 1)), "argmax")

    @torch.no_grad()
    def _decide(self, windows: Windows) -> Tensor:
        """Chunks (B, H, A) of the product, or of who explores while nothing was learned."""
        policy = self._explorer if self.interaction.steps < self.config.warm_up else self._product
        batch = len(next(iter(windows.values())))
        device, generator = self.context.device, self.context.generator
        noise = torch.randn(batch, *policy.noise_shape, device=device, generator=generator)
        return policy.generate(windows.to(device), noise)

    def _draw(self) -> tuple[Tensor, dict[str, Tensor]]:
        config, device, generator = self.config, self.context.device, self.context.generator
        size, agent = config.batch_size, self.agent
        index = self.executed.draw(size, generator, config.demonstrations)
        width = agent.steered.noise_actor.noise_dim if config.steer else math.prod(agent.base.noise_shape)
        widths = {"next_noise": width, "noise": width, "prior": width}
        if config.edits:
            widths |= dict.fromkeys(("next_edit", "edit"), agent.edited.editor.action_dim)
        drawn = torch.randn(size, sum(widths.values()), generator=generator, device=device)
        return index, dict(zip(widths, drawn.split(list(widths.values()), dim=1), strict=True))

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
        acting = {f"acting.{name}": value for name, value in self.interaction.state().items()}
        pending = {f"pending.{name}": value for name, value in self.returns.state().items()}
        return super().state() | acting | pending

    def load_state(self, state: dict[str, Tensor]) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Restore what `state` returned."""
        super().load_state(
            {name: value for name, value in state.items() if not name.startswith(("acting.", "pending."))}
        )
        self.interaction.load_state(_below("acting.", state))
        self.returns.load_state(_below("pending.", state))


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


def _below(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
