"""Methods of training: what a policy learns from. One module or folder a method, found by its name."""

from __future__ import annotations

from ...registry import Family
from ..improver import Improver

METHODS = Family("method", __name__, Improver)
"""All methods, by name."""
