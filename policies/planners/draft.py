"""The causal generator of plans: each token follows from those before it, and a plan is written token by token.

What Trajectory Diffuser (ECCV 2024) calls its autoregressive model, with what its public code lacks: a causal mask,
without which learning is copying the token that is asked for, and a cache, without which each token costs the whole
plan before it.
"""

# No `from __future__ import annotations`: DraftConfig is read by OmegaConf, which needs real types.
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...errors import LaminarError
from ...settings import check, choice, number
from ..networks.activations import ACTIVATIONS, activation


@dataclass
class DraftConfig:
    """Settings; small enough to write 64 plans of 32 tokens in some tens of milliseconds on one core."""

    width: int = number(128, least=1)  # of a token inside the generator
    depth: int = number(3, least=1, most=1000)  # blocks
    heads: int = number(4, least=1)  # of the attention; divides width
    mlp_ratio: int = number(4, least=1)  # hidden width of a block's perceptron over the width of a token
    activation: str = choice("gelu", *ACTIVATIONS)


class Block(nn.Module):
    """Causal attention and perceptron, each behind a normalization and added to what comes in.

    All heads share one key and one value a token (multi-query attention, Shazeer 2019): the cache is smaller by the
    number of heads, and the queries of a token are one matrix, not a matrix a head of one row. Writing a plan takes
    four fifths of the time that it takes otherwise.
    """

    def __init__(self, config: DraftConfig) -> None:
        """Build; a normalization has no weights of its own, because the layer behind it has them."""
        super().__init__()
        width = config.width
        self.heads, self.each = config.heads, width // config.heads
        self.inputs = nn.Linear(width, width + 2 * self.each)
        self.output = nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.Linear(width, config.mlp_ratio * width),
            activation(config.activation),
            nn.Linear(config.mlp_ratio * width, width),
        )

    def forward(self, x: Tensor, past: Tensor | None = None, later: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map tokens x (B, n, width) to (B, n, width), and return the keys and values that they saw besides.

        Args:
            x: tokens that follow those of `past`.
            past: (B, t, 2 width / heads) keys and values of the t tokens before; None where there are none.
            later: (n, t + n) where a token must not look; None for one token, which sees all that is there.

        Returns:
            x of the next block, and (B, t + n, 2 width / heads), the `past` of the tokens that follow.
        """
        query, seen = self.inputs(normal(x)).split((x.shape[2], 2 * self.each), dim=2)
        if past is not None:
            seen = torch.cat((past, seen), dim=1)
        x = x + self.output(self._attend(query, seen, later))
        return x + self.mlp(normal(x)), seen

    def _attend(self, query: Tensor, seen: Tensor, later: Tensor | None) -> Tensor:
        """Mix the values of seen (B, T, 2 width / heads) by queries (B, n, width): (B, n, width)."""
        key, value = seen.chunk(2, dim=2)
        rows = (query * self.each**-0.5).reshape(len(query), -1, self.each)  # (B, n heads, width / heads)
        scores = rows @ key.transpose(1, 2)  # (B, n heads, T)
        if later is not None:
            scores = scores.unflatten(1, (-1, self.heads)).masked_fill(later.unsqueeze(1), -torch.inf).flatten(1, 2)
        return (scores.softmax(dim=2) @ value).view(query.shape)


class Drafter(nn.Module):
    """What follows each token of a plan, seen from its condition and the tokens up to it alone.

    A token is whatever a plan says of a moment: a state, or a state and the return that is still to come. The
    condition (a goal, a return, or nothing) is added to every token, which costs nothing when a plan is written. What
    is predicted is the change of a token, zero at first: untrained, a plan stands still.
    """

    later: Tensor

    def __init__(self, config: DraftConfig, token_dim: int, condition_dim: int, horizon: int) -> None:
        """Build for tokens of D numbers, conditions of C, and plans of up to `horizon` tokens.

        Raises:
            LaminarError: a setting is outside its bounds, or the heads do not divide the width.
        """
        super().__init__()
        check(config, "draft")
        width = config.width
        if width % config.heads:
            raise LaminarError(f"draft: width={width} is not divisible by heads={config.heads}")
        if min(token_dim, horizon) < 1 or condition_dim < 0:
            sizes = f"{token_dim}, {condition_dim} and {horizon}"
            raise LaminarError(f"draft: token_dim, condition_dim and horizon must be at least 1, 0 and 1, got {sizes}")
        self.token_dim, self.condition_dim, self.horizon = token_dim, condition_dim, horizon
        self.token = nn.Linear(token_dim, width, bias=False)  # the positions are its bias
        self.condition = nn.Linear(condition_dim, width, bias=False) if condition_dim else None
        self.positions = nn.Parameter(0.02 * torch.randn(horizon, width))
        self.blocks = nn.ModuleList([Block(config) for _ in range(config.depth)])
        self.head = nn.Linear(width, token_dim)
        self.register_buffer("later", torch.ones(horizon, horizon, dtype=torch.bool).triu(1), persistent=False)
        self._initialize()

    def forward(self, tokens: Tensor, cond: Tensor) -> Tensor:
        """Return what follows each token: row t is a function of `cond` and of tokens 0 to t.

        Args:
            tokens: (B, T, D), normalized, T at most the horizon.
            cond: (B, C).

        Raises:
            LaminarError: the shapes are others.
        """
        self._check(tokens, cond)
        length = tokens.shape[1]
        x = self.token(tokens) + self._places(cond, length)
        for block in self.blocks:
            x, _ = block(x, later=self.later[:length, :length])
        return tokens + self.head(normal(x))

    def roll(self, first: Tensor, cond: Tensor, length: int) -> Tensor:
        """Write plans: the first token, and one after the other those that follow; each costs one token's work.

        The same first token and condition give the same plan: of many candidates that begin alike, one is to be
        written.

        Args:
            first: (B, D).
            cond: (B, C).
            length: tokens of a plan, from 1 to the horizon.

        Returns:
            (B, length, D), its row 0 being `first` to the bit.

        Raises:
            LaminarError: the shapes or the length are others.
        """
        token = self._begin(first, cond, length)
        plan, pasts = [token], [None] * len(self.blocks)
        for place in self._places(cond, length)[:, : length - 1].split(1, dim=1):
            x = self.token(token) + place
            for index, block in enumerate(self.blocks):
                x, pasts[index] = block(x, pasts[index])
            token = token + self.head(normal(x))
            plan.append(token)
        return torch.cat(plan, dim=1)

    def roll_plain(self, first: Tensor, cond: Tensor, length: int) -> Tensor:
        """Write plans as `roll` does, without its cache, by `forward` on all that is written: the reference."""
        plan = self._begin(first, cond, length)
        for _ in range(length - 1):
            plan = torch.cat((plan, self(plan, cond)[:, -1:]), dim=1)
        return plan

    def loss(self, tokens: Tensor, cond: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return the mean squared error of the tokens that follow, each predicted from recorded ones.

        Averaged within a plan first, so that the mean over a batch split across processes equals the mean over
        the whole batch. A plan without a token that follows counts as zero.

        Args:
            tokens: (B, T, D), T at least 2.
            cond: (B, C).
            mask: (B, T), which tokens were recorded; the others come after them. None: all.

        Raises:
            LaminarError: the shapes are others.
        """
        if tokens.dim() == 3 and tokens.shape[1] < 2:
            raise LaminarError(
                f"draft: nothing follows in {tokens.shape[1]} token(s), learning takes 2 or more of each"
            )
        predicted = self(tokens[:, :-1], cond)
        error = F.mse_loss(predicted, tokens[:, 1:], reduction="none").mean(dim=2)  # (B, T - 1)
        if mask is None:
            return error.mean()
        valid = mask[:, 1:].to(error)
        return ((error * valid).sum(dim=1) / valid.sum(dim=1).clamp(min=1.0)).mean()

    def _places(self, cond: Tensor, length: int) -> Tensor:
        """Return what is added to the tokens: their positions and the condition (B or 1, length, width)."""
        positions = self.positions[:length].unsqueeze(0)
        return positions if self.condition is None else positions + self.condition(cond).unsqueeze(1)

    def _begin(self, first: Tensor, cond: Tensor, length: int) -> Tensor:
        """Return the first tokens as plans (B, 1, D) of one token, when all fits."""
        if not 1 <= length <= self.horizon:
            raise LaminarError(f"draft: a plan has 1 to {self.horizon} tokens, its horizon, and not {length}")
        if first.dim() != 2:
            raise LaminarError(f"draft: first tokens are (B, {self.token_dim}), got {tuple(first.shape)}")
        plan = first.unsqueeze(1)
        self._check(plan, cond)
        return plan

    def _check(self, tokens: Tensor, cond: Tensor) -> None:
        """Raise LaminarError unless tokens are (B, T, D) and the condition (B, C)."""
        if tokens.dim() != 3 or tokens.shape[2] != self.token_dim or not 1 <= tokens.shape[1] <= self.horizon:
            expected = f"(B, T, {self.token_dim}) with T from 1 to {self.horizon}"
            raise LaminarError(f"draft: tokens are {expected}, got {tuple(tokens.shape)}")
        if cond.shape != (len(tokens), self.condition_dim):
            expected = (len(tokens), self.condition_dim)
            raise LaminarError(f"draft: the condition of these tokens is {expected}, got {tuple(cond.shape)}")

    def _initialize(self) -> None:
        """Xavier, biases of zero, and an output of zero."""
        for name, parameter in self.named_parameters():
            if name.endswith(".weight"):
                nn.init.xavier_uniform_(parameter)
            elif name.endswith(".bias"):
                nn.init.zeros_(parameter)
        nn.init.zeros_(self.head.weight)


def normal(x: Tensor) -> Tensor:
    """Return x (..., width) with zero mean and unit variance; nothing here is differentiated in forward mode."""
    return F.layer_norm(x, x.shape[-1:])
