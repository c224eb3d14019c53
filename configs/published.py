"""The settings that a method has by its name, for tables that tell what runs changed in them."""

from __future__ import annotations

from dataclasses import asdict
from functools import cache
from typing import Any

from .compose import compose, options


@cache
def published(recipe: str) -> dict[str, Any]:
    """Return the settings of a recipe (`laminar train method=`), none of one that is not known here."""
    return asdict(compose("train", [f"method={recipe}"]).method) if recipe in options("method") else {}
