"""What the pilot asks for: chunks that go on from what will be executed, as often as their way to be merged wants."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from laminar.deploy.pilot import PolicyPilot
from laminar.deploy.planner import Request
from laminar.deploy.scheduler import ChunkScheduler
from laminar.policies.acting import Actor

from .toy_robot import RATE, Inline, Toy, robot


class Asked(Inline):
    """Keeps what it was asked."""

    def __init__(self, actor: Actor, clock: Callable[[], float], several: bool = False) -> None:
        super().__init__(actor, clock)
        self.requests: list[Request] = []
        self.several = several

    @property
    def idle(self) -> bool:
        return self.several or super().idle

    def ask(self, request: Request) -> None:
        self.requests.append(request)
        super().ask(request)


class Flight:
    """A pilot in virtual time; chunk n is full of the number n, so that an action tells of which it is."""

    def __init__(self, delay: int, execute: int = 4, merge: str = "replace", several: bool = False) -> None:
        self.time, self.made = 50.0, 0
        policy = Toy(robot().spec, self._chunk, 12, execute)
        actor = Actor(policy)
        self.planner = Asked(actor, lambda: self.time, several)
        self.planner.delay = delay
        scheduler = ChunkScheduler(1 / RATE, merge)
        self.pilot = PolicyPilot(actor, self.planner, scheduler, lambda: self.time)  # type: ignore[arg-type]
        self.pilot.begin(self.time)

    def _chunk(self, arm: Any) -> Any:
        self.made += 1
        return np.stack([np.full(12, self.made), np.arange(12.0)], axis=1)

    def run(self, periods: int, skipped: int = 0) -> list[Any]:
        found: list[Any] = []
        for _ in range(periods):
            found.append(self.pilot.decide({"arm": np.zeros(2), "scene": np.zeros(1)}, self.time))
            self.time += (1 + skipped) / RATE
        return found


@pytest.mark.parametrize("delay", [1, 3, 4, 6])
def test_what_is_planned_is_what_is_executed_meanwhile(delay: int) -> None:
    """Also where a chunk comes in the very period in which the next one is asked for."""
    flight = Flight(delay)
    executed = flight.run(40)
    for request in flight.planner.requests[1:-2]:
        slot = round((request.start - 50.0) * RATE)
        np.testing.assert_array_equal(request.planned[:delay], executed[slot : slot + delay])


def test_after_missed_periods_what_is_planned_begins_now() -> None:
    flight = Flight(delay=0)
    flight.run(1)
    flight.time += 6 / RATE
    flight.run(1)
    assert flight.planner.requests[-1].planned[:, 1].tolist() == [7.0, 8.0, 9.0, 10.0, 11.0]


@pytest.mark.parametrize("delay", [0, 3])
def test_for_a_mean_of_chunks_one_is_asked_for_whenever_that_can_be(delay: int) -> None:
    flight = Flight(delay, merge="ensemble", several=True)
    flight.run(20)
    assert len(flight.planner.requests) == 20
    flight = Flight(delay, merge="ensemble")
    flight.run(20)
    assert len(flight.planner.requests) == -(-20 // max(1, delay))
