"""The reference of all settings: defaults, comments and bounds of every dataclass that a verb or a choice brings.

`reference.json` has it, so that `laminar VERB --help` imports neither PyTorch nor a simulator; made by `settings_page`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

from ..settings import bounds
from .notes import notes_of

RECORDED = Path(__file__).with_name("reference.json")


@dataclass(frozen=True)
class Schema:
    """The settings of one dataclass.

    Attributes:
        about: what the class is, a line.
        defaults: plain values, nested.
        remarks: comment, and what it may be, of each setting by its dotted key.
    """

    about: str
    defaults: dict[str, Any]
    remarks: dict[str, str]


def schema_of(config: Any) -> Schema:
    """Describe a dataclass object, whose values are the defaults."""
    may = bounds(config)
    remarks = {key: _joined(note, may.get(key, "")) for key, note in _notes(config)}
    return Schema(_about(type(config)), asdict(config), {key: text for key, text in remarks.items() if text})


def from_record() -> dict[str, Schema]:
    """Read what `from_classes` said when the record was made."""
    stored = json.loads(RECORDED.read_text(encoding="utf-8"))
    return {place: Schema(**one) for place, one in stored.items()}


def names_with(group: str, member: str) -> list[str]:
    """Return the names that choose a member of a group: its own, and those of further settings of it."""
    files = (RECORDED.parent / group).glob("*.yaml")
    return sorted(file.stem for file in files if f"- {member}_schema\n" in file.read_text(encoding="utf-8"))


def flat_keys(config: Any) -> list[str]:
    """Dotted keys of all nodes and leaves of nested dictionaries."""
    keys: list[str] = []
    for key, value in config.items():
        keys.append(str(key))
        if isinstance(value, dict):
            keys += [f"{key}.{below}" for below in flat_keys(value)]
    return keys


def _notes(config: Any, where: str = "") -> Iterator[tuple[str, str]]:
    """Yield dotted key and comment of each setting, also of the groups."""
    notes = notes_of(type(config))
    for one in fields(config):
        value, key = getattr(config, one.name), f"{where}{one.name}"
        if is_dataclass(value):
            yield key, notes[one.name] or _about(type(value)).rstrip(".")
            yield from _notes(value, f"{key}.")
        elif one.name != "name":
            yield key, notes[one.name]


def _about(kind: type[Any]) -> str:
    return (kind.__doc__ or "").split("\n")[0]


def _joined(note: str, may: str) -> str:
    note = note.rstrip(".")
    return f"{note} ({may})" if note and may else note or may
