r"""What the text after `key=` says where a name is wanted: its very characters, whatever a grammar would make of them.

    out=epoch=3 (it's new)           as it stands
    out='null'  out="it's"           in quotes, which are not part of it; inside, a backslash goes before \ and quotes
    data.path=[a.hdf5,b (1).hdf5]    a list, where one may be; names with a comma or a quote in front go in quotes

`null` is no name. A path may begin with `~/`, the home folder. Where something is called exactly as it was typed,
quotes, brackets and commas included, that is what is meant; and `./` before a path makes all its characters plain.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

from ..errors import LaminarError
from ..machine import at_home
from ..settings import Text

_WORDS = {None: "null", True: "true", False: "false"}
_QUOTED = r"""'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)\""""
_WHOLE = re.compile(_QUOTED, re.DOTALL)
_ITEM = re.compile(rf"\s*(?:{_QUOTED}|[^,]*?)\s*(?:,|$)", re.DOTALL)


def read_text(key: str, text: str, kind: Text) -> str | list[str] | None:
    """Return the name in the text of a setting, the names in a list, or None for null.

    Raises:
        LaminarError: the text is not UTF-8, an item of a list is empty, or null is given where a name is needed.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        byte = ord(text[error.start]) - 0xDC00  # how Python keeps bytes of the command line that are no text
        raise LaminarError(f"{key}={text!r} has the byte 0x{byte & 0xFF:02x}, which is no UTF-8; rename it") from error
    if kind.path and _exists(text):
        return text
    if text == "null":
        if not kind.null:
            raise LaminarError(f"{key} must be a name, got null; a name that is null is written \"{key}='null'\"")
        return None
    if kind.listed and text.startswith("[") and text.endswith("]"):
        return _items(key, text[1:-1], kind)
    return _one(text, kind)


def quoted(name: str) -> str:
    """Return a name as text that is read as this name, whatever its characters."""
    return "'" + re.sub(r"(['\\])", r"\\\1", name) + "'"


def word_of(key: str, value: Any) -> str:
    """Return a value of Python as text that is read as this value, for settings that are no names.

    Raises:
        LaminarError: it is no number, truth value, text, None, nor a list or dictionary of these.
    """
    if hasattr(value, "tolist"):  # NumPy's numbers and arrays
        value = value.tolist()
    if value is None or isinstance(value, bool | int | float):
        return _WORDS[value] if value is None or isinstance(value, bool) else repr(value)
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, list | tuple):
        return "[" + ",".join(word_of(key, one) for one in value) + "]"
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{name}:{word_of(key, one)}" for name, one in value.items()) + "}"
    raise LaminarError(f"{key} must be a number, a text, or a list of them, got {type(value).__name__}")


def _items(key: str, text: str, kind: Text) -> list[str]:
    if not text.strip():
        return []
    places, at = [], 0
    while at <= len(text):
        found = _ITEM.match(text, at)
        assert found is not None  # any text up to the next comma is an item
        ended = found.group().endswith(",")
        places.append((at, found.end() - ended))
        at = found.end() if ended else len(text) + 1
    items: list[str] = []
    while places:
        begin = places[0][0]
        whole = next((n for n, (_, end) in enumerate(places) if kind.path and _exists(text[begin:end].strip())), 0)
        items.append(_item(text[begin : places[whole][1]], kind))
        del places[: whole + 1]
    if "" in items:
        raise LaminarError(f"{key}=[{text}] has an empty name; one with a comma inside goes in quotes: ['a,b','c']")
    return items


def _item(text: str, kind: Text) -> str:
    return text if kind.path and _exists(text) else _one(text.strip(), kind)


def _one(text: str, kind: Text) -> str:
    found = None if kind.path and _exists(text) else _WHOLE.fullmatch(text)
    if found:
        return re.sub(r"\\(['\"\\])", r"\1", found.group(found.lastindex or 1))
    return at_home(text) if kind.path else text


def _exists(text: str) -> bool:
    return bool(text) and not text.startswith("~/") and os.path.lexists(text)
