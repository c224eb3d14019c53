"""The words of a command line that are no settings, and what is said where they are wrong."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable

from ..errors import LaminarError


def paths_in(words: list[str], is_setting: Callable[[str], bool]) -> tuple[list[str], list[str]]:
    """Return the words that are paths, `-new` too where there is something of that name, and the others."""
    paths = [word for word in words if not is_setting(word) and (word[:1] != "-" or os.path.lexists(word))]
    return paths, [word for word in words if word not in paths]


def usage_of(verb: str, form: str, words: list[str]) -> LaminarError:
    """Return the mistake of words that are not of the form that a verb takes."""
    dashed = [f"; a path with '-' in front is written {shlex.quote(f'./{word}')}" for word in words if word[:1] == "-"]
    return LaminarError(f"usage: laminar {verb} {form}, got {shlex.join(words) or 'nothing'}{''.join(dashed[:1])}")


def need(value: object, verb: str, what: str) -> None:
    """Raise unless there is a value.

    Raises:
        LaminarError: says what the verb needs.
    """
    if not value:
        raise LaminarError(f"laminar {verb} needs {what}")
