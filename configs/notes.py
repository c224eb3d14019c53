"""What is written beside the fields of a dataclass in its source: the comments, which the help shows."""

from __future__ import annotations

import ast
import inspect
import io
import re
import textwrap
import tokenize
from dataclasses import fields
from typing import Any

_NOQA = re.compile(r"noqa(: ?[\w, ]+)?(#|$)")


def notes_of(kind: type[Any]) -> dict[str, str]:
    """Return the comment of each field of a dataclass: the lines right above it, then what stands behind it.

    Fields that it has from another class have theirs there. Without its source, as in a frozen program, none has any.
    """
    found: dict[str, str] = {}
    for owner in reversed(kind.__mro__):
        if "__dataclass_fields__" in vars(owner):
            found |= _written_in(owner)
    return {one.name: found.get(one.name, "") for one in fields(kind)}


def _written_in(owner: type[Any]) -> dict[str, str]:
    try:
        source = textwrap.dedent(inspect.getsource(owner))
    except (OSError, TypeError):
        return {}
    comments, above = _comments(source)
    body = next(node for node in ast.parse(source).body if isinstance(node, ast.ClassDef)).body
    found: dict[str, str] = {}
    for node in body:
        if not (isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)):
            continue
        first = node.lineno
        while first - 1 in above:
            first -= 1
        lines = range(first, (node.end_lineno or node.lineno) + 1)
        found[node.target.id] = " ".join(comments[line] for line in lines if comments.get(line))
    return found


def _comments(source: str) -> tuple[dict[int, str], set[int]]:
    """Return the text of the comment in each line, without marks for tools, and the lines that are comments alone."""
    comments: dict[int, str] = {}
    alone: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            comments[token.start[0]] = _NOQA.sub("", token.string.lstrip("# ")).strip("# ")
            if not token.line[: token.start[1]].strip():
                alone.add(token.start[0])
    return comments, alone
