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
from torch.utils._pytree import tree_map

from ....data.episodes import Episodes
from ....data.replay import Replay
from ....data.transitions import Transitions
from ....policies.guided import Acting, Guided
from ....policies.module import PolicyModule
from ....policies.observations import Windows
from ....policies.processes import Metrics
from ...improver import Context, Improver
from ...interaction import Interaction
from ...returns import NStep
from ...update.learner import Learner, Loss, average
from ...update.program import State
from ..q_learning.offline_checks import check_offline
from .agent import Agent, part_of
from .config import Config, check_settings
from .losses import Batch, actor_loss, critic_loss, editor_loss, noise_critic_loss, proposals

__all__ = ["Agent", "Config", "Steering"]


class Steering(Improver):
    """Improver that learns which noise to feed to a frozen policy. `product()` is a steered policy with its critic."""

    acts = True

    def __init__(self, policy: PolicyModule, recorded: Episodes | None, config: Config, context: Context) -> None:
        check_settings(config)
        assert context.world is not None  # the method acts
        self.config, self.world, base = config, context.world, policy.to(context.device).eval()
        self.agent = Agent(base, config).to(context.device)
        spec = base.spec
        patience = config.patience or None
        self.interaction = Interaction(context.world, spec.history, spec.execute, context.seed, patience)
        self.returns = NStep(config.n_step, context.world.slots)
        self.replay = self.executed = self._new_replay(context.device)
        if recorded is not None:
            self._fill(recorded, context)
        learner = Learner(self.agent, part_of, context.group, context.runtime.autocast)
        learned = [part for part in learner.layouts if part != "target"]
        counters = [f"{part}_step" for part in learned if part != "log_temperature"]
        deployed = [part for part in ("actor", "editor", "target") if part in learner.layouts]
        self._learn(context, learner, self.replay, learned, counters, deployed)
        self._product = Guided(self.agent.policy, self.agent.target)

    @classmethod
    def updates(cls, config: Config, env_steps: int) -> int:
        """Return the updates of a run of so many control steps."""
        return max(1, round((env_steps - config.warm_up) * config.updates_per_step))

    def collect(self, step: int) -> Metrics:
        """Act until there are as many control steps as so many updates shall have."""
        self._grow(self.config.grown(step))
        due = self.config.warm_up + step / self.config.updates_per_step
        if self.interaction.steps > due:
            return {}
        while self.interaction.steps <= due:
            seen = self.interaction.step(self._decide)
            complete = self.returns.push(self._rows(seen), seen["ended"])
            if complete is not None:
                self.executed.add(complete)
        return self.interaction.figures()

    def _grow(self, grown: float) -> None:
        """Let so much of what is learned act: edits, and the critic's choice among candidates."""
        if self.config.edits:
            self.agent.edited.share = grown * self.config.edit_share
        self._product.acting = Acting(1 + round(grown * (self.config.candidates - 1)), "argmax")

    @torch.no_grad()
    def _decide(self, windows: Windows) -> Tensor:
        """Chunks (B, H, A) of the product, or of the base alone while nothing was learned."""
        policy = self.agent.base if self.interaction.steps < self.config.warm_up else self._product
        batch = len(next(iter(windows.values())))
        device, generator = self.context.device, self.context.generator
        noise = torch.randn(batch, *policy.noise_shape, device=device, generator=generator)
        return policy.generate(windows.to(device), noise)

    def _new_replay(self, device: torch.device) -> Replay:
        spec = self.agent.base.spec
        first = {key: value[:1].to(device) for key, value in self.interaction.seen.items()}
        cond = self.agent.base.encode(first)
        action = torch.zeros(1, spec.execute * spec.action_dim)
        numbers = {"reward": torch.zeros(1), "discount": torch.zeros(1)}
        return Replay({"cond": cond, "next_cond": cond, "action": action} | numbers, self.config.replay, device)

    @torch.no_grad()
    def _fill(self, recorded: Episodes, context: Context) -> None:
        """Begin the replay with recorded chunks, which stay in it."""
        spec, config = self.agent.base.spec, self.config
        check_offline(recorded, self.agent.base, recorded.reward, context.short_episodes)
        reward = config.reward_scale * (recorded.reward + config.reward_shift)
        rows = Transitions(
            recorded,
            history=spec.history,
            chunk=spec.execute,
            n_step=config.n_step * spec.execute,
            discount=config.discount ** (1 / spec.execute),
            reward=reward,
            device=context.device,
        )
        for index in torch.arange(len(rows), device=context.device).split(4096):
            batch = rows.gather(index)
            cond, following = (self.agent.base.encode(batch[key]) for key in ("observation", "next_observation"))
            action = self.agent.normalized(batch["action"])
            numbers = {key: batch[key] for key in ("reward", "discount")}
            self.executed.add({"cond": cond, "next_cond": following, "action": action} | numbers)
        self.executed.keep()

    @torch.no_grad()
    def _rows(self, seen: dict[str, Any]) -> dict[str, Tensor]:
        """Executed chunks as the replay keeps them: encoded once, since the encoder is frozen."""
        config, base, device = self.config, self.agent.base, self.context.device
        seen = tree_map(lambda value: value.to(device), seen)
        return {
            "cond": base.encode(seen["observation"]),
            "next_cond": base.encode(seen["next_observation"]),
            "action": self.agent.normalized(seen["action"]),
            "reward": config.reward_scale * (seen["reward"] + config.reward_shift * seen["steps"]),
            "discount": config.discount * (~seen["terminated"]).float(),
        }

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
        found = self._descend(state, ["critic"], critic_loss, (batch, draws))
        w, action = proposals(self.agent, batch, draws)
        if self.config.steer:
            found |= self._descend(state, ["noise_critic"], noise_critic_loss, (batch, w, action))
        if variant and self.config.steer:
            found |= self._descend(state, ["actor", "log_temperature"], actor_loss, (batch, draws, prior))
        if variant and self.config.edits:
            found |= self._descend(state, ["editor"], editor_loss, (batch, action, draws))
        average(state, "target", "critic", self.config.target_rate)
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


def _below(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
