"""A policy led along a recorded episode: chunks are executed as in control, on the observations that were recorded."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ...data.episodes import Episodes
from ...policies.acting import Actor
from ...policies.policy import Policy
from .errors import Array, generator_for

LONGEST = 400  # steps that are drawn


@dataclass(frozen=True)
class Curve:
    """What was recorded and what would have been executed in an episode.

    Attributes:
        place: among the replayed episodes by error: "best", "median" or "worst".
        number: of the episode in the file.
        error: its mean absolute error as a share of the action's range.
        length: of the whole episode; the arrays have at most `LONGEST` steps T of it.
        recorded: (T, A), raw units.
        executed: (S, T, A), each with other noise.
    """

    place: str
    number: int
    error: float
    length: int
    recorded: Array
    executed: Array


def lead(policy: Policy, episodes: Episodes, index: int, samples: int, seed: int) -> tuple[Array, Array]:
    """Return recorded (T, A) and executed actions (S, T, A) of an episode.

    Each of S actors sees the recorded observations one after the other, and plans a chunk where one is due. What it
    does changes nothing of what it sees next: that would need a simulator.

    Args:
        policy: any policy.
        episodes: recorded.
        index: which of them.
        samples: S.
        seed: of the noise.
    """
    actor, drawn = Actor(policy, generator_for(policy, seed)), torch.Generator().manual_seed(seed)
    device = getattr(policy, "device", torch.device("cpu"))
    start = int(episodes.starts[index])
    steps = slice(start, start + min(int(episodes.lengths[index]), LONGEST))
    seen = {key: torch.from_numpy(np.array(episodes.observation[key][steps])) for key in policy.spec.observation}
    executed: list[Tensor] = []
    for step in range(steps.stop - steps.start):
        now = {key: value[step].expand(samples, *value.shape[1:]) for key, value in seen.items()}
        shape = policy.noise_shape
        noise = None if shape is None else torch.randn(samples, *shape, generator=drawn).to(device)
        executed.append(actor.act(now, noise))
    return episodes.action[steps], torch.stack(executed, dim=1).cpu().numpy()
