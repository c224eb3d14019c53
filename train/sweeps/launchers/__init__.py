"""Where the runs of a sweep are started: the members of this family, by their file names."""

from __future__ import annotations

from ....registry import Family
from .launcher import Launcher

LAUNCHERS: Family[Launcher] = Family("launcher", __name__, Launcher)
