"""Limits hold in every command, whatever a policy wants, and an independent monitor says so."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from laminar.deploy.safety import Limits, SafetyFilter
from laminar.errors import LaminarError

PERIOD = 0.02


def limits(low: float = -1.0, high: float = 1.0, velocity: float = 0.5, acceleration: float = 2.0) -> Limits:
    return Limits(*(np.array([value]) for value in (low, high, velocity, acceleration)), names=("elbow",))


class Monitor:
    """Knows nothing of the filter: differences of the commands themselves, beginning at rest."""

    def __init__(self, limits: Limits, measured: np.ndarray) -> None:
        self.limits, self.last, self.velocity = limits, measured, np.zeros_like(measured)

    def check(self, command: np.ndarray) -> None:
        velocity = (command - self.last) / PERIOD
        slack = 1e-9
        assert np.isfinite(command).all()
        assert (command >= self.limits.low - slack).all()
        assert (command <= self.limits.high + slack).all()
        assert (np.abs(velocity) <= self.limits.velocity * (1 + slack) + slack).all()
        change = np.abs(velocity - self.velocity) / PERIOD
        assert (change <= self.limits.acceleration * (1 + 1e-6) + 1e-6).all()
        self.last, self.velocity = command, velocity


hostile = st.one_of(
    st.floats(-1e300, 1e300),
    st.floats(-2, 2),
    st.sampled_from([np.nan, np.inf, -np.inf, 0.0, 1e308, -1e308, 1.0, -1.0]),
)


@settings(max_examples=300, deadline=None)
@given(
    start=st.floats(-1, 1),
    velocity=st.floats(1e-3, 1e3),
    acceleration=st.floats(1e-3, 1e5),
    wanted=st.lists(hostile, min_size=1, max_size=200),
)
def test_limits_hold_whatever_is_wanted(
    start: float, velocity: float, acceleration: float, wanted: list[float]
) -> None:
    allowed = limits(velocity=velocity, acceleration=acceleration)
    monitor, filtered = Monitor(allowed, np.array([start])), SafetyFilter(allowed, PERIOD)
    filtered.start(np.array([start]))
    for value in wanted:
        if np.isfinite(value):
            monitor.check(filtered.command(np.array([value])))
        else:
            with pytest.raises(LaminarError, match="the command is not finite: elbow is"):
                filtered.command(np.array([value]))
            monitor.check(filtered.halt())


def hostile_run(commands: int) -> None:
    rng = np.random.default_rng(0)
    width = 7
    allowed = Limits(-np.ones(width), np.ones(width), np.full(width, 2.0), np.full(width, 15.0))
    monitor, filtered = Monitor(allowed, np.zeros(width)), SafetyFilter(allowed, PERIOD)
    filtered.start(np.zeros(width))
    refused = 0
    for _ in range(commands):
        wanted = rng.standard_normal(width) * 10.0 ** rng.integers(-3, 12)
        if rng.random() < 0.1:
            wanted[rng.integers(width)] = rng.choice([np.nan, np.inf, -np.inf])
        try:
            monitor.check(filtered.command(wanted))
        except LaminarError:
            refused += 1
            monitor.check(filtered.halt())
    assert refused > 0.05 * commands


def test_a_hostile_policy() -> None:
    hostile_run(20_000)


@pytest.mark.slow
def test_a_million_commands_of_a_hostile_policy() -> None:
    hostile_run(1_000_000)


def test_what_is_allowed_passes_as_it_is() -> None:
    filtered = SafetyFilter(limits(velocity=10.0, acceleration=1e6), PERIOD)
    filtered.start(np.array([0.0]))
    for wanted in (0.1, 0.15, 0.05, -0.1):
        assert filtered.command(np.array([wanted])) == pytest.approx([wanted])
    assert filtered.cut == 0
    filtered.command(np.array([0.9]))
    assert filtered.cut == 1


def test_it_reaches_a_limit_in_the_shortest_time_and_stops_there() -> None:
    """Full acceleration, full velocity, full braking: within two periods of the closed form, and never beyond."""
    allowed, filtered = limits(), SafetyFilter(limits(), PERIOD)
    filtered.start(np.array([-1.0]))
    positions = [-1.0]
    while positions[-1] < 1.0 - 1e-6:
        positions.append(filtered.command(np.array([50.0]))[0])
        assert len(positions) < 1000
    v, a, way = allowed.velocity[0], allowed.acceleration[0], 2.0
    shortest = way / v + v / a
    assert (len(positions) - 1) * PERIOD == pytest.approx(shortest, abs=3 * PERIOD)
    assert max(positions) <= 1.0


def test_the_first_command_is_near_the_measured_pose() -> None:
    """Activation once tripped a robot's own velocity limit elsewhere: the policy wants to be far away at once."""
    filtered = SafetyFilter(limits(), PERIOD)
    filtered.start(np.array([0.4]))
    first = filtered.command(np.array([-1.0]))
    assert first == pytest.approx([0.4 - 2.0 * PERIOD**2])


def test_halting() -> None:
    filtered = SafetyFilter(limits(), PERIOD)
    filtered.start(np.array([0.0]))
    for _ in range(40):
        moving = filtered.command(np.array([1.0]))
    stops = [filtered.halt() for _ in range(20)]
    assert filtered.resting
    assert stops[-1] - moving == pytest.approx(0.5**2 / (2 * 2.0), abs=0.5 * PERIOD), "v^2 / 2a"
    assert stops[-1] == stops[-2]


def test_from_outside_the_limits_only_back() -> None:
    filtered = SafetyFilter(limits(), PERIOD)
    filtered.start(np.array([1.3]))
    assert filtered.command(np.array([2.0])) == pytest.approx([1.3]), "not farther out"
    positions = [filtered.command(np.array([0.0]))[0] for _ in range(100)]
    assert all(after <= before for before, after in pairwise(positions))
    assert positions[-1] < 1.0


def test_without_limits_of_acceleration_or_position() -> None:
    free = limits(low=-np.inf, high=np.inf, acceleration=np.inf)
    filtered = SafetyFilter(free, PERIOD)
    filtered.start(np.array([5.0]))
    assert filtered.command(np.array([100.0])) == pytest.approx([5.0 + 0.5 * PERIOD])
    filtered = SafetyFilter(limits(velocity=np.inf, acceleration=np.inf), PERIOD)
    filtered.start(np.array([0.0]))
    assert filtered.command(np.array([7.0])) == pytest.approx([1.0])


def test_mistakes() -> None:
    with pytest.raises(LaminarError, match="elbow: the lower limit 2 is above the upper one, 1"):
        limits(low=2.0)
    with pytest.raises(LaminarError, match="limits of velocity must be above 0"):
        limits(velocity=0.0)
    with pytest.raises(LaminarError, match="one number for each of a command"):
        Limits(np.zeros(2), np.ones(3), np.ones(2), np.ones(2))
    for period in (0.0, -0.02, np.nan, np.inf):
        with pytest.raises(LaminarError, match="the period must be above 0"):
            SafetyFilter(limits(), period)
    free = SafetyFilter(limits(-np.inf, np.inf, np.inf, np.inf), 0.001)
    free.start(np.array([-1e308]))
    with pytest.raises(LaminarError, match="overflows"):
        free.command(np.array([1e308]))
    filtered = SafetyFilter(limits(), PERIOD)
    with pytest.raises(LaminarError, match="was not started"):
        filtered.command(np.zeros(1))
    with pytest.raises(LaminarError, match="the measured pose is not finite: elbow is nan"):
        filtered.start(np.array([np.nan]))
    filtered.start(np.zeros(1))
    with pytest.raises(LaminarError, match=r"the command has shape \(2,\), expected \(1,\)"):
        filtered.command(np.zeros(2))
