"""Diffusion Policy's one-dimensional U-Net over the steps of a chunk, conditioned by FiLM."""

# No `from __future__ import annotations`: Config is read by OmegaConf, which needs real types.
from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...errors import LaminarError
from ...settings import choice, number, numbers
from . import Network
from .activations import ACTIVATIONS, activation
from .embeddings import TimeEmbedding
from .layers import GroupNorm


@dataclass
class Config:
    """Settings; the paper's large network is widths=[256, 512, 1024] with activation="mish"."""

    name: str = "unet1d"
    # channels of each level, finest first
    widths: list[int] = numbers([64, 128, 256], least=1)  # noqa: RUF009
    kernel: int = number(5, least=1)  # width of the convolutions; odd
    groups: int = number(8, least=1)  # of every group normalization; divides all widths
    activation: str = choice("silu", *ACTIVATIONS)  # relu is for policy=direct only
    time_width: int = number(256, least=2)  # even; sinusoids per time, and width of the embedding
    min_frequency: float = number(0.3, above=0)  # rad per unit of time, of the slowest sinusoid
    max_frequency: float = number(5.0, above=0)  # rad per unit of time, of the fastest


class ConvBlock(nn.Sequential):
    """Conv1d, GroupNorm, activation: (B, inputs, T) -> (B, outputs, T)."""

    def __init__(self, config: Config, inputs: int, outputs: int) -> None:
        """Build with 'same' padding."""
        super().__init__(
            nn.Conv1d(inputs, outputs, config.kernel, padding=config.kernel // 2),
            GroupNorm(config.groups, outputs),
            activation(config.activation),
        )


class FilmBlock(nn.Module):
    """Two convolutions with a skip; the condition scales and shifts the first (FiLM, Perez et al. 2018)."""

    def __init__(self, config: Config, inputs: int, outputs: int) -> None:
        """Build; the condition's projection lives in the U-Net, one matrix for all blocks."""
        super().__init__()
        self.outputs = outputs
        self.first = ConvBlock(config, inputs, outputs)
        self.second = ConvBlock(config, outputs, outputs)
        self.skip = nn.Conv1d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor, film: Tensor) -> Tensor:
        """Map x (B, inputs, T) with film (B, 2 * outputs, 1), scale then shift, to (B, outputs, T)."""
        scale, shift = film.chunk(2, dim=1)
        return self.second(torch.addcmul(shift, self.first(x), scale)) + self.skip(x)


class FilmPair(nn.Module):
    """The two FiLM blocks of a level: (B, inputs, T) -> (B, outputs, T)."""

    def __init__(self, config: Config, inputs: int, outputs: int) -> None:
        """Build; the first block changes the width."""
        super().__init__()
        self.first = FilmBlock(config, inputs, outputs)
        self.second = FilmBlock(config, outputs, outputs)

    def forward(self, x: Tensor, films: Iterator[Tensor]) -> Tensor:
        """Map (B, inputs, T) to (B, outputs, T); takes the next two of `films`."""
        return self.second(self.first(x, next(films)), next(films))


class UNet1D(Network):
    """Conditional U-Net (Chi et al. 2023, "Diffusion Policy"): two FiLM blocks a level, down, middle and up.

    The condition is the time embedding beside all observations of the history. L levels halve the chunk L - 1
    times; as in the authors' code, the way up joins the skips of all levels but the first.
    """

    def __init__(
        self, config: Config, *, horizon: int, action_dim: int, history: int, condition_dim: int, n_times: int
    ) -> None:
        """Build for chunks (H, A), observations (h, D) and `n_times` times; initialized as PyTorch does.

        Raises:
            LaminarError: when the chunk cannot be halved at every level, or the widths do not fit the groups.
        """
        super().__init__(config)
        _check(config, horizon)
        self.time_embedding = TimeEmbedding(
            n_times,
            config.time_width,
            hidden=4 * config.time_width,
            output=config.time_width,
            activation_name=config.activation,
            min_frequency=config.min_frequency,
            max_frequency=config.max_frequency,
        )
        widths = config.widths
        deepest = widths[-1]
        down = zip([action_dim, *widths[:-1]], widths, strict=True)
        up = zip(reversed(widths[1:]), reversed(widths[:-1]), strict=True)
        self.down = nn.ModuleList([FilmPair(config, *channels) for channels in down])
        self.shrink = nn.ModuleList([nn.Conv1d(width, width, 3, stride=2, padding=1) for width in widths[:-1]])
        self.middle = FilmPair(config, deepest, deepest)
        self.up = nn.ModuleList([FilmPair(config, 2 * inputs, outputs) for inputs, outputs in up])
        self.grow = nn.ModuleList(
            [nn.ConvTranspose1d(width, width, 4, stride=2, padding=1) for width in reversed(widths[:-1])]
        )
        finest = widths[0]
        self.head = nn.Sequential(ConvBlock(config, finest, finest), nn.Conv1d(finest, action_dim, 1))
        self.film_sizes = [2 * block.outputs for block in self.modules() if isinstance(block, FilmBlock)]
        # All blocks see the same condition: one matrix product instead of one a block.
        self.film = nn.Sequential(
            activation(config.activation),
            nn.Linear(config.time_width + history * condition_dim, sum(self.film_sizes)),
        )

    def forward(self, x: Tensor, times: Tensor, cond: Tensor) -> Tensor:
        """Map x (B, H, A), times (B, n_times) and cond (B, h, D) to (B, H, A)."""
        return self.body(x, self.film(torch.cat((self.time_embedding(times), cond.flatten(1)), dim=1)))

    def conditions(self, times: Tensor, cond: Tensor) -> list[Tensor]:
        """Return, for each of times (K, n_times), scales and shifts under cond (B, h, D): (B, sum of film_sizes)."""
        activate, project = self.film
        project = cast("nn.Linear", project)
        width = project.in_features - cond.shape[1] * cond.shape[2]
        of_time, of_observation = project.weight[:, :width], project.weight[:, width:]
        table = F.linear(activate(self.time_embedding(times)), of_time, project.bias)  # (K, films)
        observed = F.linear(activate(cond.flatten(1)), of_observation)  # (B, films)
        return [observed + row for row in table.unbind()]

    def body(self, x: Tensor, condition: Tensor) -> Tensor:
        """Map x (B, H, A) under scales and shifts (B, sum of film_sizes) to (B, H, A)."""
        films = iter(condition.unsqueeze(2).split(self.film_sizes, dim=1))
        hidden = x.transpose(1, 2)  # (B, A, H)
        skips: list[Tensor] = []
        for level, pair in enumerate(self.down):
            if level:
                hidden = self.shrink[level - 1](hidden)
            hidden = pair(hidden, films)
            skips.append(hidden)
        hidden = self.middle(hidden, films)
        for pair, grow in zip(self.up, self.grow, strict=True):
            hidden = grow(pair(torch.cat((hidden, skips.pop()), dim=1), films))
        return self.head(hidden).transpose(1, 2)


def _check(config: Config, horizon: int) -> None:
    factor = 2 ** (len(config.widths) - 1)
    if horizon % factor:
        raise LaminarError(
            f"unet1d: a chunk of {horizon} actions is not divisible by {factor}, as {len(config.widths)} "
            f"levels need; choose a multiple of {factor}, fewer widths, or network=mlp"
        )
    if config.kernel % 2 == 0:
        raise LaminarError(f"unet1d: kernel must be odd to keep the chunk's length, got {config.kernel}")
    unfit = [width for width in config.widths if width % config.groups]
    if unfit:
        raise LaminarError(f"unet1d: widths {unfit} are not divisible by groups={config.groups}")
