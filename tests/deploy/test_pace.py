"""A steady rate by absolute deadlines, with a clock that the test moves."""

from __future__ import annotations

from itertools import pairwise

import pytest

from laminar.deploy.pace import Pace


class Clock:
    def __init__(self) -> None:
        self.time, self.oversleeps = 10.0, 0.0

    def __call__(self) -> float:
        self.time += 1e-6  # looking takes time, so that spinning ends
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += seconds + (self.oversleeps if seconds else 0.0)


def test_deadlines_do_not_drift_however_long_the_work_takes() -> None:
    clock = Clock()
    pace = Pace(0.1, clock, clock.sleep)
    pace.start(10.0)
    begun = []
    for number in range(50):
        begun.append(pace.wait())
        clock.time += 0.09 if number % 2 else 0.01
    assert begun == pytest.approx([10.0 + 0.1 * number for number in range(50)], abs=1e-4)
    assert pace.told()["missed"] == 0.0


def test_a_late_wake_is_spun_away() -> None:
    clock = Clock()
    clock.oversleeps = 0.0005
    pace = Pace(0.1, clock, clock.sleep)
    pace.start(10.0)
    for _ in range(20):
        pace.wait()
    assert pace.told()["late_ms_max"] < 0.01


def test_whole_periods_that_are_over_are_missed_and_the_grid_stays() -> None:
    clock = Clock()
    pace = Pace(0.1, clock, clock.sleep)
    pace.start(10.0)
    pace.wait()
    clock.time += 0.35  # the deadlines 10.1, 10.2 and 10.3 go by
    assert pace.wait() == pytest.approx(10.35, abs=1e-3)
    assert pace.missed == 3, "10.4 is too soon after it"
    assert pace.wait() == pytest.approx(10.5, abs=1e-3)
    told = pace.told()
    assert told["periods"] == 6
    assert told["missed"] == pytest.approx(3 / 6)
    assert told["late_ms_max"] == pytest.approx(250, abs=1)


def test_deadlines_move_to_soon_after_events_of_another_clock() -> None:
    clock = Clock()
    pace = Pace(0.1, clock, clock.sleep)
    pace.start(10.0)
    begun, event = [], 10.04  # 40 ms after the first deadline, by a clock that is a thousandth slower
    for _ in range(200):
        begun.append(pace.wait())
        while event + 0.1001 < begun[-1]:
            event += 0.1001
        pace.follow(event)
    lengths = [b - a for a, b in pairwise(begun)]
    assert begun[-1] - event == pytest.approx(0.005, abs=0.003)
    assert min(lengths) > 0.0949
    assert max(lengths) < 0.1051
    assert pace.missed == 0
