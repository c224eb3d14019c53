"""Who may move the robot and why not: states, watchdogs, and an emergency stop that stays.

    IDLE --arm--> ARMED --run--> RUNNING        HOLD from ARMED and RUNNING, and back to where it came from
    ESTOP from anywhere                         IDLE from ESTOP by `release` alone

A robot moves in RUNNING only. HOLD is what a watchdog does: the measured pose is commanded until everything is there
again, newer than the hold; one that a person wanted (`pause`) stays until `resume`. Whoever reads a state may find it
changed a moment later, so commands are sent inside `commanding`, which an emergency stop waits for: after `estop` has
returned, nothing is sent.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from itertools import pairwise

from ..errors import LaminarError


class State(Enum):
    """What a supervisor allows."""

    IDLE = "idle"  # nothing is commanded
    ARMED = "armed"  # the measured pose is commanded
    RUNNING = "running"  # the policy is followed
    HOLD = "hold"  # the measured pose is commanded, until what was missing is back
    ESTOP = "estop"  # nothing is commanded, until an operator releases it


@dataclass(frozen=True)
class Transition:
    """One change of state.

    Attributes:
        time: of the supervisor's clock.
        before, after: the states.
        reason: in words.
    """

    time: float
    before: State
    after: State
    reason: str


class Supervisor:
    """Owns the state; called from any thread.

    Attributes:
        log: every transition, with time and reason.
    """

    def __init__(self, watchdogs: Mapping[str, float], clock: Callable[[], float] = time.monotonic) -> None:
        """Begin idle.

        Args:
            watchdogs: source -> seconds after which it is missed, such as observations, actions, transport, heartbeat.
            clock: seconds, steady.

        Raises:
            LaminarError: there is none, or a time is not above 0.
        """
        if not watchdogs:
            raise LaminarError("a supervisor needs a watchdog: a hold ends when every source was seen again")
        for source, seconds in watchdogs.items():
            if not seconds > 0:
                raise LaminarError(f"the watchdog of {source} needs a time above 0 s, got {seconds:g}")
        self.log: list[Transition] = []
        self._watchdogs, self._clock = dict(watchdogs), clock
        self._lock = threading.RLock()
        self._state, self._since = State.IDLE, clock()
        self._begun = self._since
        self._held = State.ARMED  # what a hold goes back to
        self._paused = False  # a person wants the hold to stay
        self._stopping = False  # an emergency stop waits for the command that is being sent
        self._beats: dict[str, float] = {}

    @property
    def state(self) -> State:
        """Now."""
        return self._state

    def beat(self, source: str) -> None:
        """Tell that a source is there: an observation, a chunk, a connection.

        Raises:
            LaminarError: it has no watchdog.
        """
        if source not in self._watchdogs:
            raise LaminarError(f"no watchdog is called '{source}' (there are {sorted(self._watchdogs)})")
        with self._lock:
            self._beats[source] = self._clock()

    def missed(self) -> dict[str, float]:
        """Return the sources that are missed -> seconds since they were seen; infinite for never."""
        with self._lock:
            now = self._clock()
            ages = {source: now - self._beats.get(source, float("-inf")) for source in self._watchdogs}
            return {source: age for source, age in ages.items() if age > self._watchdogs[source]}

    def tick(self) -> State:
        """Let the watchdogs look, and return the state; once in each control period."""
        with self._lock:
            missed = self.missed()
            if self._state in (State.ARMED, State.RUNNING) and missed:
                self._change(State.HOLD, self._told(missed))
            elif self._state is State.HOLD and not self._paused and not missed and self._fresh():
                self._change(self._held, "everything is there again")
            return self._state

    def _fresh(self) -> bool:
        """Whether every source was seen since the hold began."""
        return all(self._beats.get(source, float("-inf")) > self._since for source in self._watchdogs)

    def _told(self, missed: Mapping[str, float]) -> str:
        return ", ".join(f"no {source} for {age:.3f} s" for source, age in missed.items())

    def arm(self, reason: str = "operator") -> None:
        """Command the measured pose from now on.

        Raises:
            LaminarError: an emergency stop was not released, or something is missed; says what.
        """
        with self._lock:
            self._need("arm", State.IDLE, State.ARMED)
            missed = self.missed()
            if missed:
                raise LaminarError(f"cannot arm: {self._told(missed)}")
            self._change(State.ARMED, reason)

    def run(self, reason: str = "operator") -> None:
        """Follow the policy from now on.

        Raises:
            LaminarError: it is not armed, or something is missed.
        """
        with self._lock:
            self._need("run", State.ARMED, State.RUNNING)
            missed = self.missed()
            if missed:
                raise LaminarError(f"cannot run: {self._told(missed)}")
            self._change(State.RUNNING, reason)

    def hold(self, reason: str) -> None:
        """Command the measured pose until every source was seen again; of no effect where nothing moves."""
        with self._lock:
            if self._state in (State.ARMED, State.RUNNING, State.HOLD):
                self._change(State.HOLD, reason)

    def pause(self, reason: str = "operator") -> None:
        """Hold until `resume`, however fresh everything is; of no effect where nothing moves."""
        with self._lock:
            self.hold(reason)
            self._paused = self._state is State.HOLD

    def resume(self, reason: str = "operator") -> None:
        """Let a hold end as soon as every source was seen again, from now on.

        Raises:
            LaminarError: it does not hold.
        """
        with self._lock:
            self._need("resume", State.HOLD)
            self._paused = False
            self._change(State.HOLD, reason)

    @property
    def paused(self) -> bool:
        """Whether it holds until `resume`."""
        return self._paused

    def settle(self, reason: str) -> None:
        """Command the measured pose in place of following the policy; of no effect where nothing moves."""
        with self._lock:
            if self._state in (State.RUNNING, State.HOLD):
                self._change(State.ARMED, reason)

    def stop(self, reason: str = "operator") -> None:
        """Command nothing from now on; an emergency stop stays one."""
        with self._lock:
            if self._state is not State.ESTOP:
                self._change(State.IDLE, reason)

    def estop(self, reason: str) -> None:
        """Command nothing from now on, until released. When this returns, the last command has been sent.

        Not to be called inside `commanding` of the same thread, nor by a signal handler, which may interrupt it there
        and cannot wait for it: let a handler set a flag, or call this in another thread.
        """
        self._stopping = True  # first: a lock is not fair, and who commands again and again could keep it for seconds
        with self._lock:
            self._change(State.ESTOP, reason)
            self._stopping = False

    def release(self, reason: str = "operator") -> None:
        """End an emergency stop, by an explicit act; the robot has to be armed again.

        Raises:
            LaminarError: there is none.
        """
        with self._lock:
            self._need("release", State.ESTOP)
            self._change(State.IDLE, reason)

    @contextmanager
    def commanding(self) -> Generator[State]:
        """Yield the state, which cannot change before the block ends: whether and what to send is decided inside.

        An emergency stop that waits for another block goes first: this one is told of it already.
        """
        if self._stopping:
            yield State.ESTOP
            return
        with self._lock:
            yield self._state

    def seconds_in(self, state: State, until: float | None = None) -> float:
        """Return how long a state was held in all, up to now or a time of the clock."""
        with self._lock:
            until = self._clock() if until is None else until
            begun = Transition(self._begun, State.IDLE, State.IDLE, "")
            times = [begun, *self.log, Transition(until, self._state, self._state, "")]
            return sum(max(0.0, min(b.time, until) - a.time) for a, b in pairwise(times) if a.after is state)

    def _need(self, what: str, *states: State) -> None:
        if self._state not in states:
            hint = "; release the emergency stop first" if self._state is State.ESTOP else ""
            raise LaminarError(f"cannot {what} while {self._state.value}{hint}")

    def _change(self, after: State, reason: str) -> None:
        if after is self._state and after is not State.HOLD:  # a hold for another reason begins anew
            return
        if after is State.HOLD and self._state is not State.HOLD:
            self._held = self._state
        self._paused = self._paused and after is State.HOLD
        self._since = self._clock()
        if after is not self._state or self.log[-1].reason != reason:
            self.log.append(Transition(self._since, self._state, after, reason))
        self._state = after
