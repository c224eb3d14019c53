"""Steering: a frozen policy is improved through the noise that it is fed, online.

    laminar train method=dsrl init=runs/clone task=playroom/open_drawer env.steps=20000 out=runs/steered

Diffusion steering by noise aliasing (DSRL-NA, Wagenmaker et al. 2025): a critic of executed chunks is distilled into
one of noises, which the noise actor climbs. The base is called, and never differentiated nor changed.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from ....data.episodes import Episodes
from ....data.replay import Replay
from ....policies.guided import Guided
from ....policies.module import PolicyModule
from ....policies.observations import Windows
from ....policies.processes import Metrics
from ....settings import check
from ...improver import Context, Improver
from ...interaction import Interaction
from ...update.learner import Learner, Loss, average
from ...update.program import State
from .agent import Agent, part_of
from .config import Config
from .losses import Batch, actor_loss, critic_loss, noise_critic_loss

__all__ = ["Agent", "Config", "Steering"]


class Steering(Improver):
    """Improver that learns which noise to feed to a frozen policy. `product()` is a steered policy with its critic."""

    acts = True

    def __init__(self, policy: PolicyModule, recorded: Episodes | None, config: Config, context: Context) -> None:
        check(config, "method")
        assert context.world is not None  # the method acts
        self.config, self.world, base = config, context.world, policy.to(context.device).eval()
        self.agent = Agent(base, config).to(context.device)
        spec = base.spec
        self.interaction = Interaction(context.world, spec.history, spec.execute, context.seed)
        first = {key: value[:1].to(context.device) for key, value in self.interaction.seen.items()}
        cond = base.encode(first)
        example = {
            "cond": cond,
            "next_cond": cond,
            "action": torch.zeros(1, spec.execute * spec.action_dim),
            "reward": torch.zeros(1),
            "discount": torch.zeros(1),
        }
        self.replay = self.executed = Replay(example, config.replay, context.device)
        learner = Learner(self.agent, part_of, context.group, context.runtime.autocast)
        learned = ["critic", "noise_critic", "actor", "log_temperature"]
        counters = [f"{part}_step" for part in learned]
        self._learn(context, learner, self.replay, learned, counters, deployed=["actor", "target"])
        self._product = Guided(self.agent.steered, self.agent.target)

    @classmethod
    def updates(cls, config: Config, env_steps: int) -> int:
        """Return the updates of a run of so many control steps."""
        return max(1, round((env_steps - config.warm_up) * config.updates_per_step))

    def collect(self, step: int) -> Metrics:
        """Act until there are as many control steps as so many updates shall have."""
        due = self.config.warm_up + step / self.config.updates_per_step
        if self.interaction.steps > due:
            return {}
        while self.interaction.steps <= due:
            self.executed.add(self._rows(self.interaction.step(self._decide)))
        return self.interaction.figures()

    @torch.no_grad()
    def _decide(self, windows: Windows) -> Tensor:
        """Chunks (B, H, A) of the steered policy, or of the base alone while nothing was learned."""
        policy = self.agent.steered.composed_of if self.interaction.steps < self.config.warm_up else self.agent.steered
        batch = len(next(iter(windows.values())))
        device, generator = self.context.device, self.context.generator
        noise = torch.randn(batch, *policy.noise_shape, device=device, generator=generator)
        return policy.generate(windows.to(device), noise)

    @torch.no_grad()
    def _rows(self, seen: dict[str, Any]) -> dict[str, Tensor]:
        """Executed chunks as the replay keeps them: encoded once, since the encoder is frozen."""
        config, base, device = self.config, self.agent.steered.composed_of, self.context.device
        seen = tree_map(lambda value: value.to(device), seen)
        return {
            "cond": base.encode(seen["observation"]),
            "next_cond": base.encode(seen["next_observation"]),
            "action": self.agent.normalized(seen["action"]),
            "reward": config.reward_scale * (seen["reward"] + config.reward_shift * seen["steps"]),
            "discount": config.discount * (~seen["terminated"]).float(),
        }

    def _draw(self) -> tuple[Tensor, dict[str, Tensor]]:
        generator, size = self.context.generator, self.config.batch_size
        index = self.executed.draw(size, generator)
        shape = (3, size, self.agent.steered.noise_actor.noise_dim)
        noise = torch.randn(shape, generator=generator, device=self.context.device)
        return index, dict(zip(("next_noise", "noise", "prior"), noise, strict=True))

    def _rates(self, step: int) -> tuple[tuple[float, ...], bool]:
        """Return the weight of the prior term; and whether the actor learns."""
        c = self.config
        return (c.prior * max(0.0, 1 - step / c.prior_until),), step >= c.actor_start

    def _update(self, state: State, batch: Batch, draws: dict[str, Tensor], rates: Any, variant: bool) -> Metrics:
        """One update: both critics, and of a `variant` that steers also actor and temperature."""
        (prior,) = rates
        found = self._descend(state, ["critic"], critic_loss, (batch, draws))
        found |= self._descend(state, ["noise_critic"], noise_critic_loss, (batch, draws))
        if variant:
            found |= self._descend(state, ["actor", "log_temperature"], actor_loss, (batch, draws, prior))
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
        return super().state() | {f"acting.{name}": value for name, value in self.interaction.state().items()}

    def load_state(self, state: dict[str, Tensor]) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Restore what `state` returned."""
        acting = {name.removeprefix("acting."): value for name, value in state.items() if name.startswith("acting.")}
        super().load_state({name: value for name, value in state.items() if not name.startswith("acting.")})
        self.interaction.load_state(acting)
