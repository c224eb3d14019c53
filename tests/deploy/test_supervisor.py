"""Who may move the robot: every way through the states, on a clock that the test turns."""

from __future__ import annotations

import threading
import time

import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from hypothesis.strategies import floats, sampled_from

from laminar.deploy.supervisor import State, Supervisor
from laminar.errors import LaminarError

SOURCES = {"observation": 0.1, "heartbeat": 0.5}


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def running(clock: Clock) -> Supervisor:
    supervisor = Supervisor(SOURCES, clock)
    for source in SOURCES:
        supervisor.beat(source)
    supervisor.arm()
    supervisor.run()
    return supervisor


def test_the_usual_way(running: Supervisor, clock: Clock) -> None:
    assert running.tick() is State.RUNNING
    clock.now += 0.05
    running.stop("episode over")
    assert running.state is State.IDLE
    told = [(one.before.value, one.after.value, one.reason) for one in running.log]
    assert told == [
        ("idle", "armed", "operator"),
        ("armed", "running", "operator"),
        ("running", "idle", "episode over"),
    ]
    assert running.seconds_in(State.RUNNING) == pytest.approx(0.05)


def test_a_missed_source_holds_and_only_news_of_all_ends_it(running: Supervisor, clock: Clock) -> None:
    clock.now += 0.11
    running.beat("heartbeat")
    assert running.tick() is State.HOLD
    assert running.log[-1].reason == "no observation for 0.110 s"
    clock.now += 0.01
    running.beat("observation")
    assert running.tick() is State.HOLD, "the heartbeat is in time, but older than the hold"
    running.beat("heartbeat")
    assert running.tick() is State.RUNNING
    assert running.seconds_in(State.HOLD) == pytest.approx(0.01)


def test_a_hold_goes_back_to_where_it_came_from(clock: Clock) -> None:
    supervisor = Supervisor({"observation": 0.1}, clock)
    supervisor.beat("observation")
    supervisor.arm()
    for _ in range(2):
        clock.now += 0.2
        assert supervisor.tick() is State.HOLD
        clock.now += 0.01
        supervisor.beat("observation")
        assert supervisor.tick() is State.ARMED, "nobody told it to run"


def test_nothing_is_armed_that_sees_nothing(clock: Clock) -> None:
    supervisor = Supervisor(SOURCES, clock)
    with pytest.raises(LaminarError, match="cannot arm: no observation for inf s, no heartbeat for inf s"):
        supervisor.arm()
    with pytest.raises(LaminarError, match="cannot run while idle"):
        supervisor.run()
    with pytest.raises(LaminarError, match="no watchdog is called 'obs'"):
        supervisor.beat("obs")
    with pytest.raises(LaminarError, match="the watchdog of eye needs a time above 0 s, got 0"):
        Supervisor({"eye": 0.0})
    with pytest.raises(LaminarError, match="needs a watchdog"):
        Supervisor({})


def test_nothing_runs_that_was_armed_long_ago(clock: Clock) -> None:
    supervisor = Supervisor({"observation": 0.1}, clock)
    supervisor.beat("observation")
    supervisor.arm()
    clock.now += 10
    with pytest.raises(LaminarError, match=r"cannot run: no observation for 10\.000 s"):
        supervisor.run()


def test_a_hold_that_goes_on_is_one_line_in_the_log(running: Supervisor, clock: Clock) -> None:
    for _ in range(100):
        running.hold("operator")
        clock.now += 0.01
    assert [one.reason for one in running.log].count("operator") == 3, "armed, run and held by the operator, each once"
    assert running.seconds_in(State.HOLD) == pytest.approx(1.0)
    assert running.seconds_in(State.IDLE) == 0
    assert running.seconds_in(State.HOLD, until=clock.now - 0.5) == pytest.approx(0.5)


def test_an_emergency_stop_stays(running: Supervisor) -> None:
    running.estop("button")
    for act in (running.arm, running.run):
        with pytest.raises(LaminarError, match="while estop; release the emergency stop first"):
            act()
    running.stop()
    running.hold("late")
    assert running.tick() is State.ESTOP
    running.release()
    assert running.state is State.IDLE
    with pytest.raises(LaminarError, match="cannot release while idle"):
        running.release()


def test_nothing_is_sent_after_an_emergency_stop_has_returned(running: Supervisor) -> None:
    """A command that is being sent is waited for, and it was the last one."""
    sent, stopped, inside = [], threading.Event(), threading.Event()

    def command() -> None:
        while not stopped.is_set() or len(sent) < 10:
            with running.commanding() as state:
                if state is not State.RUNNING:
                    return
                inside.set()
                time.sleep(0.001)
                sent.append(time.monotonic())

    thread = threading.Thread(target=command)
    thread.start()
    assert inside.wait(5)
    running.estop("page")
    returned = time.monotonic()
    stopped.set()
    thread.join(5)
    assert sent
    assert sent[-1] <= returned


def test_who_commands_again_and_again_does_not_go_before_an_emergency_stop(running: Supervisor) -> None:
    """A lock is not fair: it would let them, for seconds."""
    with running.commanding():
        stop = threading.Thread(target=running.estop, args=("page",))
        stop.start()
        told, late = State.RUNNING, time.monotonic() + 30
        while told is not State.ESTOP:
            assert time.monotonic() < late
            with running.commanding() as told:
                time.sleep(0.001)
        assert running.state is State.RUNNING, "the stop still waits for the first command"
    stop.join(30)
    assert running.state is State.ESTOP
    with running.commanding() as state:
        assert state is State.ESTOP


class AnyOrder(RuleBasedStateMachine):
    """In whatever order, the robot moves only when all was seen in time, and it was told to and not to stop since."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.supervisor = Supervisor(SOURCES, self.clock)
        self.seen = dict.fromkeys(SOURCES, -1e9)
        self.stopped = self.told = False

    @rule(seconds=floats(0.0, 1.0))
    def wait(self, seconds: float) -> None:
        self.clock.now += seconds
        self.supervisor.tick()

    @rule(source=sampled_from(sorted(SOURCES)))
    def beat(self, source: str) -> None:
        self.supervisor.beat(source)
        self.seen[source] = self.clock.now

    @rule(what=sampled_from(["arm", "run", "stop", "release"]))
    def operate(self, what: str) -> None:
        try:
            getattr(self.supervisor, what)()
        except LaminarError:
            return
        self.stopped &= what != "release"
        self.told = what == "run"

    @rule()
    def press(self) -> None:
        self.supervisor.estop("pressed")
        self.stopped, self.told = True, False

    @invariant()
    def holds(self) -> None:
        state = self.supervisor.tick()
        assert self.stopped == (state is State.ESTOP)
        if state is State.RUNNING:
            assert all(self.clock.now - self.seen[source] <= seconds for source, seconds in SOURCES.items())
            assert self.told


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def test_a_pause_stays_until_it_is_resumed_and_then_needs_news(running: Supervisor, clock: Clock) -> None:
    running.pause("hands off")
    for _ in range(5):
        clock.now += 0.01
        for source in SOURCES:
            running.beat(source)
        assert running.tick() is State.HOLD
    assert running.paused
    running.resume("go on")
    assert running.tick() is State.HOLD, "nothing was seen since"
    clock.now += 0.01
    for source in SOURCES:
        running.beat(source)
    assert running.tick() is State.RUNNING
    assert not running.paused
    with pytest.raises(LaminarError, match="cannot resume while running"):
        running.resume()


@pytest.mark.parametrize("end", ["stop", "estop"])
def test_a_pause_ends_with_what_moves(running: Supervisor, end: str) -> None:
    running.pause()
    getattr(running, end)("test")
    assert not running.paused
    running.pause()
    assert not running.paused, "nothing moves"
