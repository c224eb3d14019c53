"""What was recorded where a policy begins: the chunks of actions after the nearest recorded observations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...data.episodes import Episodes
from ...data.spec import Spec

Array = NDArray[Any]
_EPISODES = 5  # whose nearest observation is looked at, the nearest ones
_BLOCK = 65536  # rows that are compared at a time


@dataclass(frozen=True)
class Recorded:
    """Recorded chunks, the nearest first.

    Attributes:
        chunks: (up to H, A) each, fewer rows where an episode ends; one an episode.
        episode: of the first, from 0.
        step: of the first, from 0.
        distance: of its observation, in standard deviations of the data: root mean square over the numbers that vary.
        numbers: how many those are.
        pictures: whether a policy also sees pictures, which are not compared.
    """

    chunks: list[Array]
    episode: int
    step: int
    distance: float
    numbers: int
    pictures: bool = False

    @property
    def left_out(self) -> str:
        """What the distance does not know."""
        return "; pictures are not compared" if self.pictures else ""


def nearest_recorded(episodes: Episodes, spec: Spec, observation: Mapping[str, Array]) -> Recorded | None:
    """Look for the recorded observations that are nearest to one, in what a policy sees beside pictures.

    Args:
        episodes: the recordings.
        spec: of the policy.
        observation: key -> one observation, at least those keys of the spec that are no pictures.

    Returns:
        None where recordings and policy have nothing in common to compare, or other actions.
    """
    keys = [
        key
        for key, feature in spec.observation.items()
        if feature.dtype != "uint8"
        and key in episodes.observation
        and episodes.observation[key].shape[1:] == feature.shape
    ]
    if not keys or episodes.action.shape[1:] != (spec.action_dim,):
        return None
    squares, numbers = _squares(episodes, keys, observation)
    if not numbers:
        return None
    starts = episodes.starts
    order = np.argsort(np.minimum.reduceat(squares, starts), kind="stable")[:_EPISODES]
    rows = [int(starts[one] + squares[starts[one] : episodes.ends[one]].argmin()) for one in order]
    chunks = [
        episodes.action[row : min(row + spec.chunk, int(episodes.ends[one]))]
        for row, one in zip(rows, order, strict=True)
    ]
    first = int(order[0])
    distance = float(np.sqrt(squares[rows[0]] / numbers))
    pictures = any(feature.dtype == "uint8" for feature in spec.observation.values())
    return Recorded(chunks, first, rows[0] - int(starts[first]), distance, numbers, pictures)


def _squares(episodes: Episodes, keys: list[str], observation: Mapping[str, Array]) -> tuple[Array, int]:
    """Return the squared distances (N,) in units of the data's deviations, and the numbers that they are sums of."""
    squares, numbers = np.zeros(len(episodes)), 0
    for key in keys:
        rows = episodes.observation[key].reshape(len(episodes), -1)
        wanted = np.asarray(observation[key], np.float64).reshape(-1)
        center = rows.mean(axis=0, dtype=np.float64)
        scale = rows.std(axis=0, dtype=np.float64)
        varies = scale > 1e-6 * np.maximum(1.0, np.abs(center))
        numbers += int(varies.sum())
        for begin in range(0, len(rows), _BLOCK):
            part = (rows[begin : begin + _BLOCK, varies] - wanted[varies]) / scale[varies]
            squares[begin : begin + _BLOCK] += np.einsum("nd,nd->n", part, part)
    return squares, numbers
