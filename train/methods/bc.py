"""Behavior cloning: minimize the policy's own generative loss on demonstrated chunks."""

from __future__ import annotations

import math
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor

from ...data.batches import Batch, Chunks
from ...data.episodes import Episodes
from ...data.prefetch import Prefetch
from ...errors import LaminarError
from ...policies import GenerativePolicy
from ..improver import Context, Improver
from ..update.flat import FlatParameters


@dataclass
class Config:
    """Settings of behavior cloning."""

    name: str = "bc"
    batch_size: int = 256  # per process
    lr: float = 1e-3  # peak learning rate of AdamW
    warmup: int = 500  # updates of linear warm-up before the cosine decay
    final_lr: float = 0.0  # share of the peak that the cosine ends at
    beta2: float = 0.999
    weight_decay: float = 1e-6
    max_grad_norm: float = 10.0
    ema_decay: float = 0.999  # largest decay of the averaged weights
    ema_power: float = 0.75  # warm-up: decay(step) = 1 - (1 + step)^-power


class BehaviorCloning(Improver):
    """Improver that clones demonstrations. `update` once a step; `policy()` has the averaged weights."""

    def __init__(self, policy: GenerativePolicy, episodes: Episodes, config: Config, context: Context) -> None:
        _check(config)
        if context.captured:
            raise LaminarError("method=bc cannot be captured in a CUDA graph; use runtime=cuda, or compile")
        self.config, self.context = config, context
        self.online = policy.to(context.device).train()
        self.flat = FlatParameters(self.online)
        self.averaged = deepcopy(self.online).eval()
        self.average = FlatParameters(self.averaged)
        self.averaged.requires_grad_(False)
        history, chunk = policy.spec.history, policy.spec.chunk
        self.chunks = Chunks(episodes, history, chunk, context.device, context.short_episodes)
        self.optimizer = torch.optim.AdamW(
            [self.flat.values], lr=config.lr, betas=(0.9, config.beta2), weight_decay=config.weight_decay, fused=True
        )
        self._start_moments()
        size = config.batch_size * context.processes.count
        # Only its shape and device matter: noise is drawn for the whole batch, then shared out.
        self._whole = torch.empty(1, device=context.device).expand(size, *policy.noise_shape)
        # Images on disk are read while the update before them runs; what is in memory comes faster without a thread.
        self._batches = Prefetch(self._draw, self._gather, context.generator) if self.chunks.reads_disk else None
        # Only the loss is compiled: forward and backward are the cost, the rest is a handful of flat operations.
        self._loss = torch.compile(self.online.loss, fullgraph=True) if context.compiled else self.online.loss

    def batch(self) -> tuple[Batch, tuple[Tensor, ...]]:
        """Return this process's share of a batch and of the noise for its loss."""
        return self._batches.next() if self._batches else self._gather(self._draw())

    def _draw(self) -> tuple[Tensor, tuple[Tensor, ...]]:
        processes, generator = self.context.processes, self.context.generator
        index = self.chunks.draw(self.config.batch_size * processes.count, generator)
        draws = self.online.process.draw(self._whole, generator)
        return processes.share(index), tuple(processes.share(draw) for draw in draws)

    def _gather(self, drawn: tuple[Tensor, tuple[Tensor, ...]]) -> tuple[Batch, tuple[Tensor, ...]]:
        index, draws = drawn
        return self.chunks.gather(index), draws

    def update(self, step: int) -> dict[str, Tensor]:
        """Take one gradient step and return detached metrics, still on the device: nothing here waits for it."""
        batch, draws = self.batch()
        lr = learning_rate(step, self.context.steps, self.config)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        with torch.autocast(self.flat.values.device.type, torch.bfloat16, enabled=self.context.autocast):
            loss, metrics = self._loss(batch, draws=draws)
        self.flat.backward(loss)
        self.context.processes.average(self.flat.gradient)
        norm = self.flat.clip_gradient(self.config.max_grad_norm)
        self.optimizer.step()
        decay = ema_decay(step, self.config)
        self.average.values.data.lerp_(self.flat.values.data, 1 - decay)
        return {**metrics, "grad_norm": norm}

    def policy(self) -> GenerativePolicy:
        """Return the policy with averaged weights; the one to evaluate, save and deploy."""
        return self.averaged

    def state(self) -> dict[str, Tensor]:
        """All tensors, besides the averaged policy, that an exact resume needs."""
        moments = self.optimizer.state[self.flat.values]
        return {
            "parameters": self.flat.values.data,
            "exp_avg": moments["exp_avg"],
            "exp_avg_sq": moments["exp_avg_sq"],
            "optimizer_step": moments["step"],
            "generator": self._batches.state() if self._batches else self.context.generator.get_state(),
        }

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Restore what `state` returned; the averaged policy is loaded from its own file."""
        moments = self.optimizer.state[self.flat.values]
        self.flat.values.data.copy_(state["parameters"])
        for key, name in (("exp_avg", "exp_avg"), ("exp_avg_sq", "exp_avg_sq"), ("step", "optimizer_step")):
            moments[key].copy_(state[name])
        self.context.generator.set_state(state["generator"])
        if self._batches:
            self._batches.restart()

    def _start_moments(self) -> None:
        """Create Adam's moments now, as Adam would at its first step, so that a resume can fill them."""
        values = self.flat.values
        self.optimizer.state[values] = {
            "step": torch.zeros((), dtype=torch.float32, device=values.device),
            "exp_avg": torch.zeros_like(values.data),
            "exp_avg_sq": torch.zeros_like(values.data),
        }


def _check(config: Config) -> None:
    allowed = {
        "batch_size": (config.batch_size >= 1, "at least 1"),
        "lr": (config.lr > 0, "above 0"),
        "warmup": (config.warmup >= 0, "at least 0"),
        "final_lr": (0 <= config.final_lr <= 1, "a share between 0 and 1"),
        "beta2": (0 <= config.beta2 < 1, "from 0 to below 1"),
        "weight_decay": (config.weight_decay >= 0, "at least 0"),
        "max_grad_norm": (config.max_grad_norm > 0, "above 0"),
        "ema_decay": (0 <= config.ema_decay <= 1, "between 0 and 1"),
        "ema_power": (config.ema_power > 0, "above 0"),
    }
    for name, (good, expected) in allowed.items():
        if not good:
            raise LaminarError(f"method.{name} must be {expected}, got {getattr(config, name)}")


def learning_rate(step: int, steps: int, config: Config) -> float:
    """Linear warm-up, then a half cosine down to `final_lr` times the peak; a function of the update, not the epoch."""
    if step < config.warmup:
        return config.lr * (step + 1) / config.warmup
    progress = (step - config.warmup) / max(steps - config.warmup, 1)
    share = config.final_lr + (1 - config.final_lr) * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))
    return config.lr * share


def ema_decay(step: int, config: Config) -> float:
    """Decay of the averaged weights, small at first so that the random start is forgotten (Chi et al. 2023)."""
    return min(config.ema_decay, 1 - (1 + step) ** -config.ema_power)
