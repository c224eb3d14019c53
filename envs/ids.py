"""Environment ids that carry arguments, as the query of a URL: "laminar/Playroom-v0?scene=D&task=open_drawer".

So one string names an environment in settings, on the command line and in results.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, unquote

from ..errors import LaminarError


def split_id(env_id: str) -> tuple[str, dict[str, Any]]:
    """Split "NAME?key=value&key=value" into the name and the environment's arguments.

    Values are percent-decoded; true, false, none, integers and decimals are read as such, all else is text.

    Raises:
        LaminarError: an empty query, a part that is no key=value, or a key given twice.
    """
    name, mark, query = env_id.partition("?")
    arguments: dict[str, Any] = {}
    for part in query.split("&") if mark else []:
        key, equals, value = part.partition("=")
        if not (key and equals):
            raise LaminarError(f"'{part}' in environment '{env_id}' is not key=value; write NAME?key=value&key=value")
        if unquote(key) in arguments:
            raise LaminarError(f"argument '{unquote(key)}' is given twice in environment '{env_id}'; give it once")
        arguments[unquote(key)] = _value(unquote(value))
    return name, arguments


def without(env_id: str, argument: str) -> str:
    """Return an id without one of its arguments."""
    name, mark, query = env_id.partition("?")
    kept = [part for part in query.split("&") if mark and unquote(part.partition("=")[0]) != argument]
    return f"{name}?{'&'.join(kept)}" if kept else name


def extended(env_id: str, arguments: Mapping[str, str]) -> str:
    """Return an id with further arguments, which it must not have."""
    words = "&".join(f"{key}={quote(text, safe='')}" for key, text in arguments.items())
    return f"{env_id}{'&' if '?' in env_id else '?'}{words}" if words else env_id


def _value(word: str) -> Any:
    words = {"true": True, "false": False, "none": None}
    if word.lower() in words:
        return words[word.lower()]
    for kind in (int, float):
        try:
            return kind(word)
        except ValueError:
            pass
    return word
