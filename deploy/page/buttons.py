"""The buttons of the page: one word each, and nothing else is understood."""

from __future__ import annotations

from collections.abc import Callable

from ...errors import LaminarError
from ..operator import Operator

_WHO = "status page"
BUTTONS: dict[str, Callable[[Operator], None]] = {
    "run": lambda operator: operator.person.run(_WHO),
    "hold": lambda operator: operator.person.hold(_WHO),
    "stop": lambda operator: operator.person.stop(_WHO),
    "estop": lambda operator: operator.person.estop(_WHO),
    "release": lambda operator: operator.person.release(_WHO),
    "success": lambda operator: operator.judge(True),
    "failure": lambda operator: operator.judge(False),
}


def press(operator: Operator, word: str | bytes) -> str:
    """Do what a button says, at once, and return why it could not be done; "" where it was."""
    act = BUTTONS.get(word) if isinstance(word, str) else None
    if act is None:
        return f"no button is called {word!r:.40}"
    try:
        act(operator)
    except LaminarError as error:
        return str(error)
    return ""
