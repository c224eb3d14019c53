"""What a person can press, on the page or as keys: one word each, and nothing else is understood."""

from __future__ import annotations

from collections.abc import Callable

from ..errors import LaminarError
from .operator import Operator

BUTTONS: dict[str, Callable[[Operator, str], None]] = {
    "run": lambda operator, who: operator.person.run(who),
    "hold": lambda operator, who: operator.person.hold(who),
    "stop": lambda operator, who: operator.person.stop(who),
    "estop": lambda operator, who: operator.person.estop(who),
    "release": lambda operator, who: operator.person.release(who),
    "success": lambda operator, who: operator.judge(True),
    "failure": lambda operator, who: operator.judge(False),
    "reset": lambda operator, who: operator.person.again(),
}


def press(operator: Operator, word: str | bytes, who: str) -> str:
    """Do what a button says, at once, and return why it could not be done; "" where it was.

    Args:
        operator: of the robot.
        word: the button.
        who: has pressed it, which is the reason of what changes: "status page".
    """
    act = BUTTONS.get(word) if isinstance(word, str) else None
    if act is None:
        return f"no button is called {word!r:.40}"
    try:
        act(operator, who)
    except LaminarError as error:
        return str(error)
    return ""
