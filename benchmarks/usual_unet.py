"""How chunks are usually sampled: a conditional U-Net with a projection in every block, and a scheduler of `diffusers`.

Written for comparison, with the sizes and the order of operations of Diffusion Policy's network (Chi et al. 2023).
"""

from __future__ import annotations

import importlib.util
import math
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

NAME = "usual loop over diffusers' DDIM"
STEPS, LEVELS = 10, 100
OBSERVATION, HISTORY, ACTION, CHUNK = 20, 2, 7, 16


def missing() -> str | None:
    """Tell what is not installed."""
    return None if importlib.util.find_spec("diffusers") else "diffusers is not installed"


class Block(nn.Module):
    """Two convolutions; a linear layer of the condition scales and shifts between them."""

    def __init__(self, inputs: int, outputs: int, condition: int) -> None:
        super().__init__()
        self.first = self._convolution(inputs, outputs)
        self.second = self._convolution(outputs, outputs)
        self.film = nn.Sequential(nn.Mish(), nn.Linear(condition, 2 * outputs))
        self.skip = nn.Conv1d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    @staticmethod
    def _convolution(inputs: int, outputs: int) -> nn.Sequential:
        return nn.Sequential(nn.Conv1d(inputs, outputs, 5, padding=2), nn.GroupNorm(8, outputs), nn.Mish())

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        scale, shift = self.film(condition)[:, :, None].chunk(2, dim=1)
        return self.second(scale * self.first(x) + shift) + self.skip(x)


class UNet(nn.Module):
    """Down, middle and up, two blocks a level; time by sinusoids and a perceptron, in every call."""

    def __init__(self, widths: tuple[int, ...], time: int = 256) -> None:
        super().__init__()
        condition = time + OBSERVATION * HISTORY
        self.time = time
        self.perceptron = nn.Sequential(nn.Linear(time, 4 * time), nn.Mish(), nn.Linear(4 * time, time))
        sizes = [ACTION, *widths]

        def pair(inputs: int, outputs: int) -> nn.ModuleList:
            return nn.ModuleList([Block(inputs, outputs, condition), Block(outputs, outputs, condition)])

        self.down = nn.ModuleList([pair(a, b) for a, b in pairwise(sizes)])
        self.shrink = nn.ModuleList([nn.Conv1d(width, width, 3, 2, 1) for width in widths[:-1]])
        self.middle = pair(widths[-1], widths[-1])
        back = list(reversed(widths))
        self.up = nn.ModuleList([pair(2 * a, b) for a, b in pairwise(back)])
        self.grow = nn.ModuleList([nn.ConvTranspose1d(width, width, 4, 2, 1) for width in back[1:]])
        self.head = nn.Sequential(Block._convolution(widths[0], widths[0]), nn.Conv1d(widths[0], ACTION, 1))

    def forward(self, x: Tensor, t: Tensor, observation: Tensor) -> Tensor:
        half = self.time // 2
        frequencies = torch.exp(torch.arange(half, device=x.device) * -(math.log(10_000) / (half - 1)))
        angles = t.expand(len(x))[:, None].float() * frequencies
        condition = torch.cat([self.perceptron(torch.cat([angles.sin(), angles.cos()], dim=1)), observation], dim=1)
        x, skips = x.transpose(1, 2), []
        for level, pair in enumerate(self.down):
            x = self.shrink[level - 1](x) if level else x
            for block in pair:
                x = block(x, condition)
            skips.append(x)
        for block in self.middle:
            x = block(x, condition)
        for pair, grow in zip(self.up, self.grow, strict=True):
            x = torch.cat([x, skips.pop()], dim=1)
            for block in pair:
                x = block(x, condition)
            x = grow(x)
        return self.head(x).transpose(1, 2)


class Sampler:
    """Normalize, loop over the scheduler's times, unnormalize."""

    def __init__(self, widths: tuple[int, ...], device: str) -> None:
        from diffusers import DDIMScheduler

        torch.manual_seed(0)
        self.network, self.device = UNet(widths).eval().to(device), device
        settings: dict[str, Any] = {"beta_schedule": "squaredcos_cap_v2", "clip_sample": True}
        self.scheduler = DDIMScheduler(num_train_timesteps=LEVELS, prediction_type="epsilon", **settings)
        self.mean, self.scale = torch.zeros(OBSERVATION, device=device), torch.ones(OBSERVATION, device=device)

    @torch.no_grad()
    def __call__(self, obs: Any) -> Tensor:
        """Map a raw observation (1, h, D) of the host to a chunk (1, H, A)."""
        observation = ((torch.as_tensor(obs, device=self.device) - self.mean) / self.scale).flatten(1)
        x = torch.randn(len(observation), CHUNK, ACTION, device=self.device)
        self.scheduler.set_timesteps(STEPS)
        for t in self.scheduler.timesteps:
            x = self.scheduler.step(self.network(x, t.to(self.device), observation), t, x).prev_sample
        return F.hardtanh(x)
