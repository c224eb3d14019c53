"""Keys of the terminal as buttons, for whoever stands beside the robot: one letter, no Enter."""

from __future__ import annotations

import os
import select
import sys
import threading
from types import TracebackType
from typing import Any, TextIO

from ..progress import tell
from .buttons import press
from .operator import Operator

try:
    import termios
    import tty
except ImportError:  # of a system that has no such terminals
    termios = tty = None

KEYS = {
    " ": "estop",
    "e": "estop",
    "h": "hold",
    "r": "run",
    "x": "stop",
    "u": "release",
    "s": "success",
    "f": "failure",
    "n": "reset",
}
HELP = "keys: space emergency stop, u release it, h hold, r run, x stop, s success, f failure, n reset"
_LOOK = 0.1  # seconds between looks whether it is over


class Keys:
    """Presses buttons as keys are pressed, in a thread of its own, between `with` and its end.

    Where the input is no terminal there are no keys, and nothing changes.
    """

    def __init__(self, operator: Operator, source: TextIO | None = None) -> None:
        """Press the buttons of an operator by the keys of a terminal; None is the standard input."""
        self._operator, self._source = operator, sys.stdin if source is None else source
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        self._before: list[Any] = []

    @property
    def there(self) -> bool:
        """Whether there are keys."""
        return termios is not None and self._source.isatty()

    def __enter__(self) -> Keys:
        """Take single keys from now on."""
        if self.there and termios is not None and tty is not None:
            self._operator.person.present = True
            self._before = termios.tcgetattr(self._source)
            tty.setcbreak(self._source)  # Ctrl-C stays what it is
            self._thread = threading.Thread(target=self._listen, name="keys", daemon=True)
            self._thread.start()
            tell(HELP)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the terminal as it was."""
        self._over.set()
        if self._thread is not None and termios is not None:
            self._thread.join(5.0)
            termios.tcsetattr(self._source, termios.TCSADRAIN, self._before)

    def _listen(self) -> None:
        number = self._source.fileno()
        while not self._over.is_set():
            if not select.select([number], [], [], _LOOK)[0]:
                continue
            pressed = os.read(number, 1).decode("ascii", "replace").lower()
            if not pressed:
                return  # the terminal is gone
            refused = press(self._operator, KEYS[pressed], "key") if pressed in KEYS else ""
            if refused:
                tell(refused)
