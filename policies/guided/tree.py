"""Search in a tree of denoising steps (diffusion tree sampling, Jain et al. 2025).

A node is a noisy chunk x_k; its children are draws of the next step's distribution, those of the root draws of the
noise. Each iteration goes down from the root, to a child with probability proportional to exp v, as long as a node has
as many children as its visits allow (progressive widening); there it draws a new child, and follows it to a sample,
whose value is r = Q / temperature. A share `exploration` of the steps down leads to any child alike. On the way back

    v(x_k) = log mean over the children of exp v(x_{k+1})

so that going down once more draws from p(x) exp(r), exactly in the limit of many calls (DTS). To search for the best
sample (selection="argmax", DTS*), it goes to the child with the highest upper confidence bound, and the best leaf is
the answer.

The budget is counted in network calls. Each observation has a tree of its own; all trees make one call at a time
together, each at its own level, so that the sizes are fixed and nothing waits for the device.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from ..processes.solvers import Level, stochastic_variance
from .acting import Acting
from .choosing import uniform

_NEVER = -1e30  # logarithm of the weight of what is no child


class Tree:
    """The nodes of B trees, numbered in the order in which they were made; 0 is the root.

    Attributes:
        parent: (B, M + 1) number of the parent.
        depth: (B, M + 1); 0 of the root, `steps` of a leaf.
        value: (B, M + 1) v; `_NEVER` of a node without a leaf below.
        visits: (B, M + 1) leaves below.
        mean: (B, M + 1, H, A) mean of its children; of a leaf, the sample.
    """

    def __init__(self, batch: int, size: int, steps: int, like: Tensor) -> None:
        """Make roots with room for `size` nodes; chunks are like a tensor (…, H, A)."""
        self.steps = steps
        self.parent, self.depth = (like.new_zeros(batch, size + 1, dtype=torch.long) for _ in range(2))
        self.parent -= 1
        self.value, self.visits = like.new_full((batch, size + 1), _NEVER), like.new_zeros(batch, size + 1)
        self.mean = like.new_zeros(batch, size + 1, *like.shape[-2:])

    def descend(self, size: int, coins: Tensor, acting: Acting, widen: bool) -> Tensor:
        """Return numbers (B,) of the nodes that are reached: where a child is due, or a leaf.

        Args:
            size: nodes that there are.
            coins: (B, steps) standard normal.
            acting: the settings.
            widen: stop where a child is due; the parent of a leaf can always have another.
        """
        node = torch.zeros_like(self.parent[:, 0])
        going = torch.ones_like(node, dtype=torch.bool)
        for level in range(self.steps - widen):
            children = self._children(node, size)
            if widen:
                allowed = _at(self.visits, node).pow(acting.widening).clamp(min=1)
                going = going & (children.sum(dim=1) >= allowed)
            else:
                going = going & children.any(dim=1)
            node = torch.where(going, self._child(node, children, coins[:, level], acting, widen), node)
        return node

    def _child(self, node: Tensor, children: Tensor, coins: Tensor, acting: Acting, explore: bool) -> Tensor:
        """Return a child (B,) of each node: drawn by exp v, partly at random to explore, or of the highest bound."""
        size = children.shape[1]
        value = torch.where(children, self.value[:, :size], 2 * _NEVER)
        if acting.selection == "argmax":
            seldom = _at(self.visits, node)[:, None].clamp(min=1).log() / self.visits[:, :size]
            return torch.where(children, value + acting.exploration * seldom.sqrt(), value).argmax(dim=1)
        shares = value.double().softmax(dim=1)
        if explore:
            anywhere = children / children.sum(dim=1, keepdim=True).clamp(min=1)
            shares = torch.lerp(shares, anywhere.double(), min(acting.exploration, 1.0))
        heaps = shares.cumsum(dim=1)
        points = uniform(coins)[:, None] * heaps[:, -1:]
        return (heaps <= points).sum(dim=1).clamp(max=size - 1)

    def add(self, number: int, parent: Tensor, depth: Tensor, mean: Tensor) -> None:
        """Add a node to each tree, under parents (B,)."""
        self.parent[:, number], self.depth[:, number], self.mean[:, number] = parent, depth, mean

    def back_up(self, number: int, reward: Tensor) -> None:
        """Give the newest node its value where it is a leaf, and its ancestors theirs; reward is (B,)."""
        leaf = self.depth[:, number] == self.steps
        self.value[:, number] = torch.where(leaf, reward, self.value[:, number])
        self.visits[:, number] += leaf
        node = torch.full_like(self.parent[:, 0], number)
        for _ in range(self.steps):
            node = torch.where(leaf, _at(self.parent, node), node)
            children = self._children(node, number + 1)
            among = torch.where(children, self.value[:, : number + 1], 2 * _NEVER)
            value = among.logsumexp(dim=1) - children.sum(dim=1).clamp(min=1).log()
            self.value.scatter_(1, node[:, None], torch.where(leaf, value, _at(self.value, node))[:, None])
            self.visits.scatter_add_(1, node[:, None], leaf[:, None].to(self.visits))

    def answer(self, coins: Tensor, acting: Acting) -> Tensor:
        """Return a sample (B, H, A): a draw of the tree, or the best leaf; coins are (B, steps)."""
        if acting.selection == "argmax":
            leaf = torch.where(self.depth == self.steps, self.value, 2 * _NEVER).argmax(dim=1)
        else:
            leaf = self.descend(self.parent.shape[1], coins, acting, widen=False)
        return self.mean[torch.arange(len(leaf), device=leaf.device), leaf]

    def _children(self, node: Tensor, size: int) -> Tensor:
        """(B, size) which of the nodes are children of a node (B,) and have a value."""
        return (self.parent[:, :size] == node[:, None]) & (self.value[:, :size] > _NEVER)


def noise_shape(budget: int, numbers: int, steps: int) -> tuple[int, int]:
    """Shape of one decision's noise: for each network call its draw and what chose its place, and one more choice."""
    return (budget + 1, numbers + steps)


def search(
    denoise: Callable[[Tensor, Tensor], Tensor],
    value: Callable[[Tensor], Tensor],
    levels: Sequence[Level],
    noise: Tensor,
    chunk: tuple[int, ...],
    acting: Acting,
) -> Tensor:
    """Return a chunk (B, H, A) of each tree.

    Args:
        denoise: (x (B, H, A), times (B, 1)) -> clean data; one network call.
        value: clean data (B, H, A) -> Q (B,).
        levels: K + 1, from noise to data.
        noise: (B, M + 1, H A + K), see `noise_shape`, for a budget of M network calls.
        chunk: (H, A).
        acting: the settings.
    """
    batch, budget, steps = len(noise), noise.shape[1] - 1, len(levels) - 1
    draws = acting.noise_scale * noise[..., :-steps].unflatten(2, chunk)
    coins, tree = noise[..., -steps:], Tree(batch, budget, steps, draws)
    times, of_x, of_data, deviation = _table(levels, acting.eta, noise).unbind()
    for number in range(1, budget + 1):
        parent = torch.full_like(tree.parent[:, 0], number - 1)
        if number == 1 or number > steps:  # the first sample is followed to its end in every tree
            ended = tree.depth[:, number - 1] % steps == 0  # at the root or at a leaf
            parent = torch.where(ended, tree.descend(number, coins[:, number - 1], acting, widen=True), parent)
        depth = _at(tree.depth, parent)
        x = _rows(tree.mean, parent) + _each(deviation[depth]) * draws[:, number - 1]
        data = denoise(x, times[depth][:, None])
        tree.add(number, parent, depth + 1, _each(of_x[depth]) * x + _each(of_data[depth]) * data)
        if number >= steps:
            tree.back_up(number, value(data) / acting.temperature)
    return tree.answer(coins[:, budget], acting)


def _table(levels: Sequence[Level], eta: float, like: Tensor) -> Tensor:
    """(4, K) by depth of the parent: time of the children, weights of x and data in their step, deviation to them.

    Filled on the device: a tensor from a list would be a copy from the host, which cannot be captured.
    """
    rows: list[tuple[float, float, float, float]] = []
    deviation = 1.0  # of the noise itself
    for now, after in pairwise(levels):
        variance = eta**2 * stochastic_variance(now, after)
        of_x = math.sqrt(max(after.sigma**2 - variance, 0.0)) / now.sigma
        rows.append((now.time, of_x, after.alpha - of_x * now.alpha, deviation))
        deviation = math.sqrt(variance)
    columns = zip(*rows, strict=True)
    return torch.stack([torch.stack([like.new_full((), number) for number in column]) for column in columns])


def _at(values: Tensor, node: Tensor) -> Tensor:
    return values.gather(1, node[:, None]).squeeze(1)


def _rows(values: Tensor, node: Tensor) -> Tensor:
    return values[torch.arange(len(node), device=node.device), node]


def _each(numbers: Tensor) -> Tensor:
    return numbers[:, None, None]
