"""Episodes on a robot: reset, run the policy until success or time is up, stop; and what came of each."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from ..data.robots.description import Robot
from ..data.robots.messages import Message
from ..errors import LaminarError
from .controller import Controller
from .pace import Pace
from .perception import Perception
from .record import NOTHING, Record
from .supervisor import State, Supervisor
from .transports.transport import Transport

BOOL, WHOLE, TRIGGER = "std_msgs/msg/Bool", "std_msgs/msg/Int64", "std_srvs/srv/Trigger"
_FRESH_WITHIN = 5.0  # seconds after a reset within which everything has to be seen


@dataclass(frozen=True)
class Episode:
    """One episode.

    Attributes:
        seed: that the robot was asked to begin with; None where it takes none.
        success: as the robot tells; None where it does not.
        seconds: that it took.
        why: it ended.
    """

    seed: int | None
    success: bool | None
    seconds: float
    why: str


class Episodes:
    """Runs episodes of one controller, in the calling thread."""

    def __init__(
        self,
        controller: Controller,
        perception: Perception,
        transport: Transport,
        pace: Pace,
        seconds: float,
        record: Record = NOTHING,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Listen to what tells of success and of emergency stops.

        Args:
            controller: of the robot.
            perception: of it, subscribed.
            transport: to it.
            pace: of control periods.
            seconds: that an episode lasts at most.
            record: of what happens.
            clock: seconds, steady.
        """
        self._controller, self._perception, self._transport = controller, perception, transport
        self._pace, self._seconds, self._record, self._clock = pace, seconds, record, clock
        self._success = False
        robot = controller.robot
        if robot.success:
            transport.subscribe(robot.success, BOOL, self._hear_success)
        if robot.estop:
            transport.subscribe(robot.estop, BOOL, self._hear_estop)
        if robot.heartbeat:
            transport.subscribe(robot.heartbeat, robot.types[robot.heartbeat], self._hear_heartbeat)
        if robot.seed:
            transport.advertise(robot.seed, WHOLE)

    @property
    def _robot(self) -> Robot:
        return self._controller.robot

    @property
    def _supervisor(self) -> Supervisor:
        return self._controller.supervisor

    def _hear_success(self, message: Message, arrival: float) -> None:
        self._success = self._success or bool(message["data"])

    def _hear_estop(self, message: Message, arrival: float) -> None:
        if message["data"]:
            self._supervisor.estop(f"topic {self._robot.estop}")

    def _hear_heartbeat(self, message: Message, arrival: float) -> None:
        self._supervisor.beat("heartbeat")

    def run(self, seed: int | None) -> Episode:
        """Run one episode.

        Args:
            seed: to begin with, of a robot that takes one.

        Raises:
            LaminarError: the robot cannot be reset, or shows nothing afterwards.
        """
        self._reset(seed)
        self._settle()
        begun = self._clock()
        self._record.mark("begin", time.time())
        self._supervisor.arm("episode")
        self._supervisor.run("episode")
        self._pace.start(begun)
        why = self._until_over(begun)
        self._supervisor.stop(why)
        success = self._success if self._robot.success else None
        self._record.mark({True: "success", False: "failure", None: "end"}[success], time.time())
        return Episode(seed if self._robot.seed else None, success, self._clock() - begun, why)

    def _reset(self, seed: int | None) -> None:
        if self._robot.seed and seed is not None:
            self._transport.publish(self._robot.seed, WHOLE, {"data": seed})
        if self._robot.reset:
            told = self._transport.call(self._robot.reset, TRIGGER, {}, timeout=10.0)
            if not told.get("success", False):
                raise LaminarError(f"{self._robot.name} was not reset: {told.get('message', '')!s:.80}")
        time.sleep(2 * self._controller.period)  # what is still on its way is of before
        self._success = False
        self._perception.forget()

    def _settle(self) -> None:
        """Wait until everything was seen."""
        until = self._clock() + _FRESH_WITHIN
        while self._clock() < until:
            if self._perception.look(wait=0.1) is None:
                continue
            self._perception.calibrate()
            if not self._perception.trouble():
                self._controller.warm()
                return
        why = self._perception.trouble() or "what it shows has no instant in common"
        raise LaminarError(f"{self._robot.name} does not show what the policy needs within {_FRESH_WITHIN:g} s: {why}")

    def _until_over(self, begun: float) -> str:
        while True:
            self._pace.wait()
            state = self._controller.tick()
            if self._success:
                return "success"
            if state is State.ESTOP:
                return "emergency stop"
            if state is State.IDLE:
                return "stopped"
            if self._clock() - begun > self._seconds:
                return f"{self._seconds:g} s are over"
