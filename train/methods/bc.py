"""Behavior cloning: minimize the policy's own generative loss on demonstrated chunks."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ...data.batches import Chunks
from ...data.episodes import Episodes
from ...policies.generative import GenerativePolicy
from ...policies.module import PolicyModule
from ...policies.processes import Draws, Metrics
from ...settings import check, number, share
from ..improver import Context, Improver, need
from ..start import clone_of
from ..update.learner import Learner, average
from ..update.program import State
from ..update.rates import ema_decay, warmup_cosine


@dataclass
class Config:
    """Settings of behavior cloning."""

    name: str = "bc"
    batch_size: int = number(256, least=1)  # chunks in an update, per process
    lr: float = number(1e-3, above=0)  # peak learning rate of AdamW
    warmup: int = number(500, least=0)  # updates of linear warm-up before the cosine decay
    final_lr: float = share(0.0)  # share of the peak that the cosine ends at
    beta2: float = number(0.999, least=0, below=1)  # of AdamW
    weight_decay: float = number(1e-6, least=0)  # of AdamW
    # longer gradients are shortened to it; usual ones are 0.2 to 0.8
    max_grad_norm: float = number(1.0, above=0, infinite=True)
    ema_decay: float = share(0.999)  # largest decay of the averaged weights
    ema_power: float = number(0.75, above=0)  # warm-up: decay(step) = 1 - (1 + step)^-power
    # First actions of a chunk that the policy learns to go on from, at most, for merge=realtime of `laminar deploy`: as
    # many as control periods that a chunk comes late.
    prefix: int = number(0, least=0)


class Clone(nn.Module):
    """The policy that learns, and its slow copy."""

    def __init__(self, policy: GenerativePolicy) -> None:
        super().__init__()
        self.online, self.averaged = policy.train(), deepcopy(policy).eval()


def cloning_loss(clone: Clone, batch: Mapping[str, Any], draws: Draws) -> tuple[Tensor, Metrics]:
    """Return the process's own loss on a batch of chunks."""
    return clone.online.loss(batch, draws=draws)


class BehaviorCloning(Improver):
    """Improver that clones demonstrations. `product()` has the averaged weights."""

    balances = True
    renamed = {"parameters": "online", "exp_avg": "online_first", "exp_avg_sq": "online_second"}  # noqa: RUF012

    def __init__(self, policy: PolicyModule, recorded: Episodes | None, config: Config, context: Context) -> None:
        check(config, "method")
        self.config = config
        self.clone = Clone(clone_of(policy, config.prefix)).to(context.device)
        if isinstance(context.like, BehaviorCloning):
            self.chunks = context.like.chunks
        else:
            spec = policy.spec
            episodes = need(recorded, "bc")
            self.chunks = Chunks(
                episodes, spec.history, spec.chunk, context.device, context.short_episodes, context.balance
            )
        learner = Learner(self.clone, _part, context.group, context.runtime.autocast)
        self._learn(context, learner, self.chunks, ["online"], ["optimizer_step"], deployed=["averaged"])

    def _draw(self) -> tuple[Tensor, Draws]:
        """Draw for the whole batch, of which this process takes its share."""
        group, generator, device = self.context.group, self.context.generator, self.context.device
        size = self.config.batch_size * group.size
        index = self.chunks.draw(size, generator)
        whole = torch.empty(1, device=device).expand(
            size, *self.clone.online.noise_shape
        )  # only shape and device matter
        draws = self.clone.online.draw({"action": whole}, generator)
        return group.share(index), tuple(group.share(draw) for draw in draws)

    def _rates(self, step: int) -> tuple[tuple[float, float], bool]:
        """Return the learning rate and the share of the average that is renewed."""
        c = self.config
        lr = c.lr * warmup_cosine(step, self.context.steps, c.warmup, c.final_lr)
        return (lr, 1 - ema_decay(step, c.ema_decay, c.ema_power)), True

    def _update(self, state: State, batch: Mapping[str, Any], draws: Draws, rates: Any, variant: bool) -> Metrics:
        """One update: gradient, clip, AdamW, average."""
        (lr, renewed), c = rates, self.config
        adam = (c.max_grad_norm, c.beta2, c.weight_decay)
        metrics = self.learner.descend(state, ["online"], cloning_loss, (batch, draws), lr, "optimizer_step", *adam)
        average(state, "averaged", "online", renewed)
        return metrics

    def product(self) -> GenerativePolicy:
        """Return the policy with averaged weights."""
        return self.clone.averaged


def _part(name: str) -> str:
    return name.split(".")[0]
