"""The reference of all settings: defaults, comments and bounds of every dataclass that a verb or a choice brings.

`reference.json` has it for `laminar VERB --help`, which thus imports neither PyTorch nor a simulator; docs/settings.md
has it for readers. Both are made of the dataclasses and their comments, and a test holds them against each other:

    make settings      # that is python -m laminar.configs.reference docs/settings.md
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

from ..settings import bounds
from .compose import GROUPS, SCHEMAS, flat_keys, schemas
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


def from_classes() -> dict[str, Schema]:
    """Describe all that the verbs and choices bring, by the names in `schemas`."""
    nodes = {place: node for verb in SCHEMAS for place, node in schemas(verb)}
    return {place: schema_of(node() if isinstance(node, type) else node) for place, node in nodes.items()}


def from_record() -> dict[str, Schema]:
    """Read what `from_classes` said when the record was made."""
    stored = json.loads(RECORDED.read_text(encoding="utf-8"))
    return {place: Schema(**one) for place, one in stored.items()}


def to_json(reference: Mapping[str, Schema]) -> str:
    """Return the text of the record."""
    return json.dumps({place: asdict(one) for place, one in reference.items()}, indent=1, ensure_ascii=False) + "\n"


def to_markdown(reference: Mapping[str, Schema]) -> str:
    """Return the page: a table for each verb, and below `train` for each member of its groups."""
    lines = [_HEAD]
    for verb in SCHEMAS:
        lines += _section(f"## laminar {verb}", "", reference[f"{verb}_schema"])
        for group in GROUPS[verb]:
            for place, one in reference.items():
                if verb == "train" and place.startswith(f"{group}/") and group != "runtime":
                    name = one.defaults.get("process", one.defaults)["name"]
                    lines += _section(f"### {_chosen(group, name)}", f"{group}.", one)
    return "\n".join(lines)


_HEAD = """# Settings

Every setting of every verb, `laminar VERB key=value …`, made by `make settings` from the dataclasses in the code.
`laminar VERB --help` shows the same for the choices on its line. Some choices, such as `method=td3bc`, change defaults:
the help shows to what.
"""


def _chosen(group: str, name: str) -> str:
    brought = {"q_learning": "dql, ofql, fql, iql, td3bc, rebrac", "distillation": "reflow, ctm"}
    return f"{group}={brought.get(name, name)}"


def _section(heading: str, prefix: str, schema: Schema) -> list[str]:
    lines = [heading, "", schema.about, "", "| setting | default | |", "|---|---|---|"]
    keys = [key for key in flat_keys(schema.defaults) if key.rpartition(".")[2] != "name"]
    for key in keys:
        value: Any = schema.defaults
        for part in key.split("."):
            value = value[part]
        if not isinstance(value, dict) and not (prefix == "" and key in ("policy", "network", "method")):
            text = schema.remarks.get(key, "").replace("|", "\\|")
            lines.append(f"| `{prefix}{key}` | {json.dumps(value, ensure_ascii=False)} | {text} |")
    return [*lines, ""]


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


def main(page: str) -> None:
    """Write the record, and the page to a file."""
    reference = from_classes()
    RECORDED.write_text(to_json(reference), encoding="utf-8")
    Path(page).write_text(to_markdown(reference), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
