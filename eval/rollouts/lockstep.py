"""Slots that step together, with one actor for all of them: one batched policy call a step."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ...envs.make import control_rate
from ...envs.slots import Slots
from ...errors import LaminarError
from ...policies.acting import Decision, actor_for
from ...policies.module import PolicyModule
from ...policies.policy import Policy
from ...progress import Finished, Watch, ignore
from ..results.smoothness import mean_squared_jerk
from .moment import Moment
from .noise import EpisodeNoise
from .video import Recorder

# Of one to three rows, libraries multiply matrices in other ways, with other last digits: an episode would depend on
# how many plan beside it. From four on, those of `mlp` and `transformer` are equal to the bit where it was tried.
ROWS = 4


class Lockstep:
    """A world of B slots and an actor. `start` some slots, then `act` once and `step` them, again and again.

    Attributes:
        decision: what the last `act` planned; None where no chunk was due.
    """

    def __init__(
        self, policy: Policy, env_id: str, slots: int, recorder: Recorder | None = None, watch: Watch = ignore
    ) -> None:
        """Make the environments; `watch` is told of each seed that is done.

        Raises:
            LaminarError: the policy does not fit the environment; names the key and both shapes.
        """
        self.policy, self.recorder, self._watch = policy, recorder, watch
        self.world = Slots(env_id, policy.spec, slots, render=recorder is not None)
        self.env_id = self.world.env_id
        self.rate_hz = control_rate(self.world.envs[0])
        self.actor = actor_for(policy)
        if isinstance(policy, PolicyModule):  # runtimes have batches of their own sizes, others see who asks
            self.actor.least = ROWS
        self.seeds: list[int | None] = [None] * slots
        self.noise = EpisodeNoise(policy.noise_shape, slots)
        self._observations: dict[str, NDArray[Any]] = {}
        self.decision: Decision | None = None

    def run(
        self,
        seeds: Sequence[int],
        start: Callable[[dict[int, int]], None],
        advance: Callable[[int, int, Moment], Finished | None],
    ) -> set[int]:
        """Work through all seeds; a slot takes the next one as soon as its own is done.

        Ctrl-C ends it between two seeds or within some.

        Args:
            seeds: distinct.
            start: begins some slots, given slot -> seed.
            advance: books one step, given slot, seed and moment; returns what came of the seed once it is done.

        Returns:
            The seeds that are done: all, unless it was interrupted.
        """
        pending = list(reversed(seeds))
        running: dict[int, int] = {}
        done: set[int] = set()
        try:
            while pending or running:
                free = [slot for slot in range(self.world.slots) if slot not in running] if pending else []
                fresh = {slot: pending.pop() for slot in free if pending}
                start(fresh)
                running |= fresh
                for slot, moment in self.step(running, self.act(running)).items():
                    finished = advance(slot, running[slot], moment)
                    if finished is not None:
                        done.add(running.pop(slot))
                        self._watch(finished)
        except KeyboardInterrupt:
            pass  # whoever asked for all seeds sees that some are missing
        return done

    def start(
        self,
        seeds: Mapping[int, int],
        noise_seeds: Mapping[int, int] | None = None,
        options: Mapping[int, dict[str, Any]] | None = None,
    ) -> None:
        """Begin an episode in some slots.

        Args:
            seeds: slot -> seed of the environment's reset.
            noise_seeds: slot -> seed of the policy's noise; the same as `seeds` when None.
            options: slot -> options of the environment's reset.
        """
        for slot, seed in seeds.items():
            self.seeds[slot] = seed
            self.noise.reset(slot, seed if noise_seeds is None else noise_seeds[slot])
        self._observations = self.world.reset(seeds, options)
        self._forget(seeds)
        self._film(seeds)

    def begin(
        self,
        tasks: Mapping[int, str],
        sentences: Mapping[int, str] | None = None,
        goals: Mapping[int, NDArray[Any]] | None = None,
    ) -> None:
        """Give some slots (slot -> task) an instruction where they are, maybe in words of one's own, or by a goal.

        Nothing moves and the noise goes on, but the actor starts afresh.
        """
        self._observations = self.world.begin(tasks, sentences, goals)
        self._forget(tasks)

    def _forget(self, slots: Iterable[int]) -> None:
        mask = self._mask(slots)
        if mask.any():
            self.actor.reset(mask)

    def _mask(self, slots: Iterable[int]) -> NDArray[np.bool_]:
        mask = np.zeros(self.world.slots, bool)
        mask[list(slots)] = True
        return mask

    @torch.inference_mode()
    def act(self, running: Collection[int] | None = None) -> NDArray[Any]:
        """Return the actions (B, A) of all slots; those without an episode repeat their last observation.

        Args:
            running: slots with an episode, whose observations count as seen; None is all.

        Raises:
            LaminarError: an action is not finite; names the seed.
        """
        self.actor.out_of_range.only(None if running is None else self._mask(running))
        self.decision = self.actor.decide(self._observations, self.noise.next())
        actions = self.actor.pop().numpy()
        finite = np.isfinite(actions).all(axis=1)
        if not finite.all():
            seed = self.seeds[int(np.flatnonzero(~finite)[0])]
            raise LaminarError(
                f"the policy gave a non-finite action in '{self.env_id}', seed {seed}; "
                "its training diverged: choose an earlier checkpoint"
            )
        return actions

    def step(self, slots: Iterable[int], actions: NDArray[Any]) -> dict[int, Moment]:
        """Advance some slots by one control step, each with its row of the actions (B, A)."""
        slots = list(slots)
        outcome = self.world.step(actions[:, None], slots)
        self.actor.rewarded(outcome.reward, slots)
        reward, ended, told = outcome.reward.tolist(), outcome.ended.tolist(), outcome.success.tolist()
        succeeded = {k: None if math.isnan(told[k]) else bool(told[k]) for k in slots}
        cut = outcome.truncated.tolist()
        moments = {k: Moment(reward[k], ended[k], succeeded[k], cut[k]) for k in slots}
        self._film(slots)
        return moments

    def _film(self, slots: Iterable[int]) -> None:
        if self.recorder is None:
            return
        for slot in slots:
            seed = self.seeds[slot]
            if seed is not None:
                self.recorder.film(seed, self.world.envs[slot])

    def jerk(self, slot: int) -> float | None:
        """Return the mean squared jerk of what a slot has executed since its episode began; None of too few steps."""
        limits = self.world.limits
        return mean_squared_jerk(self.world.executed(slot), limits.low, limits.high, self.rate_hz)

    def close(self) -> None:
        """Close all environments."""
        self.world.close()
