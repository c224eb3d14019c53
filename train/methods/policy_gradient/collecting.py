"""How an iteration is acted: with exploration, chunk by chunk in all slots, and judged afterwards."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ....policies.observations import Windows
from ...interaction import Interaction
from . import chain
from .advantages import advantages, explained_variance
from .agent import Agent
from .rollout import Rollout
from .scale import RunningScale

_COMPARED = 512
"""Chunks of an iteration on which the policy is compared with its clone."""


class Collector:
    """Acts for one iteration after the other, and fills the rollout with rows that carry their advantages.

    Attributes:
        interaction: episodes in all slots.
        rollout: the rows of the newest iteration.
    """

    def __init__(self, agent: Agent, interaction: Interaction, generator: torch.Generator) -> None:
        """Have acted nothing yet."""
        self.interaction, self._agent, self._generator = interaction, agent, generator
        config, self._slots = agent.config, interaction.world.slots
        self._scale = RunningScale(self._slots)
        self._own: dict[str, Tensor] = {}  # what the rows of the last decision have of their own
        cond = agent.base.encode({key: value[:1].to(agent.base.device) for key, value in interaction.seen.items()})
        device, chunk = cond.device, agent.base.noise_shape
        example = {"cond": cond, "advantage": torch.zeros(1, device=device), "target": torch.zeros(1, device=device)}
        if config.objective == "matching":
            example["action"] = torch.zeros(1, *chunk, device=device)
        else:
            example["chain"] = torch.zeros(1, agent.tuned_steps + 1, *chunk, device=device)
            whole = config.objective == "noise_head"
            example["old"] = torch.zeros(1, *(() if whole else (agent.tuned_steps,)), device=device)
        self.rollout = Rollout(example, config.chunks * self._slots, config.epochs, config.minibatches)

    @torch.no_grad()
    def collect(self, high: float, active: int) -> dict[str, float]:
        """Act and judge one iteration.

        Args:
            high: upper bound of the noise head's deviations.
            active: tuned steps that explore.

        Returns:
            What is told of it: the divergence from the clone, and how well the values were.
        """
        seen: list[dict[str, Any]] = []
        for _ in range(self._agent.config.chunks):
            row = self.interaction.step(lambda windows: self._decide(windows, high, active))
            discount = self._agent.config.discount ** row["steps"]
            self._scale.add(row["reward"], discount, row["ended"])
            following = self._agent.base.encode(row["next_observation"].to(self._agent.base.device))
            over = row["terminated" if self._agent.config.bootstrap else "ended"]
            numbers = {"reward": row["reward"], "discount": discount * ~over, "ended": row["ended"]}
            seen.append(self._own | {"next_cond": following} | {k: v.to(following.device) for k, v in numbers.items()})
        rows = {name: torch.stack([one[name] for one in seen]) for name in seen[0]}  # (T, B, ...)
        return self._judge(rows, high)

    def _decide(self, windows: Windows, high: float, active: int) -> Tensor:
        """Chunks (B, H, A), raw units, of the policy that explores; keeps what they were made of."""
        agent, generator = self._agent, self._generator
        cond = agent.base.encode(windows.to(agent.base.device))
        if agent.config.objective == "matching":
            action = self._sampled(cond)
            self._own = {"cond": cond, "action": action}
            return agent.base.to_raw(action)
        noise = chain.draw_noise(agent, len(cond), generator)
        made = chain.sample(agent, agent.tuned, cond, noise, high, active)
        self._own = {"cond": cond, "chain": made.states, "old": made.scores}
        return agent.base.to_raw(made.states[:, -1])

    def _sampled(self, cond: Tensor) -> Tensor:
        """Samples (B, H, A) of the ordinary solver, normalized, and a little noise."""
        agent, generator = self._agent, self._generator
        shape = (len(cond), *agent.base.noise_shape)
        noise = torch.randn(shape, device=cond.device, generator=generator)
        action = agent.base.process.sample(agent.tuned, noise, cond, generator=generator)
        return action + agent.config.action_noise * torch.randn(shape, device=cond.device, generator=generator)

    def _judge(self, rows: dict[str, Tensor], high: float) -> dict[str, float]:
        """Fill the rollout with rows (T, B, ...)."""
        agent, shape = self._agent, rows["reward"].shape
        value, following = (agent.values(rows[name].flatten(0, 1)).view(shape) for name in ("cond", "next_cond"))
        deviation = self._scale.deviation if agent.config.scale_rewards else 1.0
        reward = (rows["reward"] / deviation).to(value.dtype)
        discount = rows["discount"].to(value.dtype)
        found = advantages(reward, discount, rows["ended"], value, following, agent.config.trace)
        flat = {name: rows[name].flatten(0, 1) for name in rows if name in ("cond", "chain", "old", "action")}
        self.rollout.fill(flat | {"advantage": found.flatten(), "target": (found + value).flatten()}, self._generator)
        return {
            "kl_to_clone": self._apart(high),
            "explained_variance": explained_variance(value, found + value).item(),
            "reward_deviation": deviation,
        }

    def _apart(self, high: float) -> float:
        """Divergence of the policy from its clone: of steps, or |v - v_clone|^2 where there are none."""
        agent, cond = self._agent, self.rollout["cond"]
        every = max(1, len(cond) // _COMPARED)
        cond = cond[::every]
        if agent.config.objective == "matching":
            action, process = self.rollout["action"][::every], agent.base.process
            draws = process.draw(action, torch.Generator(cond.device).manual_seed(0))
            mine, other = (process.regression(one, action, cond, draws)[0] for one in (agent.tuned, agent.clone))
            return (mine - other)[:, : agent.executed].square().mean().item()
        states = self.rollout["chain"][::every]
        (_, mine, std), (_, other, _) = (
            chain.every_step(agent, one, states, cond) for one in (agent.tuned, agent.clone)
        )
        if agent.config.objective == "noise_head":
            std = chain.deviations(agent, cond, high)
        return chain.kl(agent, mine, other, std).mean().item()

    def state(self) -> dict[str, Tensor]:
        """Return what `load_state` needs, beside the world's own state."""
        parts = {"interaction": self.interaction, "scale": self._scale, "rollout": self.rollout}
        return {f"{part}.{name}": value for part, one in parts.items() for name, value in one.state().items()}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what `state` returned."""
        for part, one in (("interaction", self.interaction), ("scale", self._scale), ("rollout", self.rollout)):
            below = {name.removeprefix(f"{part}."): v for name, v in state.items() if name.startswith(f"{part}.")}
            one.load_state(below)
