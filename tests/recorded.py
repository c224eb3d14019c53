"""Recordings of what is seen, for tests to whom actions and rewards do not matter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from laminar.data.episodes import Episodes
from laminar.data.spec import Feature, Spec


def recorded(observation: Mapping[str, Any], lengths: Sequence[int], random: np.random.Generator) -> Episodes:
    """Return episodes in which this (N, ...) was seen, with random actions (N, 2) and no reward."""
    ends = np.cumsum(lengths)
    features = {key: Feature(value.shape[1:], str(value.dtype)) for key, value in observation.items()}
    return Episodes(
        observation=dict(observation),
        final_observation={key: value[ends - 1] for key, value in observation.items()},
        action=random.uniform(-1, 1, (ends[-1], 2)).astype(np.float32),
        reward=np.zeros(ends[-1], np.float32),
        terminated=np.zeros(ends[-1], bool),
        truncated=np.zeros(ends[-1], bool),
        ends=ends,
        spec=Spec(features, Feature((2,)), (-1.0, -1.0), (1.0, 1.0)),
    )
