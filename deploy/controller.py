"""The control loop: look, plan, filter, command; once a control period, and whatever happens.

A controller is told when a period begins and does what is to be done in it. It never waits for the network longer than
a part of the period, and does nothing that the supervisor does not allow.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..data.robots.description import Robot
from ..data.robots.messages import Types
from ..errors import LaminarError
from ..policies.acting import Actor
from ..policies.observations import Windows
from .commands import TRAJECTORY, check_outputs, limits_of, messages_of
from .perception import Perception, Sight
from .planner import Planner, Request
from .record import NOTHING, Record
from .safety import SafetyFilter
from .scheduler import ChunkScheduler
from .supervisor import State, Supervisor
from .transports.transport import Transport

Vector = NDArray[np.float64]
_PATIENCE = 0.4  # of a control period that is waited for a chunk, where chunks usually come as fast
_EXPECTING = 0.3  # of a control period that is waited for an observation which is due
OBSERVATIONS, ACTIONS, TRANSPORT, HEARTBEAT = "observations", "actions", "transport", "heartbeat"


def watchdogs_of(robot: Robot) -> dict[str, float]:
    """Return the watchdogs of a robot, for a supervisor."""
    watch = robot.watch
    found = {OBSERVATIONS: max(watch.arrival, watch.stamp), ACTIONS: watch.actions, TRANSPORT: watch.transport}
    return found | ({HEARTBEAT: watch.heartbeat} if robot.heartbeat else {})


@dataclass
class Counts:
    """What happened in a run.

    Attributes:
        commands: sent, in control periods.
        dropped: that could not be sent.
        latencies: seconds from an observation's arrival to the command that follows from it, without inference.
    """

    commands: int = 0
    dropped: int = 0
    latencies: list[float] = field(default_factory=lambda: [])


class Controller:
    """One policy and one robot.

    Attributes:
        counts: what happened.
    """

    def __init__(
        self,
        robot: Robot,
        transport: Transport,
        types: Types,
        perception: Perception,
        supervisor: Supervisor,
        scheduler: ChunkScheduler,
        planner: Planner,
        actor: Actor,
        record: Record = NOTHING,
        dry_run: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Put the parts together.

        Args:
            robot: as it fits the policy: `Robot.fitting`.
            transport: to it, open.
            types: of its messages.
            perception: of it, subscribed.
            supervisor: with the watchdogs of `watchdogs_of`.
            scheduler: of the policy's chunks.
            planner: that makes them.
            actor: keeps the history.
            record: of what happens.
            dry_run: compute everything and send nothing.
            clock: seconds, steady.

        Raises:
            LaminarError: a command cannot be made as the robot's description says.
        """
        check_outputs(robot, types)
        self.robot, self.counts = robot, Counts()
        self.supervisor, self.scheduler, self.planner, self.perception = supervisor, scheduler, planner, perception
        self._transport, self._types, self._actor, self._record = transport, types, actor, record
        self._dry_run, self._clock = dry_run, clock
        self.period = 1.0 / robot.rate_hz
        self._filter = SafetyFilter(limits_of(robot), self.period)
        self._followed = self._told = 0  # changes of state that were acted on, and that were told
        self._asked: int | None = None  # slot for which a chunk was asked last
        self._still: Vector | None = None  # what moves nothing
        self._command: Vector | None = None  # the last one
        self._waited = 0.0
        for topic in {output.topic for output in robot.action}:
            transport.advertise(topic, robot.types[topic])

    def warm(self) -> None:
        """Tell the supervisor that everything is there, before the first control period of an episode."""
        for source in (OBSERVATIONS, ACTIONS, TRANSPORT):
            self.supervisor.beat(source)

    def tick(self) -> State:
        """Do what is to be done in the control period that begins now, and return the state."""
        now = self._clock()
        sight = self._look()
        self._beat(sight)
        state = self.supervisor.tick()
        self._follow(state, now)
        if state is State.RUNNING:
            self._plan(now)
        with self.supervisor.commanding() as state:
            self._act(state, now, sight)
        self._tell()
        return state

    def _look(self) -> Sight | None:
        """Return what is new; what cannot be understood is a reason to hold."""
        wait = _EXPECTING * self.period if self.perception.due(self.period) else 0.0
        try:
            sight = self.perception.look(wait)
        except LaminarError as error:
            self.supervisor.hold(str(error))
            return None
        trouble = self.perception.trouble()
        if trouble:
            self.supervisor.hold(trouble)
            return None
        return sight

    def _beat(self, sight: Sight | None) -> None:
        if sight is not None:
            self.supervisor.beat(OBSERVATIONS)
        if self._transport.connected:
            self.supervisor.beat(TRANSPORT)
        if self.supervisor.state is not State.RUNNING:
            self.supervisor.beat(ACTIONS)  # nobody asks for any

    def _follow(self, state: State, now: float) -> None:
        """Do what changes of state need; one that came back to where it was since the last period is one, too."""
        changes = self.supervisor.log[self._followed :]
        self._followed += len(changes)
        if not changes or state is State.IDLE or state is State.ESTOP:
            return
        self._still = self.perception.pose(self._command)
        if self._still is None:
            return
        if any(change.before in (State.IDLE, State.ESTOP) for change in changes):
            self._filter.start(self._still)
        if state is State.RUNNING:
            self._actor.reset()
            self.scheduler.begin(now)
            self._asked = None

    def _plan(self, now: float) -> None:
        """Ask for a chunk where one is due, and take what has come."""
        sight = self.perception.last
        assert sight is not None  # nothing runs that was not seen
        try:
            windows = self._actor.observe({key: value[None] for key, value in sight.observation.items()})
            self._ask(windows, now)
            for chunk in self.planner.take():
                self.scheduler.add(chunk)
        except LaminarError as error:
            self.supervisor.hold(str(error))

    def _ask(self, windows: Windows, now: float) -> None:
        slot, execute = self.scheduler.slot(now), self._actor.policy.spec.execute
        self._waited = 0.0
        if (self._asked is not None and slot - self._asked < execute) or not self.planner.idle:
            return
        self._asked, usual, budget = slot, self.planner.usual, _PATIENCE * self.period
        delay = 0 if usual <= budget else math.ceil(usual / self.period)
        self.planner.ask(Request(windows, now, self.scheduler.epoch, self.scheduler.planned(), delay))
        if usual <= budget:
            begun = self._clock()
            self.planner.wait(budget)
            self._waited = self._clock() - begun

    def _act(self, state: State, now: float, sight: Sight | None) -> None:
        """Send the command of this period; called while the state cannot change."""
        if state in (State.IDLE, State.ESTOP) or self._still is None:
            return
        wanted = self._still
        if state is State.RUNNING:
            starved = self.scheduler.starved
            action = self.scheduler.pop(now)
            wanted = wanted if action is None else action
            if action is not None and self.scheduler.starved == starved:
                self.supervisor.beat(ACTIONS)
        try:
            self._command = self._filter.command(wanted)
            planned = self.scheduler.planned() if state is State.RUNNING else self._still[None]
            commands = np.concatenate([self._command[None], self._filter.ahead(planned[: _points(self.robot)])])
        except LaminarError as error:
            self.supervisor.hold(str(error))
            return
        self._send(messages_of(self.robot, self._types, commands, self._transport.now()), sight)

    def _send(self, messages: Mapping[str, Mapping[str, Any]], sight: Sight | None) -> None:
        if self._dry_run:
            return
        sent = True
        if self.perception.last is not None:
            self._record.observed(self.perception.last.instant, time.time())
        for topic, message in messages.items():
            if self._transport.publish(topic, self.robot.types[topic], message):
                self._record.commanded(topic, message, time.time())
            else:
                sent = False
        self.counts.commands += sent
        self.counts.dropped += not sent
        if sight is not None:
            self.counts.latencies.append(self._clock() - sight.arrival - self._waited)

    def _tell(self) -> None:
        """Keep a record of changes of state."""
        for change in self.supervisor.log[self._told :]:
            self._record.transition(f"{change.before.value} -> {change.after.value}: {change.reason}", time.time())
            self._told += 1


def _points(robot: Robot) -> int:
    """Return how many commands are shown ahead, beyond that of this period: trajectories show some."""
    shown = [output.points for output in robot.action if robot.types[output.topic] == TRAJECTORY]
    return max(shown, default=1) - 1
