"""The bridge dies, stands still or goes silent at any moment: the loop holds, nothing old arrives, it comes back."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from laminar.data.robots.description import Watch
from laminar.data.robots.messages import Types
from laminar.deploy.rosbridge import Rosbridge, Settings
from laminar.deploy.supervisor import State

from .bus_arm import COUNT
from .ros_master import free_port
from .steady import Steady, arm

WATCH = Watch(arrival=0.25, stamp=0.25, actions=0.5, transport=0.25)
MAX_AGE = 0.5  # seconds: as it is configured, of the client here
BUSY = 0.2  # seconds that this machine may be late with anything
BACK_WITHIN = 20.0  # seconds


class Bridge:
    """A robot behind a bridge, in a process that can be treated badly."""

    def __init__(self, log: Path) -> None:
        self.port, self.log = free_port(), log
        self.start()

    def start(self) -> None:
        script = str(Path(__file__).with_name("bus_arm.py"))
        self.process = subprocess.Popen(
            [sys.executable, script, str(self.port), str(self.log)], stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().strip()
        assert self.url, "the bridge did not start"

    def send(self, number: signal.Signals) -> None:
        os.kill(self.process.pid, number)

    def kill(self, seconds: float) -> None:
        """Die, and be started again later."""
        self.process.kill()
        self.process.communicate()
        time.sleep(seconds)
        self.start()

    def stop(self, seconds: float) -> None:
        """Stand still."""
        self.send(signal.SIGSTOP)
        time.sleep(seconds)
        self.send(signal.SIGCONT)

    def silence(self, seconds: float) -> None:
        """Have a network on which everything vanishes, and no end of a connection is told."""
        self.send(signal.SIGUSR1)
        time.sleep(seconds)
        self.send(signal.SIGUSR2)

    def ages(self) -> list[float]:
        """Return how old each command was when it came."""
        return [float(now) - float(stamp) for now, stamp in map(str.split, self.log.read_text().splitlines())]

    def end(self) -> None:
        self.send(signal.SIGCONT)
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def bridge(tmp_path: Path) -> Iterator[Bridge]:
    one = Bridge(tmp_path / "commands")
    yield one
    one.end()


class Run:
    """The control loop over a bridge, and what it does in each outage."""

    def __init__(self, bridge: Bridge) -> None:
        self.bridge = bridge
        self.transport = Rosbridge(Types(), Settings(bridge.url, ping=0.5, max_age=MAX_AGE), "ros1")
        self.transport.open(10)
        self.steady = Steady(self.transport, arm(50.0, WATCH))
        self.counted: list[float] = []
        self.transport.subscribe("/arm/count", COUNT, lambda message, arrival: self.counted.append(arrival))
        self.steady.operator.start(None)
        self.held: list[float] = []
        self.began = self.ended = 0.0

    def outage(self, badly: Callable[[float], None], seconds: float, after: float) -> None:
        """Go through one: `after` seconds from now something happens, in another thread."""
        steady, supervisor = self.steady, self.steady.supervisor

        def happen() -> None:
            time.sleep(after)
            self.began = time.monotonic()
            badly(seconds)
            self.ended = time.monotonic()

        self.began = self.ended = float("inf")
        mischief, before = threading.Thread(target=happen), len(supervisor.log)
        mischief.start()
        assert steady.until(lambda: time.monotonic() > self.began and steady.is_in(State.HOLD)(), 2000)
        self.held.append(
            next(one.time for one in supervisor.log[before:] if one.time > self.began and one.after is State.HOLD)
            - self.began
        )
        assert steady.until(lambda: time.monotonic() > self.ended, 2000)
        mischief.join()
        until = time.monotonic() + BACK_WITHIN
        back = lambda: steady.is_in(State.RUNNING)() and bool(self.counted) and self.counted[-1] > self.ended  # noqa: E731
        assert steady.until(lambda: back() or time.monotonic() > until, 10**6)
        assert back(), f"{supervisor.log[-1]}, {self.transport.last_refusal}, last count {self.counted[-1]}"
        resumed = next(one.time for one in reversed(supervisor.log) if one.after is State.RUNNING)
        last = steady.perception.last
        assert last is not None
        assert resumed > self.began
        assert last.arrival > self.ended - BUSY, "what it goes on from was seen after the outage"

    def check(self, outages: int) -> None:
        """Look at all of it."""
        ages = self.bridge.ages()
        old = [age for age in ages if age > MAX_AGE]
        print(
            f"{outages} outages: {len(ages)} commands, oldest {max(ages):.3f} s, {len(old)} older than {MAX_AGE:g} s; "
            f"HOLD within {max(self.held):.3f} s; {self.transport.reconnects} reconnects, "
            f"{self.steady.controller.counts.dropped} commands dropped"
        )
        assert not old, old
        assert len(self.held) == outages
        assert max(self.held) < max(WATCH.arrival, WATCH.stamp) + BUSY

    def close(self) -> None:
        self.transport.close()


@pytest.fixture
def run(bridge: Bridge) -> Iterator[Run]:
    one = Run(bridge)
    yield one
    one.close()


def test_some_outages(run: Run) -> None:
    bridge, random_ = run.bridge, random.Random(0)
    for badly in (bridge.kill, bridge.stop, bridge.silence, bridge.kill):
        run.outage(badly, 1.0, random_.uniform(0.1, 0.3))
    run.check(4)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_fifty_outages(run: Run) -> None:
    bridge, random_ = run.bridge, random.Random(1)
    for number in range(50):
        badly = (bridge.kill, bridge.stop, bridge.silence)[number % 3]
        seconds = 5.0 if badly == bridge.stop else random_.uniform(0.4, 5.0)
        run.outage(badly, seconds, random_.uniform(0.2, 2.0))
    run.check(50)
