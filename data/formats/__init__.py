"""Readers, one file a format: `sniff(path) -> bool` looks inside, `read(path) -> Episodes` reads strictly.

A format that can leave parts of its files unread sets `SELECTS = True` and has `read(path, selection) -> Episodes`.
"""

from __future__ import annotations

from typing import Any

from ...registry import Family

FORMATS: Family[Any] = Family("format", __name__, required=("sniff", "read"))
"""All formats, by name; members are modules."""
