"""Who decides what a robot does next: a policy, whose chunks come when they come."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ..eval.rollouts.noise import EpisodeNoise
from ..policies.acting import Actor
from ..policies.observations import Windows
from .planner import Planner, Request
from .scheduler import ChunkScheduler
from .told import KEY, Told

Vector = NDArray[np.float64]
_PATIENCE = 0.4  # of a control period that is waited for a chunk, where chunks usually come as fast


class Pilot(Protocol):
    """Decides; asked once a control period, and only while the robot may move.

    Attributes:
        waited: seconds of the last `decide` that were spent waiting for a network.
    """

    waited: float

    def begin(self, now: float) -> None:
        """Begin anew: an episode, or after a hold; what was decided before is of no use."""
        ...

    def decide(self, observation: Mapping[str, NDArray[Any]], now: float) -> Vector | None:
        """Return the action (A,) of the period that begins now; None where there is none yet.

        Args:
            observation: key -> (n,) or (height, width, 3), the newest.
            now: of the steady clock.

        Raises:
            LaminarError: what was decided is no action.
        """
        ...

    @property
    def fresh(self) -> bool:
        """Whether the last action was decided for its moment, and not the one before it again."""
        ...

    def planned(self) -> Vector:
        """Return (n, A) what will follow, as far as it is known."""
        ...


class PolicyPilot:
    """Follows the chunks of a policy.

    A chunk is asked for when its share was executed, or for a mean of chunks as often as they come, and made in a
    thread of its own. Where chunks usually come within a part of the period they are waited for, so that their first
    action is not lost.

    Attributes:
        planner: that makes chunks.
        scheduler: that knows which action belongs to a moment.
    """

    def __init__(
        self,
        actor: Actor,
        planner: Planner,
        scheduler: ChunkScheduler,
        clock: Callable[[], float] = time.monotonic,
        told: Told | None = None,
    ) -> None:
        """Put the parts together.

        Args:
            actor: keeps the history.
            planner: makes the chunks.
            scheduler: keeps them.
            clock: seconds, steady.
            told: what a policy that takes instructions is told. When that is something else, its history begins anew,
                and what is planned goes on until there is a chunk for it.
        """
        self._told, self._words = told, "" if told is None else told.words
        self.planner, self.scheduler = planner, scheduler
        self.waited = 0.0
        self._actor, self._clock = actor, clock
        self._every = 1 if scheduler.merge == "ensemble" else actor.policy.spec.execute
        self._noise = EpisodeNoise(actor.policy.noise_shape, 1)
        self._asked: int | None = None  # slot for which a chunk was asked last
        self._fresh = False

    def seed(self, seed: int) -> None:
        """Draw noise from now on as an evaluation of this seed does, a number a control period."""
        self._noise.reset(0, seed)

    def begin(self, now: float) -> None:
        """Forget the history and what was planned; the noise goes on."""
        self._actor.reset()
        self.scheduler.begin(now)
        self._asked = None

    def decide(self, observation: Mapping[str, NDArray[Any]], now: float) -> Vector | None:
        """Return the action (A,) of the period that begins now; None before the first chunk.

        Raises:
            LaminarError: a chunk is not finite, or what the policy raised.
        """
        if self._told is not None:
            words, vector = self._told.now
            if words != self._words:
                self._words, self._asked = words, None
                self._actor.reset()
                self.scheduler.renew()
            observation = {**observation, KEY: vector}
        windows = self._actor.observe({key: value[None] for key, value in observation.items()})
        noise = self._noise.next()
        self._take()  # before the next one is asked for, which goes on from what is planned
        self._ask(windows, now, noise)
        self._take()
        starved = self.scheduler.starved
        action = self.scheduler.pop(now)
        self._fresh = action is not None and self.scheduler.starved == starved
        return action

    @property
    def fresh(self) -> bool:
        """Whether the last action was planned for its moment."""
        return self._fresh

    def planned(self) -> Vector:
        """Return (n, A) what is planned without a gap."""
        return self.scheduler.planned()

    def _take(self) -> None:
        for chunk in self.planner.take():
            self.scheduler.add(chunk)

    def _ask(self, windows: Windows, now: float, noise: Tensor | None) -> None:
        """Ask for a chunk where one is due, and wait for it where it will be there soon."""
        start = self.scheduler.due(now)
        slot, every = self.scheduler.slot(start), self._every
        self.waited = 0.0
        if (self._asked is not None and slot - self._asked < every) or not self.planner.idle:
            return
        period = self.scheduler.period
        usual, budget = self.planner.usual, _PATIENCE * period
        soon = usual <= budget
        delay = 0 if soon else math.ceil(usual / period)
        self._asked = slot
        planned = self.scheduler.planned(start)
        self.planner.ask(Request(windows, start, self.scheduler.epoch, planned, delay, noise))
        if soon:
            begun = self._clock()
            self.planner.wait(budget)
            self.waited = self._clock() - begun
