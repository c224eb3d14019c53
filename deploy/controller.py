"""The control loop: look, plan, filter, command; once a control period, and whatever happens.

A controller is told when a period begins and does what is to be done in it. It never waits for the network longer than
a part of the period, and does nothing that the supervisor does not allow.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..data.robots.description import Robot
from ..data.robots.messages import Types
from ..errors import LaminarError
from .commands import TRAJECTORY, check_outputs, limits_of, messages_of
from .others import Others
from .perception import Perception, Sight
from .pilot import Pilot
from .record import NOTHING, Record
from .safety import SafetyFilter
from .supervisor import State, Supervisor
from .transport import Transport

Vector = NDArray[np.float64]
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
    """One pilot and one robot.

    Attributes:
        counts: what happened.
        period: seconds.
        dry_run: whether nothing is sent.
    """

    def __init__(
        self,
        robot: Robot,
        transport: Transport,
        types: Types,
        perception: Perception,
        supervisor: Supervisor,
        pilot: Pilot,
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
            pilot: who decides.
            record: of what happens.
            dry_run: compute everything and send nothing.
            clock: seconds, steady.

        Raises:
            LaminarError: a command cannot be made as the robot's description says.
        """
        check_outputs(robot, types)
        self.robot, self.counts = robot, Counts()
        self.supervisor, self.pilot, self.perception = supervisor, pilot, perception
        self._transport, self._types, self._record = transport, types, record
        self.dry_run, self._clock = dry_run, clock
        self.period = 1.0 / robot.rate_hz
        self._filter = SafetyFilter(limits_of(robot), self.period)
        self._followed = self._told = 0  # changes of state that were acted on, and that were told
        self._still: Vector | None = None  # what moves nothing
        self._command: Vector | None = None  # the last one
        listens = transport.echoes and not dry_run  # which may watch another controller
        self._others = Others(robot, transport) if listens else None
        for topic in {output.topic for output in robot.action}:
            transport.advertise(topic, robot.types[topic])

    @property
    def command(self) -> Vector | None:
        """The last command (A,); None before the first."""
        return self._command

    @property
    def resting(self) -> bool:
        """Whether the last command was the one before."""
        return self._filter.resting

    @property
    def cut(self) -> int:
        """Control periods in which limits have changed what was wanted."""
        return self._filter.cut

    def warm(self) -> None:
        """Tell the supervisor that everything is there, before the first control period of an episode."""
        for source in (OBSERVATIONS, ACTIONS, TRANSPORT):
            self.supervisor.beat(source)

    def tick(self) -> State:
        """Do what is to be done in the control period that begins now, and return the state."""
        return self.act(self.look())

    def look(self) -> Sight | None:
        """Return what is new, and let the supervisor know; None where nothing is, or cannot be understood."""
        sight = self._look()
        if sight is not None:
            self.supervisor.beat(OBSERVATIONS)
        if self._transport.connected:
            self.supervisor.beat(TRANSPORT)
        if self.supervisor.state is not State.RUNNING:
            self.supervisor.beat(ACTIONS)  # nobody asks for any
        return sight

    def act(self, sight: Sight | None = None) -> State:
        """Send the command of this period, and return the state.

        Args:
            sight: what `look` has returned; how long ago it came is measured.
        """
        now = self._clock()
        state = self.supervisor.tick()
        self._follow(state, now)
        action = self._decide(now) if state is State.RUNNING else None
        with self.supervisor.commanding() as state:
            self._follow(state, now)  # a hold since a moment ago is one, too
            self._tell()  # before what is sent in it: a command belongs to the state that the record has last
            self._act(state, action, sight)
        self._tell()
        return state

    def _look(self) -> Sight | None:
        """Return what is new; what cannot be understood is a reason to hold."""
        wait = _EXPECTING * self.period if self.perception.due(self.period) else 0.0
        try:
            sight = self.perception.look(wait)
            trouble = self.perception.trouble() or self._commanded_by_others()
        except LaminarError as error:
            sight, trouble = None, str(error)
        if trouble and self.supervisor.state is not State.HOLD:  # which lasts until something is seen again
            self.supervisor.hold(trouble)
        return None if trouble else sight

    def _commanded_by_others(self) -> str:
        return "" if self._others is None else self._others.trouble(self._clock())

    def _follow(self, state: State, now: float) -> None:
        """Do what changes of state need; one that came back to where it was since the last period is one, too."""
        changes = self.supervisor.log[self._followed :]
        self._followed += len(changes)
        if not changes or state is State.IDLE or state is State.ESTOP:
            return
        self._still = self.perception.pose(self._command)
        if self._still is None:
            return
        if any(change.before in (State.IDLE, State.ESTOP) for change in changes) or (
            state is not State.HOLD and self._elsewhere(self._still)
        ):
            self._filter.start(self._still)
        if state is State.RUNNING:
            self.pilot.begin(now)

    def _elsewhere(self, still: Vector) -> bool:
        """Whether the robot was moved or started anew meanwhile: further off than it goes before it is missed."""
        if self._command is None:
            return False
        watch = self.robot.watch
        reach = self._filter.limits.velocity * max(watch.arrival, watch.stamp)
        measured = np.concatenate([np.full(one.width, one.positions) for one in self.robot.action])
        return bool((measured & (np.abs(still - self._command) > reach)).any())

    def _decide(self, now: float) -> Vector | None:
        """Return the action (A,) that the pilot wants; None where it has none, or a wrong one."""
        sight = self.perception.last
        assert sight is not None  # nothing runs that was not seen
        try:
            action = self.pilot.decide(sight.observation, now)
        except LaminarError as error:
            self.supervisor.hold(str(error))
            return None
        if self.pilot.fresh:
            self.supervisor.beat(ACTIONS)
        return action

    def _act(self, state: State, action: Vector | None, sight: Sight | None) -> None:
        """Send the command of this period; called while the state cannot change."""
        if state in (State.IDLE, State.ESTOP) or self._still is None:
            return
        moves = state is State.RUNNING and action is not None
        try:
            self._command = self._filter.command(action if moves and action is not None else self._still)
            planned = self.pilot.planned() if moves else self._still[None]
            commands = np.concatenate([self._command[None], self._filter.ahead(planned[: _points(self.robot)])])
        except LaminarError as error:
            self.supervisor.hold(str(error))
            return
        messages = messages_of(self.robot, self._types, commands, self.perception.now())
        if not self.dry_run:
            self._send(messages)
        if moves and sight is not None:
            self.counts.latencies.append(self._clock() - sight.arrival - self.pilot.waited)

    def _send(self, messages: Mapping[str, Mapping[str, Any]]) -> None:
        sent = True
        if self.perception.last is not None:
            self._record.observed(self.perception.last.instant, time.time())
        for topic, message in messages.items():
            if self._others is not None:
                self._others.sending(topic, message)
            if self._transport.publish(topic, self.robot.types[topic], message):
                self._record.commanded(topic, message, time.time())
            else:
                sent = False
        self.counts.commands += sent
        self.counts.dropped += not sent

    def _tell(self) -> None:
        """Keep a record of changes of state."""
        for change in self.supervisor.log[self._told :]:
            self._record.transition(f"{change.after.value}: {change.reason}", time.time())
            self._told += 1


def _points(robot: Robot) -> int:
    """Return how many commands are shown ahead, beyond that of this period: trajectories show some."""
    shown = [output.points for output in robot.action if robot.types[output.topic] == TRAJECTORY]
    return max(shown, default=1) - 1
