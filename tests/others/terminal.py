"""A terminal of a certain width, and what stands on its screen at the end."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import termios
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from threading import Thread


def typed(action: Callable[[], object], columns: int) -> str:
    """Do something whose standard output and error are a terminal; return all that was written there."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    parts: list[bytes] = []
    reader = Thread(target=_read, args=(ours, parts))
    reader.start()
    try:
        stream = open(theirs, "w", buffering=1, encoding="utf-8")  # noqa: SIM115
        with stream, redirect_stdout(stream), redirect_stderr(stream):
            action()
    finally:
        reader.join()
        os.close(ours)
    return b"".join(parts).decode()


def _read(terminal: int, parts: list[bytes]) -> None:
    while True:
        try:
            part = os.read(terminal, 65536)
        except OSError:  # how Linux tells that nobody writes any more
            return
        if not part:
            return
        parts.append(part)


def screen(written: str, columns: int) -> list[str]:
    """Return the lines that are left on the screen, without spaces at their ends; long ones go on in the next row."""
    rows: dict[int, dict[int, str]] = {}
    row = column = 0
    for letter in written.replace("\x1b[A", "\v"):
        if letter == "\r":
            column = 0
        elif letter in "\n\v":
            row, column = (row + 1, 0) if letter == "\n" else (max(0, row - 1), column)
        else:
            assert letter != "\x1b", "a control sequence that this screen does not know"
            if column == columns:
                row, column = row + 1, 0
            rows.setdefault(row, {})[column] = letter
            column += 1
    lines = ["".join(cells.get(k, " ") for k in range(columns)).rstrip() for _, cells in sorted(rows.items())]
    return [line for line in lines if line]
