"""Steering by Stable-Baselines3: its SAC, as it is, learns which noise to feed to a frozen policy, online.

    laminar train method=dsrl_sac init=runs/clone task=playroom/open_drawer env.steps=50000 out=runs/steered

Diffusion steering's plainer form (DSRL-SAC, Wagenmaker et al. 2025): the action of the critic is the noise itself. What
it learns in is `NoiseEnv`, chunk by chunk; the loop, the replay, checkpoints and logs are those of every other method.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from packaging.version import Version
from torch import Tensor

from ....data.episodes import Episodes
from ....data.replay import Replay
from ....errors import LaminarError
from ....policies.module import PolicyModule
from ....policies.observations import Windows
from ....policies.processes import Metrics
from ....policies.steered import Steered, new_actor, shaped_noise
from ....settings import check
from ...improver import Context, Improver
from ...interaction import Interaction
from ...pace import Pace
from ...steered_by import Shown
from .config import Config

__all__ = ["Config", "SteeringBySAC"]

OLDEST = "2.7"
"""Release of Stable-Baselines3 that is needed, as in setup.cfg."""


class SteeringBySAC(Improver):
    """Improver that learns which noise to feed to a frozen policy by SAC. `product()` is a steered policy."""

    acts = True
    freezes = True

    def __init__(self, policy: PolicyModule, recorded: Episodes | None, config: Config, context: Context) -> None:
        check(config, "method")
        _check_release()
        _check_run(recorded, context)
        from .stock import Stock

        assert context.world is not None  # the method acts
        self.config, self.context, self.world = config, context, context.world
        self.base = policy.to(context.device).eval().requires_grad_(False)
        actor = new_actor(self.base, config.actor, config.noise_bound, config.repeated).to(context.device)
        self._product = Steered(self.base, actor, config.repeated).eval()
        self.interaction = Interaction(context.world, policy.spec.history, policy.spec.execute, context.seed)
        self._shown = Shown(policy, encoded=True)
        self._noise = torch.zeros(context.world.slots, actor.noise_dim)  # chosen last, divided by its bound
        observation = torch.zeros(1, *(self._shown.space.shape or ()))
        example = {"observation": observation, "next_observation": observation, "action": self._noise[:1]}
        example |= {"reward": torch.zeros(1, 1), "done": torch.zeros(1, 1)}
        self.replay = self.executed = Replay(example, config.replay, context.device)
        box = spaces.Box(-1.0, 1.0, (actor.noise_dim,), np.float32)
        seen = (self._shown.space, box)
        discount = config.discount**policy.spec.execute
        self.stock = Stock(config, actor, seen, self.executed, context.generator, discount)

    @classmethod
    def updates(cls, config: Config, env_steps: int | None, slots: int, execute: int) -> int | None:
        """Return the updates of a run of so many control steps."""
        return None if env_steps is None else Pace(config.warm_up, config.updates_per_step).updates(env_steps)

    def collect(self, step: int) -> Metrics:
        """Act until there are as many control steps as this update and those before it shall have."""
        due = Pace(self.config.warm_up, self.config.updates_per_step).due(step)
        while self.interaction.steps < due:
            self.executed.add(self._rows(self.interaction.step(self._decide)))
        return {}

    def figures(self) -> Metrics:
        """Return control steps and episodes so far, and success and return of the last ones."""
        return self.interaction.figures()

    @torch.no_grad()
    def _decide(self, windows: Windows) -> Tensor:
        """Chunks (B, H, A) of noises by the actor, or of N(0, I) within its bound while nothing was learned."""
        actor, bound, device = self._product.noise_actor, self.config.noise_bound, self.context.device
        cond = self.base.encode(windows.to(device))
        w = torch.randn(len(cond), actor.noise_dim, device=device, generator=self.context.generator)
        warming = self.interaction.steps < self.config.warm_up
        w = w.clamp(-bound, bound) if warming else actor.sample(cond.flatten(1), w)
        self._noise = w / bound
        return self.base.decode(cond, shaped_noise(w, self.base.noise_shape, self.config.repeated))

    @torch.no_grad()
    def _rows(self, seen: dict[str, Any]) -> dict[str, Tensor]:
        """Executed chunks as SAC sees them; a time limit is not done."""
        config, device = self.config, self.context.device
        shown = [self.base.encode(seen[name].to(device)).flatten(1) for name in ("observation", "next_observation")]
        reward = config.reward_scale * (seen["reward"] + config.reward_shift * seen["steps"])
        return {
            "observation": shown[0],
            "next_observation": shown[1],
            "action": self._noise,
            "reward": reward.float().unsqueeze(1),
            "done": seen["terminated"].float().unsqueeze(1),
        }

    def update(self, step: int) -> Metrics:
        """Take update number `step`."""
        return self.stock.update()

    def product(self) -> Steered:
        """Return the steered policy; its actor's weights are SAC's own."""
        return self._product

    def state(self) -> dict[str, Tensor]:
        """Return all tensors that an exact resume needs, beside the product, the replay and the world."""
        acting = {f"acting.{name}": value for name, value in self.interaction.state().items()}
        return self.stock.state() | acting | {"generator": self.context.generator.get_state()}

    def load_state(self, state: dict[str, Tensor]) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Restore what `state` returned."""
        acting = {name.removeprefix("acting."): value for name, value in state.items() if name.startswith("acting.")}
        self.stock.load_state(state)
        self.interaction.load_state(acting)
        self.context.generator.set_state(state["generator"])


def _check_release() -> None:
    """Refuse a Stable-Baselines3 that is missing or too old.

    Raises:
        LaminarError: names both releases and the remedy.
    """
    try:
        found = version("stable-baselines3")
    except PackageNotFoundError:
        found = "none"
    if found == "none" or Version(found) < Version(OLDEST):
        raise LaminarError(
            f"method=dsrl_sac needs stable-baselines3 {OLDEST} or later, and {found} is installed: "
            f"pip install 'stable-baselines3>={OLDEST}'"
        )


def _check_run(recorded: Episodes | None, context: Context) -> None:
    if recorded is not None:
        raise LaminarError(
            "method=dsrl_sac learns from noises, which recordings do not have: leave data.path out, or take method=dsrl"
        )
    runtime = context.runtime
    if runtime.compiled or runtime.captured or runtime.autocast:
        raise LaminarError(
            f"method=dsrl_sac updates as Stable-Baselines3 does, and runtime={runtime.name} would change nothing: "
            "leave runtime= out, or take method=dsrl"
        )
