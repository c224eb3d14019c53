"""What `laminar VERB --help` shows: the choices, and every setting with its default, comment and bounds."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import yaml
from omegaconf import OmegaConf

from ..errors import LaminarError
from .compose import FAMILIES, GROUPS, choice_of, compose, options, registered, select
from .reference import from_record, schema_of

_FOLDED = 12  # names; the folders of a longer list are shown by theirs
_COLUMN, _WIDTH = 34, 120  # where comments begin, and where they are broken


def describe(verb: str, words: Sequence[str] = ()) -> str:
    """Every setting of a verb with its default as YAML, for the choices among some words; remarks are comments beside.

    Raises:
        LaminarError: an unknown choice; the nearest is named.
    """
    given = [word.partition("=") for word in words]
    chosen = [f"{key}={choice_of(verb, key, text)}" for key, _, text in given if key in GROUPS[verb]]
    if any(registered(group) for group in GROUPS[verb]):
        values, remarks = _of_classes(verb, chosen)
    else:
        try:
            values, remarks = _of_record(verb, chosen)
        except (LaminarError, KeyError):  # of a member that is newer than the record
            values, remarks = _of_classes(verb, chosen)
    text = yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=math.inf)
    return _beside_lines(text.rstrip("\n"), remarks)


def choices(verb: str, words: Sequence[str] = ()) -> list[str]:
    """Return a line for each group of a verb: the names that it accepts.

    A long list has folders in place of what is in them; one that is asked for, `experiment=d4rl/`, is opened.
    """
    asked = dict(word.split("=", 1) for word in words if word.endswith("/"))
    lines: list[str] = []
    hint = ""
    for group in GROUPS[verb]:
        names = options(group, verb)
        shown = names if len(names) <= _FOLDED else _inside(asked.get(group, ""), names)
        lines += [f"{group}={'|'.join(shown)}"] if names else []
        folder = next((name[:-1] for name in shown if name.endswith("/…")), None)
        hint = hint or (f"(… is a folder: laminar {verb} {group}={folder} --help opens it)" if folder else "")
    return [*lines, hint] if hint else lines


def shown(line: str) -> list[str]:
    """Return a line of choices as it is shown: two columns further in, broken between names where it is long."""
    lines, begin = [""], "  "
    for name in line.replace("|", "|\0").split("\0"):
        if len(begin + lines[-1] + name) > _WIDTH:
            lines[-1], begin = begin + lines[-1], " " * (line.find("=") + 3)
            lines.append("")
        lines[-1] += name
    return [*lines[:-1], begin + lines[-1]]


def _inside(folder: str, names: list[str]) -> list[str]:
    """Return the names in a folder, its own folders as "NAME/…"; all names begin in full."""
    within = [name.removeprefix(folder) for name in names if name.startswith(folder)]
    plain = [name for name in within if "/" not in name]
    folders = dict.fromkeys(f"{name.partition('/')[0]}/…" for name in within if "/" in name)
    return [f"{folder}{name}" for name in (*plain, *folders)]


def _of_classes(verb: str, chosen: Sequence[str]) -> tuple[dict[str, Any], dict[str, str]]:
    config = compose(verb, list(chosen))
    return asdict(config), schema_of(config).remarks


def _of_record(verb: str, chosen: Sequence[str]) -> tuple[dict[str, Any], dict[str, str]]:
    reference = from_record()
    values: Any = OmegaConf.to_container(select(verb, chosen, ((k, one.defaults) for k, one in reference.items())))
    remarks = dict(reference[f"{verb}_schema"].remarks)
    for group in FAMILIES.keys() & {*GROUPS[verb]}:
        member = reference[f"{group}/{_member(group, values[group])}_schema"]
        remarks |= {f"{group}.{key}": text for key, text in member.remarks.items()}
    return values, remarks


def _member(group: str, values: Mapping[str, Any]) -> str:
    if group != "policy":
        return str(values["name"])
    process = str(values["process"]["name"])
    return f"planner_{process}" if "horizon" in values else process


def _beside_lines(text: str, remarks: Mapping[str, str]) -> str:
    """Add remarks, by dotted key, as comments to the lines of YAML that indents by two."""
    lines: list[str] = []
    above: list[str] = []
    for line in text.split("\n"):
        key, colon, _ = line.strip().partition(":")
        remark = None
        if colon and not key.startswith("- "):
            above[(len(line) - len(line.lstrip())) // 2 :] = [key]
            remark = remarks.get(".".join(above))
        lines += _with_comment(line, remark) if remark else [line]
    return "\n".join(lines)


def _with_comment(line: str, remark: str) -> list[str]:
    column = max(_COLUMN, len(line) + 2)
    first, *more = textwrap.wrap(remark, max(_WIDTH - column - 2, 40), break_long_words=False, break_on_hyphens=False)
    return [f"{line.ljust(column)}# {first}", *(f"{'':{column}}# {rest}" for rest in more)]
