"""Keys of a terminal are buttons; a terminal is left as it was."""

from __future__ import annotations

import io
import os
import time
from collections.abc import Iterator
from typing import Any

import pytest

from laminar.deploy.keys import KEYS, Keys
from laminar.deploy.operator import Operator
from laminar.deploy.supervisor import State

from .toy_robot import Rig

pty = pytest.importorskip("pty", reason="needs a system with terminals")
termios = pytest.importorskip("termios")


@pytest.fixture
def terminal() -> Iterator[tuple[int, Any]]:
    """Return the side of the fingers, and that of the program."""
    fingers, program = pty.openpty()
    with os.fdopen(program, "r") as source:
        yield fingers, source
    os.close(fingers)


def until(condition: Any) -> None:
    end = time.monotonic() + 5.0
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_a_key_stops_at_once_and_another_releases(terminal: tuple[int, Any]) -> None:
    fingers, source = terminal
    rig = Rig()
    operator = Operator(rig.controller, rig.transport)
    rig.start()
    rig.run(2)
    before = termios.tcgetattr(source)
    with Keys(operator, source):
        assert operator.person.present
        os.write(fingers, b" ")
        until(lambda: rig.supervisor.state is State.ESTOP)
        assert rig.reason == "key"
        os.write(fingers, b"q?u")
        until(lambda: rig.supervisor.state is State.IDLE)
    assert termios.tcgetattr(source) == before


def test_what_cannot_be_done_is_told(terminal: tuple[int, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    fingers, source = terminal
    told: list[str] = []  # reading the captured output while a thread writes may lose a line
    monkeypatch.setattr("laminar.deploy.keys.tell", told.append)
    rig = Rig()
    with Keys(Operator(rig.controller, rig.transport), source):
        os.write(fingers, b"u")
        until(lambda: any("cannot release" in line for line in told))


def test_without_a_terminal_there_are_no_keys() -> None:
    rig = Rig()
    operator = Operator(rig.controller, rig.transport)
    with Keys(operator, io.StringIO(" ")) as keys:
        assert not keys.there
    assert not operator.person.present
    assert rig.supervisor.state is State.IDLE


def test_every_button_has_a_key() -> None:
    from laminar.deploy.buttons import BUTTONS

    assert set(KEYS.values()) == set(BUTTONS)
