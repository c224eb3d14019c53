"""Errors that a user can act on: one line that names what is wrong, where, and the remedy."""

from __future__ import annotations

import signal
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any


class LaminarError(Exception):
    """A mistake in the input (file, key, shape, configuration), not a bug. The command line exits with 2."""

    def __init__(self, message: str) -> None:
        """Keep the message on one line, whatever values from a file are in it."""
        super().__init__(" ".join(line.strip() for line in message.splitlines()))


class Stopped(KeyboardInterrupt):
    """A signal stopped the work, and what could be kept of it is kept. The command line exits with 128 + its number.

    Attributes:
        number: of the signal.
        found: what an evaluation had found by then; None where there is nothing.
    """

    def __init__(self, number: int = signal.SIGINT, found: Any = None, message: str = "") -> None:
        """Stop with a line for the user, or without one where all has been said."""
        super().__init__(message)
        self.number, self.found = number, found


def nearest(word: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the closest known word, or ``""`` when none is close."""
    close = get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f"; did you mean '{close[0]}'?" if close else ""
