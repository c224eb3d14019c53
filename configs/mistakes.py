"""What a user may have meant by a word that is no setting: the line that says so."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

from ..errors import LaminarError, nearest
from .reference import flat_keys, from_record, names_with

_PLACES = {  # setting that a lone path of a verb is probably for
    "train": "data.path",
    "eval": "policy.path",
    "replay": "policy.path",
    "plan": "policy.path",
    "bench": "policy.path",
    "export": "policy.path",
    "schedule": "policy.path",
    "serve": "policy.path",
    "deploy": "policy.path",
    "simulate": "robot",
    "collect": "out",
    "language": "data.path",
    "view": "data.path",
}
_NUMBER = re.compile(r"[+-]?(\d[\d_]*\.?\d*|\.\d+)([eE][+-]?\d+)?")


def no_setting(verb: str, word: str, after: str | None) -> LaminarError:
    """Return the error of a word that is not `key=value`.

    Args:
        verb: the verb.
        word: as it was typed.
        after: the word that follows.
    """
    if word.startswith("-"):
        bare = word.lstrip("-")
        value = after if after is not None and "=" not in after and not after.startswith("-") else "…"
        return LaminarError(
            f"'{word}': settings are written without dashes, {bare if '=' in bare else f'{bare}={value}'}"
        )
    place = _PLACES.get(verb)
    if place and (os.path.lexists(word) or "/" in word or "." in word):
        return LaminarError(f"'{word}' is not key=value; did you mean {place}={word}?")
    return LaminarError(f"'{word}' is not key=value")


def unknown(verb: str, key: str, known: Sequence[str], groups: Sequence[str]) -> LaminarError:
    """Return the error of an unknown setting.

    Args:
        verb: the verb.
        key: what was typed.
        known: all settings, for the choices on the line.
        groups: what is chosen by name.
    """
    text = f"unknown setting '{key}' for laminar {verb}"
    ends = [one for one in known if one.endswith(f".{key}")]
    if key and ends:
        return LaminarError(f"{text}; did you mean {' or '.join(map(repr, ends))}?")
    group = key.partition(".")[0]
    others = _members_with(group, key.partition(".")[2]) if group in groups else []
    if others:
        return LaminarError(f"{text} and these choices; there is one with {group}={_listed(others)}")
    return LaminarError(f"{text}{nearest(key, [*known, *groups])}")


def not_whole(key: str, text: str, allowed: str) -> LaminarError | None:
    """Return the error of a number that is not written as a whole one, `1e4` or `1.5`; None for any other text."""
    if not _NUMBER.fullmatch(text) or re.fullmatch(r"[+-]?[\d_]+", text):
        return None
    value = float(text)
    written = f"; write {key}={value:.0f}" if abs(value) < 1e15 and value.is_integer() else ""
    return LaminarError(f"{key} must be {allowed}, got {text}{written}")


def _listed(names: Sequence[str]) -> str:
    return " or ".join([*([", ".join(names[:-1])] if names[1:] else []), names[-1]])


def _members_with(group: str, key: str) -> list[str]:
    """Return the members of a group that have a setting."""
    places = [place for place, one in from_record().items() if key in flat_keys(one.defaults)]
    members = [
        place.removeprefix(f"{group}/").removesuffix("_schema") for place in places if place.startswith(f"{group}/")
    ]
    return sorted({name for member in members for name in names_with(group, member)})
