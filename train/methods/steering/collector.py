"""How steering acts: by the base through the warm-up, then by what was learned; executed chunks become rows."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ....envs.world import World
from ....policies.guided import Guided
from ....policies.observations import Windows
from ...improver import Context
from ...interaction import Interaction
from ...pace import Pace
from ...returns import NStep
from .agent import Agent
from .experience import empty_replay, executed_rows
from .scale import LargestReturn

OF_ACTING = ("acting.", "pending.")
"""In front of the names in a state that are of acting."""


class Collector:
    """Acts in a world, and keeps what was executed.

    Attributes:
        interaction: the running episodes.
        replay: executed chunks.
        returns: those whose rewards are not all known yet.
        explorer: who acts while nothing was learned.
    """

    def __init__(self, agent: Agent, product: Guided, world: World, context: Context) -> None:
        """Begin an episode in every slot of the world.

        Args:
            agent: what learns.
            product: what of it acts.
            world: where.
            context: of the run.
        """
        config, spec = agent.config, agent.base.spec
        self.agent, self._product, self._generator = agent, product, context.generator
        self.interaction = Interaction(world, spec.history, spec.execute, context.seed, config.patience or None)
        self.replay = empty_replay(agent, self.interaction.seen, config.replay)
        row = self.replay.gather(torch.zeros(1, dtype=torch.long, device=context.device))
        self.returns = NStep(config.n_step, world.slots, row)
        self.explorer = agent.explorer()

    def collect(self, step: int) -> float | None:
        """Act until there are as many control steps as update `step` and those before it shall have.

        Returns:
            The factor of rewards that the warm-up tells, before the first update; None afterwards.
        """
        config = self.agent.config
        due = Pace(config.warm_up, config.updates_per_step).due(step)
        returns = LargestReturn(config, self.interaction.world.slots) if step == 0 else None
        while self.interaction.steps < due or not len(self.replay):
            seen = self.interaction.step(self.decide)
            if returns is not None:
                returns.add(seen)
            complete = self.returns.push(executed_rows(self.agent, seen), seen["ended"])
            if complete is not None:
                self.replay.add(complete)
        return None if returns is None else returns.reward_scale

    @torch.no_grad()
    def decide(self, windows: Windows) -> Tensor:
        """Chunks (B, H, A) of the product, or of who explores while nothing was learned."""
        policy = self.explorer if self.interaction.steps < self.agent.config.warm_up else self._product
        batch, device = len(next(iter(windows.values()))), self.agent.base.device
        noise = torch.randn(batch, *policy.noise_shape, device=device, generator=self._generator)
        return policy.generate(windows.to(device), noise)

    def state(self) -> dict[str, Tensor]:
        """Return what `load_state` needs beside replay and world."""
        parts = (self.interaction.state(), self.returns.state())
        return {f"{of}{name}": value for of, part in zip(OF_ACTING, parts, strict=True) for name, value in part.items()}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what `state` returned; what else is in it is passed over."""
        for of, part in zip(OF_ACTING, (self.interaction, self.returns), strict=True):
            part.load_state({name.removeprefix(of): value for name, value in state.items() if name.startswith(of)})
