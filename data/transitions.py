"""Device-resident batches of transitions: what was seen, done and earned, and where it led, n steps or a chunk on."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..errors import LaminarError
from .batches import Array, Batch, Sampler, Windows, check_positive, count_up, with_final
from .episodes import Episodes

KNOWN_BELOW = 0.01
"""Share of a truncated return that may lie beyond the truncation for `return_known`."""


class Transitions(Sampler):
    """Transitions of n steps for Q-learning with chunks (QC, Li et al. 2025); none reaches into another episode.

    A start t of an episode with T steps leads m = min(max(n_step, chunk), T - t) steps on. `gather` returns

    - "observation": key -> (B, history, ...), the steps up to t, the first one repeated before the episode's start,
    - "action": (B, chunk, A), steps t .. t+chunk-1,
    - "reward": (B,) sum of discount^k r_{t+k} over k < m,
    - "next_observation": key -> (B, history, ...), the same window at t + m; the final observation if t + m = T,
    - "next_action": (B, chunk, A), the data's chunk at t + m, the last action repeated beyond the end,
    - "discount": (B,) discount^m, or 0 where the task terminated; a truncated episode is bootstrapped,
    - "return": (B,) discounted sum of the rewards up to the episode's end,
    - "return_known": (B,) 1 where that is the whole return: the task terminated, or what lies beyond the truncation
      weighs at most 1 %; else 0,
    - "mask": (B, chunk) bool, all True.

    Legal starts are the steps whose whole chunk is inside the episode, since it is executed open loop. Where a task
    terminates on the way and the recording goes on, a transition ends, though actions of its chunk may lie beyond: they
    would not have been executed.

    Attributes:
        skipped: episodes shorter than a chunk, which have no start.
    """

    def __init__(
        self,
        episodes: Episodes,
        *,
        history: int = 1,
        chunk: int = 1,
        n_step: int = 1,
        discount: float = 0.99,
        reward: Array | None = None,
        device: str | torch.device = "cpu",
    ) -> None:
        """Pack the episodes on the device, and all that does not depend on the draw.

        Args:
            episodes: the recorded steps.
            history: observations a sample, the current one included.
            chunk: actions a sample.
            n_step: rewards a sample, one for each action of a chunk at least, which is executed whole.
            discount: of the next step, in [0, 1].
            reward: (N,) in place of the episodes' own, as the method tunes them.
            device: where the packed rows live.

        Raises:
            LaminarError: a number out of its range, or no episode as long as a chunk.
        """
        check_positive(history=history, chunk=chunk, n_step=n_step)
        _check_settings(episodes, chunk, discount)
        self.history, self.chunk, self.n_step, self.discount = history, chunk, n_step, discount
        self.skipped = int((episodes.lengths < chunk).sum())
        rewards = (episodes.reward if reward is None else reward).astype(np.float64)
        if rewards.shape != (len(episodes),):
            raise LaminarError(f"{episodes.source}: {rewards.shape} tuned rewards for {len(episodes)} steps")
        left, over = _until_end(episodes)
        starts = np.flatnonzero(episodes.ends[episodes.episode_index] - np.arange(len(episodes)) >= chunk)
        super().__init__(starts, torch.device(device))
        moved = np.minimum(left, max(n_step, chunk))
        numbers = (
            _discounted(rewards, moved, discount),
            np.where(over & (moved == left), 0.0, discount**moved),
            _discounted(rewards, left, discount),
            over | (discount**left <= KNOWN_BELOW),
        )
        self._numbers = self._put(np.stack(numbers).astype(np.float32)[:, starts])  # (4, starts)
        # An episode takes history - 1 rows before its steps, and after them one for each action of a chunk at its end.
        row = np.arange(len(episodes)) + (history - 1 + chunk) * episodes.episode_index
        self._rows = self._put(np.stack([row, row + moved])[:, starts])  # (2, starts): here, and where it leads
        self._observations, self._actions = self._pack(episodes)
        self._mask = torch.ones(1, chunk, dtype=torch.bool, device=self.device)
        self.reads_disk = bool(self._observations.on_disk)

    @property
    def returns(self) -> Tensor:
        """(starts,) "return" of every start, by its index."""
        return self._numbers[2]

    def gather(self, index: Tensor) -> Batch:
        """Return the transitions with the given indices (B,)."""
        size = len(index)
        rows = self._rows.index_select(1, index).view(-1)  # both ends of all transitions in one read
        now, after = {}, {}
        for key, value in self._observations.gather(rows).items():
            now[key], after[key] = value.split(size)
        action, next_action = self._actions.gather(rows)["action"].split(size)
        reward, discount, whole, known = self._numbers.index_select(1, index).unbind()
        return {
            "observation": now,
            "action": action,
            "reward": reward,
            "next_observation": after,
            "next_action": next_action,
            "discount": discount,
            "return": whole,
            "return_known": known,
            "mask": self._mask.expand(size, -1),
        }

    def sample(self, batch_size: int, generator: torch.Generator) -> Batch:
        """Draw a batch uniformly over the legal starts, with replacement."""
        return self.gather(self.draw(batch_size, generator))

    def _pack(self, episodes: Episodes) -> tuple[Windows, Windows]:
        """Windows of observations and of actions over the same padded rows."""
        lengths, history, chunk = episodes.lengths, self.history, self.chunk
        counts = lengths + history - 1 + chunk
        step = count_up(counts) - (history - 1)  # of each row, outside [0, T) on padding
        first, length = np.repeat(episodes.starts, counts), np.repeat(lengths, counts)
        final = len(episodes) + np.repeat(np.arange(len(lengths)), counts)
        seen = np.where(step < length, first + np.maximum(step, 0), final)
        done = first + np.clip(step, 0, length - 1)
        observation = {key: value[seen] for key, value in with_final(episodes).items()}
        actions = Windows(
            {"action": episodes.action[done].astype(np.float32, copy=False)}, chunk, self.device, skip=history - 1
        )
        return Windows(observation, history, self.device), actions

    def _put(self, values: Array) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values)).to(self.device)


def _until_end(episodes: Episodes) -> tuple[Array, Array]:
    """Return (N,) steps until the task terminates or the recording stops, this one included, and whether it is over."""
    stops = episodes.terminated.copy()
    stops[episodes.ends - 1] = True
    at = np.flatnonzero(stops)
    step = np.arange(len(episodes))
    end = at[np.searchsorted(at, step)]
    return end - step + 1, episodes.terminated[end]


def _discounted(reward: Array, count: Array, discount: float) -> Array:
    """Return (N,) sums of discount^k r_{t+k} over k < count_t, in about log2(count) passes.

    `span` rewards are summed at once; the binary digits of `count` say which spans make up a sum.
    """
    total, at, weight = np.zeros(len(reward)), np.arange(len(reward)), np.ones(len(reward))
    spanned, span = reward.copy(), 1
    while span <= count.max():
        rows = np.flatnonzero(count & span)
        total[rows] += weight[rows] * spanned[at[rows]]
        at[rows] += span
        weight[rows] *= discount**span
        spanned[:-span] += discount**span * spanned[span:]  # beyond an end too, but no sum takes it from there
        span *= 2
    return total


def _check_settings(episodes: Episodes, chunk: int, discount: float) -> None:
    if not 0 <= discount <= 1:
        raise LaminarError(f"method.discount is {discount}, it must be from 0 to 1")
    if episodes.lengths.max() < chunk:
        raise LaminarError(
            f"{episodes.source}: no episode has the {chunk} steps of a chunk, the longest has "
            f"{episodes.lengths.max()}; choose a shorter policy.chunk"
        )
