"""A world of two states whose optimum is known, as arrays: no simulator, the protocol alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from laminar.data.episodes import Episodes
from laminar.data.spec import Feature, Spec
from laminar.envs.world import Array, Observations, Outcome

SPEC = Spec({"observation": Feature((2,))}, Feature((1,)), (-1.0,), (1.0,))
LIMIT = 8


class TwoStates:
    """A and B. In A an action above 0 leads to B, any other stays; in B one below 0 is worth 1, and both lead to A.

    So the best policy acts above 0 in A, where nothing is to be had, and below 0 in B. After eight steps it is cut off.
    """

    spec = SPEC

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self._at, self._steps = np.zeros(slots, int), np.zeros(slots, int)

    @property
    def observations(self) -> Observations:
        return {"observation": np.eye(2, dtype=np.float32)[self._at]}

    def reset(self, seeds: Mapping[int, int], options: Mapping[int, dict[str, Any]] | None = None) -> Observations:
        for slot, seed in seeds.items():
            self._at[slot], self._steps[slot] = seed % 2, 0
        return self.observations

    def step(self, chunks: Array, slots: Iterable[int] | None = None) -> Outcome:
        reward, steps = np.zeros(self.slots), np.zeros(self.slots, np.int64)
        for slot in range(self.slots) if slots is None else slots:
            for action in chunks[slot, :, 0]:
                if self._steps[slot] == LIMIT:
                    break
                reward[slot] += self._at[slot] == 1 and action < 0
                self._at[slot] = self._at[slot] == 0 and action > 0
                self._steps[slot] += 1
                steps[slot] += 1
        cut = self._steps == LIMIT
        nothing = np.full(self.slots, np.nan)
        return Outcome(self.observations, reward, steps, np.zeros(self.slots, bool), cut, nothing)

    def state(self) -> dict[str, Array]:
        return {"at": self._at.copy(), "steps": self._steps.copy()}

    def load_state(self, state: Mapping[str, Array]) -> Observations:
        self._at, self._steps = state["at"].copy(), state["steps"].copy()
        return self.observations

    def close(self) -> None:
        pass


def recorded() -> Episodes:
    """Return recordings in which every action is done in both states, with no regard to what it brings."""
    rows, random = 400, np.random.default_rng(0)
    return Episodes(
        observation={"observation": np.eye(2, dtype=np.float32)[np.arange(rows) % 2]},
        final_observation={"observation": np.eye(2, dtype=np.float32)[:1]},
        action=random.uniform(-1, 1, (rows, 1)).astype(np.float32),
        reward=np.zeros(rows, np.float32),
        terminated=np.zeros(rows, bool),
        truncated=np.arange(rows) == rows - 1,
        ends=np.array([rows]),
        spec=SPEC,
    )
