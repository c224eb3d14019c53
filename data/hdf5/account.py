"""What of a file was read, and so what was not: nobody shall train on half of a file without being told."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

_NUMBER = re.compile(r"(?<=_)\d+$")  # of one among many groups, as in "demo_17"
# Attributes that h5py, netCDF and PyTables add for themselves.
_OF_LIBRARIES = {
    *("CLASS", "NAME", "DIMENSION_LIST", "DIMENSION_LABELS", "REFERENCE_LIST"),
    *("_Netcdf4Dimid", "_NCProperties", "_nc3_strict", "TITLE", "VERSION", "FLAVOR", "PYTABLES_FORMAT_VERSION"),
}


class Account:
    """Names of the arrays and attributes of one open file that a reader has asked for."""

    def __init__(self) -> None:
        self._arrays: set[str] = set()
        self._groups: dict[str, Any] = {}
        self._left_out: set[str] = set()
        self._notes: list[str] = []
        self._attributes: dict[str, set[str]] = {}  # of an array or group that was read: those that nobody asked for

    def saw_group(self, node: Any, name: str) -> None:
        """Note a group that is looked into."""
        if name not in self._groups:
            self._groups[name] = node
            self._note_attributes(node, name)

    def saw_array(self, node: Any, name: str) -> None:
        """Note an array that was read."""
        self._arrays.add(name)
        self._note_attributes(node, name)

    def leave_out(self, name: str) -> None:
        """Note a group or array that is not wanted, so that nobody misses it."""
        self._left_out.add(name)

    def note(self, remark: str) -> None:
        """Add a sentence of what else was found."""
        self._notes.append(remark)

    def saw_attribute(self, group: str, name: str) -> None:
        """Note an attribute that was read."""
        self._attributes.get(group, set()).discard(name)

    def _note_attributes(self, node: Any, name: str) -> None:
        if _count_attributes(node):
            self._attributes[name] = set(node.attrs) - _OF_LIBRARIES

    def unread(self) -> list[str]:
        """Return all notes, and a sentence each about arrays and attributes that nobody read, if there are any.

        Those of many alike groups are named once: "data/demo_*/model".
        """
        arrays: Counter[str] = Counter()
        for name, group in self._groups.items():
            for key in group:
                self._count(group, name, str(key), arrays)
        attributes: Counter[str] = Counter()
        for name, lacking in self._attributes.items():
            attributes.update(f"{_alike(name)}@{attribute}" for attribute in lacking)
        return self._notes + [
            f"not read, {what}: {_listed(found)}"
            for what, found in (("arrays", arrays), ("attributes", attributes))
            if found
        ]

    def _count(self, group: Any, name: str, key: str, arrays: Counter[str]) -> None:
        below = f"{name.rstrip('/')}/{key}"
        if below in self._arrays or below in self._groups or below in self._left_out:
            return
        node = group.get(key)
        is_group = hasattr(node, "keys")
        arrays[_alike(below) + ("/" if is_group else _kind(node))] += 1


def _count_attributes(node: Any) -> int:
    """Return how many attributes a group or array has, in a tenth of the time that listing them takes."""
    import h5py

    low_level: Any = h5py
    return low_level.h5a.get_num_attrs(node.id)


def _kind(node: Any) -> str:
    """Return what a leaf is, where that is why it could not be read."""
    if node is None:
        return " (a link that leads nowhere)"
    try:
        kind = getattr(node, "dtype", None)
    except (TypeError, ValueError):
        return " (a type that numpy does not have)"
    if kind is None or kind.kind in "biuf":
        return ""
    return " (text)" if kind.kind in "SU" else " (bytes or text)" if kind.kind == "O" else f" ({kind})"


def _alike(name: str) -> str:
    return "/".join(_NUMBER.sub("*", part) for part in name.strip("/").split("/")) or "/"


def _listed(found: Counter[str]) -> str:
    return ", ".join(f"'{name}'" + (f" ({count} times)" if count > 1 else "") for name, count in sorted(found.items()))
