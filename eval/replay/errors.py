"""Sampled beside recorded chunks, at windows of recorded episodes: what training and `laminar replay` measure.

An error is a difference of single actions. Actions that only pad a chunk at the end of an episode do not count.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...data.batches import Batch, Chunks
from ...data.episodes import Episodes
from ...data.spec import Spec
from ...policies.module import PolicyModule
from ...policies.policy import Policy
from ...policies.runtimes.accelerated import Accelerated
from ...progress import Finished, Progress, silent

Array = NDArray[Any]
BATCH = 256  # windows of a call


class RecordedWindows:
    """History and chunk at some steps of recorded episodes, as training sees them; spread evenly over all steps.

    Attributes:
        step: (W,) which steps, counted through all episodes.
        episode: (W,) the episode of each.
    """

    def __init__(self, episodes: Episodes, spec: Spec, most: int, device: str | torch.device = "cpu") -> None:
        """Pack the episodes; short ones are padded.

        Args:
            episodes: with at least the observations of the policy.
            spec: the policy's.
            most: windows.
            device: where they are to lie.
        """
        self._keys = list(spec.observation)
        self._chunks = Chunks(episodes, spec.history, spec.chunk, device, "pad")
        count = len(self._chunks)
        self.step = np.linspace(0, count - 1, min(most, count)).round().astype(np.int64)
        self.episode = episodes.episode_index[self.step]

    def __len__(self) -> int:
        """Number of windows W."""
        return len(self.step)

    def batches(self) -> Iterator[tuple[slice, Batch]]:
        """Yield which windows, and their batch as `data.batches.Chunks` gathers it, of the policy's observations."""
        index = torch.from_numpy(self.step).to(self._chunks.device)
        for start in range(0, len(self), BATCH):
            rows = slice(start, min(start + BATCH, len(self)))
            batch = self._chunks.gather(index[rows])
            yield rows, batch | {"observation": {key: batch["observation"][key] for key in self._keys}}


@dataclass(frozen=True)
class Predicted:
    """What a policy would do at W windows.

    Attributes:
        sampled: (S, W, H, A), raw units.
        recorded: (W, H, A).
        mask: (W, H) bool, False on padding.
    """

    sampled: Array
    recorded: Array
    mask: NDArray[np.bool_]


@torch.no_grad()
def predict(
    policy: Policy, windows: RecordedWindows, samples: int = 1, seed: int = 0, progress: Progress = silent
) -> Predicted:
    """Sample chunks at all windows; the same seed draws the same noise, from generators of its own.

    Args:
        policy: any policy.
        windows: of its Spec.
        samples: S, each with other noise.
        seed: of the noise.
        progress: follows the windows.
    """
    shape, device = policy.noise_shape, getattr(policy, "device", torch.device("cpu"))
    # On the host, so that every device gets the same.
    drawn = torch.Generator().manual_seed(seed)
    noise = None if shape is None else torch.randn(samples, len(windows), *shape, generator=drawn)
    within = generator_for(policy, seed)
    sampled: list[Tensor] = []
    batches: list[Batch] = []
    with progress(len(windows), "window") as watch:
        for rows, batch in windows.batches():
            starts = [None if noise is None else noise[number, rows].to(device) for number in range(samples)]
            sampled.append(torch.stack([_sample(policy, batch, start, within) for start in starts]).cpu())
            batches.append({name: batch[name].cpu() for name in ("action", "mask")})
            watch(Finished(count=rows.stop - rows.start))
    recorded, mask = (torch.cat([batch[name] for batch in batches]).numpy() for name in ("action", "mask"))
    return Predicted(torch.cat(sampled, dim=1).numpy(), recorded, mask)


def generator_for(policy: Policy, seed: int) -> torch.Generator | None:
    """Return what a stochastic solver draws from on the way; None for a policy that takes none."""
    if not isinstance(policy, PolicyModule | Accelerated):
        return None
    return torch.Generator(policy.device).manual_seed(seed)


def _sample(policy: Policy, batch: Batch, noise: Tensor | None, generator: torch.Generator | None) -> Tensor:
    more = () if generator is None else (generator,)
    return policy.sample(batch["observation"], noise, *more)


@dataclass(frozen=True)
class Errors:
    """Sums over the windows of each of E episodes, from which every mean follows.

    Attributes:
        absolute: (E, H, A) of |sampled - recorded|, raw units; the mean over samples where there are several.
        squared: (E, H, A) of its square.
        count: (E, H) recorded actions that count.
    """

    absolute: Array
    squared: Array
    count: Array

    @classmethod
    def of(cls, sampled: Array, recorded: Array, mask: NDArray[np.bool_], episode: NDArray[np.int64]) -> Errors:
        """Sum up chunks (S, W, H, A), or other predictions of that shape, beside the recorded ones (W, H, A).

        Args:
            sampled: raw units.
            recorded: raw units.
            mask: (W, H), False on padding.
            episode: (W,) of each window.
        """
        difference = np.abs(sampled.astype(np.float64) - recorded) * mask[:, :, None]
        _, index = np.unique(episode, return_inverse=True)
        parts = (difference.mean(axis=0), (difference**2).mean(axis=0), mask.astype(np.float64))
        sums = [np.zeros((index.max() + 1, *part.shape[1:])) for part in parts]
        for total, part in zip(sums, parts, strict=True):
            np.add.at(total, index, part)
        return cls(*sums)

    @property
    def mean_absolute(self) -> Array:
        """(A,) mean over everything."""
        return self.absolute.sum(axis=(0, 1)) / self.count.sum()

    @property
    def mean_square(self) -> Array:
        """(A,) mean over everything."""
        return self.squared.sum(axis=(0, 1)) / self.count.sum()


def action_range(policy: Policy, recorded: Array) -> tuple[Array, Array]:
    """Return lowest and highest of each action dimension: in the policy's training data, or else in recorded actions.

    Args:
        policy: whose normalizer knows it.
        recorded: (N, A), for a policy that has none.
    """
    source = policy.source if isinstance(policy, Accelerated) else policy
    fitted = source.fitted_actions if isinstance(source, PolicyModule) else None
    if fitted is not None:
        low, high = (edge.double().cpu().numpy() for edge in fitted)
        return low, high
    return recorded.min(axis=0).astype(np.float64), recorded.max(axis=0).astype(np.float64)


def width_of(low: Array, high: Array) -> Array:
    """Return (A,) the widths of ranges, in which errors are shares of them; 1 where an action never changes."""
    width = high - low
    return np.where(width > 0, width, 1.0)
