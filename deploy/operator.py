"""What an operator does around an episode: reset the robot, see that it shows itself, arm, and hear how it went."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from ..data.robots.messages import Message
from ..data.robots.names import BOOL, STRING, TRIGGER, WHOLE, full_topic
from ..errors import LaminarError
from ..progress import tell
from .controller import HEARTBEAT, Controller
from .person import Person
from .record import NOTHING, Record
from .supervisor import State
from .told import Told
from .transport import Answer, Transport

_RESET_WITHIN, _FRESH_WITHIN = 30.0, 5.0  # seconds
RESET, RESTARTED = "reset by the operator", "the robot was started anew"
"""Why an episode is over that began from where it did not go on."""


class Operator:
    """Starts and ends the episodes of a robot.

    Attributes:
        told: what the policy is told; None of one that takes no instructions.
        person: who watches, if anybody does.
        success: whether this episode was one, as the robot tells, or a person for a robot that never does; None where
            nobody has told.
    """

    def __init__(
        self,
        controller: Controller,
        transport: Transport,
        record: Record = NOTHING,
        clock: Callable[[], float] = time.monotonic,
        told: Told | None = None,
    ) -> None:
        """Listen to what tells of success, of emergency stops, and of life; and offer the emergency stop as a service.

        That is NAMESPACE/laminar/estop, a std_srvs/srv/Trigger: whoever calls it has stopped the robot when it answers.
        Beside it are laminar/success, failure and reset, which end the episode as the buttons of these names do.

        Args:
            controller: of the robot.
            transport: to it.
            record: of what happens.
            clock: seconds, steady.
            told: what the policy is told, as the robot then is, where it has a topic for that, on which others may say
                something else.
        """
        self.told = told
        if told is not None:
            told.noted = lambda words: record.told(words, time.time())
        self._controller, self._transport, self._record, self._clock = controller, transport, record, clock
        self._robot, self._supervisor = controller.robot, controller.supervisor
        self.person = Person(self._supervisor)
        self._heard = False
        self._start: int | None = None  # number of the robot's start, as it shows it since this episode's reset
        self._restarted = False
        listens = (
            (self._robot.start, WHOLE, self._hear_start),
            (self._robot.success, BOOL, self._hear_success),
            (self._robot.estop, BOOL, self._hear_estop),
            (self._robot.heartbeat, self._robot.types.get(self._robot.heartbeat, ""), self._hear_heartbeat),
        )
        for topic, kind, handler in listens:
            if topic:
                transport.subscribe(topic, kind, handler)
        services: dict[str, Answer] = {
            "estop": self._estop_called,
            "success": lambda _: _answered(lambda: self.judge(True)),
            "failure": lambda _: _answered(lambda: self.judge(False)),
            "reset": lambda _: _answered(self.person.again),
        }
        for name, answer in services.items():
            transport.serve(full_topic(f"laminar/{name}", self._robot.namespace), TRIGGER, answer)
        if self._robot.seed:
            transport.advertise(self._robot.seed, WHOLE)
        if self._robot.instruction and told is not None:
            transport.advertise(self._robot.instruction, STRING)
            transport.subscribe(self._robot.instruction, STRING, self._hear_instruction)

    def _hear_success(self, message: Message, arrival: float) -> None:
        self._heard = self._heard or bool(message["data"])

    def _hear_start(self, message: Message, arrival: float) -> None:
        self._restarted = self._restarted or self._start not in (None, message["data"])
        self._start = message["data"]

    def _hear_estop(self, message: Message, arrival: float) -> None:
        if message["data"]:
            self._supervisor.estop(f"topic {self._robot.estop}")

    def _estop_called(self, request: dict[str, Any]) -> dict[str, Any]:
        self._supervisor.estop("the service laminar/estop was called")
        return {"success": True, "message": "stopped; to be released and armed again by an operator"}

    def _hear_heartbeat(self, message: Message, arrival: float) -> None:
        self._supervisor.beat(HEARTBEAT)

    def _hear_instruction(self, message: Message, arrival: float) -> None:
        assert self.told is not None
        self.told.hear(message["data"])

    @property
    def success(self) -> bool | None:
        """Whether this episode was one; None where nobody has told."""
        return self._heard if self._robot.success else self.person.verdict

    @property
    def ended(self) -> str:
        """Why this episode is over, as the robot or a person says; "" where nobody does."""
        if self._restarted:
            return RESTARTED
        if self.success:
            return "success"
        return "failure" if self.person.verdict is False else RESET if self.person.over else ""

    def judge(self, success: bool) -> None:
        """End the episode that runs as a success or a failure, of a robot that cannot tell.

        Raises:
            LaminarError: the robot tells itself, or nothing runs.
        """
        if self._robot.success:
            raise LaminarError(f"{self._robot.name} tells of success itself, at {self._robot.success}")
        self.person.judge(success)

    def start(self, seed: int | None) -> None:
        """Reset the robot, wait until it shows itself, and let it run; not before a person who watches allows it.

        Args:
            seed: to begin with, of a robot that takes one.

        Raises:
            LaminarError: the robot cannot be reset, shows nothing afterwards, or may not be armed.
        """
        self._supervisor.stop("reset")
        if not self._robot.reset:
            self.person.ask("put the robot to its start, then press Run")
        while True:
            self.person.wait()
            if self._supervisor.state is State.ESTOP:  # which came while nobody looked
                if self.person.present:
                    continue
                raise LaminarError(
                    "there was an emergency stop: release the emergency stop, and start anew; nothing was reset"
                )
            self._reset(seed)
            self._settle()
            if self.person.starts():
                break
        if self.told is not None:
            self._record.told(self.told.words, time.time())
        self._record.mark("begin", time.time())

    def stop(self, why: str) -> None:
        """End an episode: nothing is commanded any more. To bring the robot to rest before is the caller's."""
        self._supervisor.stop(why)
        judged = {True: "success", False: "failure", None: "end"}[self.success]
        self._record.mark(f"end: {why}" if why in (RESET, RESTARTED) else judged, time.time())

    def _reset(self, seed: int | None) -> None:
        moves = not self._controller.dry_run  # a reset may move the robot
        if moves and self._robot.seed and seed is not None:
            self._transport.publish(self._robot.seed, WHOLE, {"data": seed})
        if moves and self._robot.reset:
            told = self._transport.call(self._robot.reset, TRIGGER, {}, timeout=_RESET_WITHIN)
            if not told.get("success", False):
                raise LaminarError(f"{self._robot.name} was not reset: {told.get('message', '')!s:.80}")
        if moves and self._robot.instruction and self.told is not None:
            message = {"data": self.told.words}
            if not self._transport.publish(self._robot.instruction, STRING, message):
                tell(f"{self._robot.name} was not told '{self.told.words}': there is no connection")
        time.sleep(2 * self._controller.period)  # what is still on its way is of before
        self._heard, self._start, self._restarted = False, None, False
        self.person.begin()
        self._controller.perception.forget()

    def _settle(self) -> None:
        """Wait until everything was seen."""
        perception = self._controller.perception
        until = self._clock() + _FRESH_WITHIN
        while self._clock() < until:
            if perception.look(wait=0.1) is None:
                continue
            perception.calibrate()
            if not perception.trouble():
                self._controller.warm()
                return
        why = perception.trouble() or "its topics have no instant in common"
        raise LaminarError(f"{self._robot.name} does not show what is needed within {_FRESH_WITHIN:g} s: {why}")


def _answered(act: Callable[[], None]) -> dict[str, Any]:
    """Do something, and return the answer of a Trigger."""
    try:
        act()
    except LaminarError as error:
        return {"success": False, "message": str(error)}
    return {"success": True, "message": ""}
