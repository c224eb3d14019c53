"""On-policy improvement of a generative policy, in any world: its denoising steps are the actions of a policy gradient.

    laminar train method=dppo init=runs/clone task=playroom/close_drawer env.steps=100000 env.slots=16 out=runs/improved

An iteration acts `chunks` chunks in all slots, and then goes through what it has seen `epochs` times. What is made more
likely, and by which loss, `method.objective` says (DPPO, Ren et al. 2024; ReinFlow, Zhang et al. 2025; FPO++ and AWM;
PMPO); the world is whatever the run has.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from ....data.episodes import Episodes
from ....errors import LaminarError
from ....policies.module import PolicyModule
from ....policies.processes import Metrics
from ...improver import Context, Improver
from ...interaction import Interaction
from ...update.learner import Learner, Loss, average
from ...update.program import State
from ...update.rates import cosine
from . import chain
from .agent import Agent
from .collecting import Collector
from .config import Config, check_settings
from .losses import LOSSES, Batch, value_loss

__all__ = ["Agent", "Config", "PolicyGradient"]

_FIGURES = ("kl_to_clone", "explained_variance", "reward_deviation")


class PolicyGradient(Improver):
    """Improver that learns from what it has just done. `product()` is the policy without what it explored with."""

    acts = True
    freezes = True

    def __init__(self, policy: PolicyModule, recorded: Episodes | None, config: Config, context: Context) -> None:
        check_settings(config)
        check_start(policy, recorded, config, context)
        assert context.world is not None  # the method acts
        self.config, self.world = config, context.world
        self.agent = Agent(policy.to(context.device).eval(), config).to(context.device)
        spec = self.agent.base.spec
        acting = Interaction(context.world, spec.history, spec.execute, context.seed, config.patience or None)
        self.collector = Collector(self.agent, acting, context.generator)
        self.rollout = self.collector.rollout
        learner = Learner(self.agent, self.agent.part_of, context.group, context.runtime.autocast)
        counters = ["tuned_step", "value_step", "cursor", "open", *_FIGURES]
        saved = "averaged" if config.average else "tuned"
        self._learn(context, learner, self.rollout, [*self.agent.learned, "value"], counters, [saved])
        self._product = self.agent.policy()

    @classmethod
    def updates(cls, config: Config, env_steps: int | None, slots: int, execute: int) -> int | None:
        """Return the updates of so many control steps, in whole iterations; of `iterations` where none are given."""
        iterations = config.iterations
        if env_steps is not None:
            each = config.chunks * slots * execute
            iterations = env_steps // each
            if not iterations:
                raise LaminarError(
                    f"env.steps={env_steps} are less than one iteration, which takes {each}: method.chunks="
                    f"{config.chunks} of {execute} steps in {slots} slot{'s' * (slots > 1)}; give more env.steps, or "
                    "fewer method.chunks"
                )
        return None if iterations is None else iterations * config.epochs * config.minibatches

    @property
    def _each(self) -> int:
        """Updates of an iteration."""
        return self.config.epochs * self.config.minibatches

    def collect(self, step: int) -> Metrics:
        """Act for the next iteration, if it begins at this update."""
        if step % self._each:
            return {}
        assert self.program is not None
        state, rates = self.program.state, self._shared(step)
        if self.config.objective == "matching":
            state["old"].copy_(state["tuned"])
        found = self.collector.collect(rates["high"], round(rates["active"]))
        for name, value in found.items():
            state[name].fill_(value)
        state["cursor"].zero_()
        state["open"].fill_(1.0)
        return {}

    def figures(self) -> Metrics:
        """Return control steps, episodes, success and return, and how far the policy and its values are."""
        assert self.program is not None
        return self.collector.interaction.figures() | {name: self.program.state[name].cpu() for name in _FIGURES}

    def _draw(self) -> tuple[Tensor, dict[str, Any]]:
        assert self.program is not None
        config, generator = self.config, self.context.generator
        draws: dict[str, Any] = {}
        if config.leash and config.leash_direction == "base":
            rows = max(1, self.rollout.batch_size // (self.agent.tuned_steps if self.rollout.each > 1 else 1))
            draws["leash"] = chain.draw_noise(self.agent, rows, generator)
        if config.objective == "matching":
            base = self.agent.base
            rows = self.rollout.batch_size * config.draws
            like = torch.empty(1, device=base.device).expand(rows, *base.noise_shape)  # its shape and device count
            draws["regression"] = base.process.draw(like, generator)
        return self.rollout.turn(self.program.state["cursor"]), draws

    def _shared(self, step: int) -> dict[str, float]:
        """Return the numbers of the iteration that update `step` belongs to, for acting and learning."""
        config, head = self.config, self.config.noise_head
        share = step // self._each * self._each / self.context.steps  # of the run
        held = config.noise_hold
        gone = min(1.0, max(0.0, share - held) / (1 - held)) if held < 1 else 0.0
        high = head.low + (head.high - head.low) * (1 - (1 - config.noise_final) * gone)
        count = self.agent.tuned_steps
        active = min(count, 1 + math.floor(share / config.progressive * count)) if config.progressive else count
        faded = 0.0 if config.leash_until is None else min(1.0, share / config.leash_until)
        return {"leash": config.leash * (1 - faded), "active": float(active), "high": high}

    def _rates(self, step: int) -> tuple[tuple[float, ...], bool]:
        """Return both learning rates and what `_shared` has; and whether the policy learns yet."""
        down = cosine(step / self.context.steps, self.config.final_lr)
        learns = step >= self.config.value_warm_up * self._each
        return (down * self.config.lr, down * self.config.value_lr, *self._shared(step).values()), learns

    def _update(self, state: State, batch: Batch, draws: dict[str, Any], rates: Any, variant: bool) -> Metrics:
        """One update: the value function, and of a `variant` that learns also the policy, unless it is too far away."""
        lr, value_lr, leash, active, high = rates
        found = self._descend(state, ["value"], value_loss, (batch,), value_lr)
        if variant:
            shared = {"leash": leash, "active": active, "high": high}
            found |= self._gated(state, LOSSES[self.config.objective], (batch, draws, shared), lr)
        if self.config.average:
            average(state, "averaged", "tuned", 1 - self.config.average)
        state["cursor"] = state["cursor"] + 1
        return found

    def _gated(self, state: State, loss: Loss, inputs: tuple[Any, ...], lr: Any) -> Metrics:
        """Descend, unless this update or one before it in the iteration began too far from the policy that acted.

        As ending the epochs would, but without asking the device: what was changed is put back.
        """
        parts = self.agent.learned
        names = ["tuned_step", *(f"{part}{moment}" for part in parts for moment in ("", "_first", "_second"))]
        before = {name: state[name].clone() for name in names}
        found = self._descend(state, parts, loss, inputs, lr, self.config.max_grad_norm)
        if self.config.target_kl is None:
            return found
        state["open"] = state["open"] * (found["approx_kl"] <= self.config.target_kl)
        for name in names:
            state[name] = torch.where(state["open"] > 0, state[name], before[name])
        return found | {"open": state["open"]}

    def _descend(
        self, state: State, parts: list[str], loss: Loss, inputs: Any, lr: Any, most: float | None = None
    ) -> Metrics:
        found = self.learner.descend(state, parts, loss, inputs, lr, f"{parts[0]}_step", most)
        return {f"{parts[0]}_{name}" if name == "grad_norm" else name: value for name, value in found.items()}

    def product(self) -> PolicyModule:
        """Return the policy with what it has learned; it is a function of its noise where its base is one."""
        return self._product

    def state(self) -> dict[str, Tensor]:
        """Return all tensors that an exact resume needs, beside the product and the world."""
        return super().state() | {f"acting.{name}": value for name, value in self.collector.state().items()}

    def load_state(self, state: dict[str, Tensor]) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Restore what `state` returned."""
        acting = {name.removeprefix("acting."): value for name, value in state.items() if name.startswith("acting.")}
        super().load_state({name: value for name, value in state.items() if not name.startswith("acting.")})
        self.collector.load_state(acting)


def check_start(policy: PolicyModule, recorded: Episodes | None, config: Config, context: Context) -> None:
    """Refuse a start that is nothing to improve, or that acts otherwise than what is learned of it.

    Raises:
        LaminarError: says why, and what to do.
    """
    if context.init is None:
        raise LaminarError(
            f"method={config.recipe} improves a saved policy: give init=POLICY, clone one with method=bc"
        )
    if recorded is not None:
        raise LaminarError(
            f"method={config.recipe} learns from what it does, and not from recordings: leave data.path out, or give "
            "world=WORLD beside it, whose dreams begin in them"
        )
    if policy.spec.ensemble is not None:
        raise LaminarError(
            f"init={context.init} averages over overlapping chunks (policy.ensemble={policy.spec.ensemble:g}), and "
            f"method={config.recipe} judges actions as they are executed; start from a policy that was cloned without "
            "policy.ensemble"
        )
