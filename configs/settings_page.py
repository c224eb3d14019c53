"""The reference of all settings, made of the dataclasses and their comments: docs/settings.md, and what the help reads.

make settings      # that is python -m laminar.configs.settings_page docs/settings.md
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .compose import FAMILIES, GROUPS, SCHEMAS, schemas
from .reference import RECORDED, Schema, flat_keys, names_with, schema_of


def from_classes() -> dict[str, Schema]:
    """Describe all that the verbs and choices bring, by the names in `schemas`."""
    nodes = {place: node for verb in SCHEMAS for place, node in schemas(verb)}
    return {place: schema_of(node() if isinstance(node, type) else node) for place, node in nodes.items()}


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
                if group in FAMILIES and place.startswith(f"{group}/"):
                    member = place.rpartition("/")[2].removesuffix("_schema")
                    lines += _section(f"### {group}={', '.join(names_with(group, member))}", f"{group}.", one)
    return "\n".join(lines)


_HEAD = """# Settings

Every setting of every verb, `laminar VERB key=value …`, made by `make settings` from the dataclasses in the code.
`laminar VERB --help` shows the same for the choices on its line. Some choices, such as `method=td3bc`, change defaults:
the help shows to what.
"""


def _section(heading: str, prefix: str, schema: Schema) -> list[str]:
    lines = [heading, "", schema.about, "", "| setting | default | |", "|---|---|---|"]
    keys = [key for key in flat_keys(schema.defaults) if key.rpartition(".")[2] != "name"]
    for key in keys:
        value: Any = schema.defaults
        for part in key.split("."):
            value = value[part]
        if not isinstance(value, dict) and not (prefix == "" and key in FAMILIES):
            text = schema.remarks.get(key, "").replace("|", "\\|")
            lines.append(f"| `{prefix}{key}` | {json.dumps(value, ensure_ascii=False)} | {text} |")
    return [*lines, ""]


def main(page: str) -> None:
    """Write the record, and the page to a file."""
    reference = from_classes()
    RECORDED.write_text(to_json(reference), encoding="utf-8")
    Path(page).write_text(to_markdown(reference), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
