"""Around an episode: it starts once the robot shows itself and no person wants it to wait, and hears how it went."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from typing import Any

import pytest

from laminar.data.robots.names import WHOLE
from laminar.deploy.operator import RESET, RESTARTED, Operator
from laminar.deploy.record import Nothing
from laminar.deploy.supervisor import State
from laminar.errors import LaminarError

from .toy_robot import RATE, Rig


class Marks(Nothing):
    """Keeps the marks of episodes."""

    def __init__(self, marks: list[str]) -> None:
        self.marks = marks

    def mark(self, text: str, seconds: float) -> None:
        self.marks.append(text)


class Shown(Rig):
    """A robot that shows itself whenever somebody looks."""

    def __init__(self, **roles: str) -> None:
        super().__init__()
        types = {**self.robot.types, **dict.fromkeys(roles.values(), WHOLE)}
        self.controller.robot = replace(self.robot, **roles, types=types)
        self.marks: list[str] = []
        record = Marks(self.marks)
        self.operator = Operator(self.controller, self.transport, record)
        self._look = self.perception.look
        self.perception.look = self.look  # type: ignore[method-assign]
        self.skewed = False

    def look(self, wait: float = 0.0) -> Any:
        self.time += 1 / RATE
        if self.skewed:  # the rest of an instant of which the other topic was forgotten, and half of the next one
            self.skewed = False
            self.shown = lambda topic, message: message if topic == "/scene" else None
            self.show()
            self.time += 1 / RATE
            self.shown = lambda topic, message: message if topic == "/joints" else None
            self.show()
            self.shown = lambda topic, message: message
        else:
            self.show()
        return self._look(wait)


@pytest.fixture
def rig() -> Shown:
    return Shown()


def beside(act: Any) -> threading.Thread:
    thread = threading.Thread(target=act, daemon=True)
    thread.start()
    return thread


def until(there: Any) -> None:
    end = time.monotonic() + 10
    while not there():
        assert time.monotonic() < end
        time.sleep(0.001)


def test_it_resets_and_starts(rig: Shown) -> None:
    rig.operator.start(None)
    assert rig.supervisor.state is State.RUNNING
    assert rig.operator.success is None


def test_what_was_forgotten_between_two_topics_of_an_instant_is_waited_for(rig: Shown) -> None:
    rig.skewed = True
    rig.operator.start(None)
    assert not rig.skewed
    assert rig.supervisor.state is State.RUNNING


def test_a_verdict_ends_with_its_episode(rig: Shown) -> None:
    with pytest.raises(LaminarError, match="cannot judge while idle"):
        rig.operator.judge(True)
    rig.operator.start(None)
    rig.operator.judge(True)
    assert rig.operator.success is True
    rig.operator.stop("success")
    rig.operator.start(None)
    assert rig.operator.success is None


def call(rig: Shown, service: str) -> dict[str, Any]:
    return rig.transport.call(f"/laminar/{service}", "std_srvs/srv/Trigger", {}, 1.0)


@pytest.mark.parametrize(("service", "success"), [("success", True), ("failure", False), ("reset", None)])
def test_services_mark_an_episode_as_the_buttons_do(rig: Shown, service: str, success: bool | None) -> None:
    told = call(rig, service)
    assert not told["success"]
    assert "while idle: no episode runs" in told["message"]
    rig.operator.start(None)
    assert rig.operator.ended == ""
    assert call(rig, service) == {"success": True, "message": ""}
    assert rig.operator.ended == {"reset": RESET}.get(service, service)
    assert rig.operator.success is success
    rig.operator.stop(rig.operator.ended)
    assert rig.marks[-1] == {True: "success", False: "failure", None: f"end: {RESET}"}[success]
    rig.operator.start(None)
    assert rig.operator.ended == ""


def test_a_robot_that_tells_of_success_is_not_contradicted() -> None:
    rig = Shown(success="/success")
    rig.operator.start(None)
    told = call(rig, "success")
    assert not told["success"]
    assert "tells of success itself, at /success" in told["message"]
    assert call(rig, "reset")["success"], "it may begin anew all the same"


def test_a_robot_that_was_started_anew_ends_the_episode() -> None:
    """A simulator that came back stands at another start: what follows is no outcome of this one."""
    rig = Shown(start="/start")

    def tell(number: int) -> None:
        rig._side.publish("/start", WHOLE, {"data": number})

    tell(7)
    rig.operator.start(None)
    for _ in range(2):
        tell(8)  # after the reset that this episode began with
    assert rig.operator.ended == ""
    tell(9)
    assert rig.operator.ended == RESTARTED
    rig.operator.stop(rig.operator.ended)
    assert rig.marks[-1] == f"end: {RESTARTED}"
    rig.operator.start(None)
    tell(9)
    assert rig.operator.ended == ""


def test_an_emergency_stop_ends_a_run_that_nobody_watches(rig: Shown) -> None:
    rig.supervisor.estop("test")
    with pytest.raises(LaminarError, match="release the emergency stop"):
        rig.operator.start(None)


@pytest.mark.parametrize("act", ["stop", "hold", "estop"])
@pytest.mark.parametrize("moment", ["reset", "armed"])
def test_what_a_person_stops_before_it_begins_does_not_begin(rig: Shown, act: str, moment: str) -> None:
    person, look, run = rig.operator.person, rig.look, rig.supervisor.run
    person.present, done = True, False

    def once() -> None:
        nonlocal done
        if not done:
            done = True
            getattr(person, act)("test")

    def look_and_stop(wait: float = 0.0) -> Any:
        once()
        return look(wait)

    def stop_and_run(reason: str) -> None:
        once()
        run(reason)

    if moment == "reset":
        rig.perception.look = look_and_stop  # type: ignore[method-assign]
    else:
        rig.supervisor.run = stop_and_run  # type: ignore[method-assign]
    # a robot that is reset by hand waits for its person anyway: that one came and went
    starting = beside(lambda: rig.operator.start(None))
    until(lambda: person.wanted)
    person.run("test")
    until(lambda: done and person.wanted)
    until(lambda: rig.supervisor.state in (State.IDLE, State.ESTOP))
    assert starting.is_alive()
    assert not rig.commands
    if act == "estop":
        person.release("test")
    person.run("test")
    starting.join(timeout=10)
    assert rig.supervisor.state is State.RUNNING
