"""Windows for planners: every m-th state of a stretch of an episode, the actions between them, the return from there.

Nothing is guessed beyond a recording. An episode that was cut off says nothing about what comes after it, so that its
windows end with it; one that ended by itself is followed by nothing, and its last state stays. Plans that lead to a
goal take the end of a trip for it: there they may `rest`, however the recording ended.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import LaminarError
from .batches import Sampler, check_positive, count_up, with_final
from .episodes import Episodes

Array = NDArray[Any]
Batch = dict[str, Any]


class PlanWindows(Sampler):
    """Stretches of states of T, m control steps apart.

    `gather` returns "state": (B, T, S), the keys side by side, the last one repeated beyond the end; "action":
    (B, T - 1, m, A) and "acting": (B, T - 1, m) bool, False beyond the end; "return": (B, T), from each state on.
    """

    reads_disk = False

    def __init__(
        self,
        episodes: Episodes,
        keys: Sequence[str],
        horizon: int,
        stride: int,
        discount: float,
        rest: bool = False,
        device: str | torch.device = "cpu",
    ) -> None:
        """Pack the episodes.

        Args:
            episodes: to learn from.
            keys: observations that make up a state, in their order.
            horizon: T, states of a window, at least 2.
            stride: m, control steps between two of them.
            discount: of returns, a control step.
            rest: windows may go on beyond an episode that was cut off, resting at its last state.
            device: where they lie.

        Raises:
            LaminarError: no episode is as long as a window.
        """
        check_positive(horizon=horizon - 1, stride=stride)
        span = (horizon - 1) * stride
        self.rests, self.span, self.discount = rest, span, discount
        _check_span(episodes, horizon, stride)
        final = with_final(episodes)  # steps first, then each episode's last state
        steps, count = len(episodes), episodes.num_episodes
        first = episodes.starts + np.arange(count)
        order = np.insert(np.arange(steps), episodes.ends, steps + np.arange(count))
        state = np.concatenate([final[key].reshape(steps + count, -1) for key in keys], axis=1)[order]
        tensors = {
            "state": state,
            "action": np.insert(episodes.action, episodes.ends, 0.0, axis=0),
            "return": np.insert(returns_to_go(episodes, discount), episodes.ends, _after(episodes, discount)),
        }
        device = torch.device(device)
        self._rows = {k: torch.from_numpy(v.astype(np.float32)).to(device) for k, v in tensors.items()}
        last = first + episodes.lengths  # row of the final state
        ended = episodes.terminated[episodes.ends - 1] | rest
        counts = np.where(ended, episodes.lengths, np.maximum(episodes.lengths - span + 1, 0))
        super().__init__(np.repeat(first, counts) + count_up(counts), device)
        self._last = torch.from_numpy(np.repeat(last, counts)).to(device)
        self._offsets = stride * torch.arange(horizon, device=device)
        self._between = torch.arange(stride, device=device)

    def gather(self, index: Tensor) -> Batch:
        """Return the windows with the given indices (B,)."""
        start, last = self._starts.index_select(0, index), self._last.index_select(0, index)
        rows = start[:, None] + self._offsets  # (B, T)
        seen = torch.minimum(rows, last[:, None])
        acted = torch.minimum(rows[:, :-1, None] + self._between, last[:, None, None])  # the last row has no action: 0
        return {
            "state": self._rows["state"][seen],
            "action": self._rows["action"][acted],
            "acting": rows[:, :-1, None] + self._between < last[:, None, None],
            "return": self._rows["return"][seen],
        }

    @property
    def returns(self) -> Tensor:
        """(N,) returns from every state at which a window begins."""
        return self._rows["return"].index_select(0, self._starts)


def returns_to_go(episodes: Episodes, discount: float) -> Array:
    """(N,) sum of discounted rewards from each step to the end of its episode, float64.

    A recording that was cut off is taken to go on as it was, at its own mean reward, unless nothing is discounted.
    """
    found = np.zeros(len(episodes))
    after = _after(episodes, discount)
    for index, (begin, end) in enumerate(zip(episodes.starts, episodes.ends, strict=True)):
        total = float(after[index])
        for row in range(int(end) - 1, int(begin) - 1, -1):
            total = float(episodes.reward[row]) + discount * total
            found[row] = total
    return found


def _after(episodes: Episodes, discount: float) -> Array:
    """(E,) what is taken to come after each episode's last step."""
    if discount == 1:
        return np.zeros(episodes.num_episodes)
    mean = episodes.returns() / episodes.lengths
    return np.where(episodes.terminated[episodes.ends - 1], 0.0, mean / (1 - discount))


def _check_span(episodes: Episodes, horizon: int, stride: int) -> None:
    longest, span = int(episodes.lengths.max()), (horizon - 1) * stride
    if longest < span:
        apart = f", {stride} control steps apart," if stride > 1 else ""
        raise LaminarError(
            f"{episodes.source}: a plan of {horizon} states{apart} takes {span} control steps, and the longest episode "
            f"has {longest}; choose a shorter policy.horizon or policy.stride"
        )
