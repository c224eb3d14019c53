"""Readers, one file a format: `sniff(path) -> bool` looks inside, `read(path) -> Episodes` reads strictly.

A format whose files hold more than one choice of something lists it in `SELECTS`, by the names in `Selection`, and has
`read(path, selection) -> Episodes`. Every reader accounts for all that is in a file: what it does not use is in
`remarks`, and two statements that contradict each other are an error that names both.
"""

from __future__ import annotations

from typing import Any

from ...registry import Family

FORMATS: Family[Any] = Family("format", __name__, required=("sniff", "read"))
"""All formats, by name; members are modules."""
