"""Settings as dataclass fields that carry their bounds, and the one check of them all.

    @dataclass
    class Config:
        lr: float = number(3e-4, above=0)
        clip: float | None = number(1.0, above=0, null=True)
        solver: str = choice("ddim", "ddim", "ddpm")

    check(config, "method")   # method.lr must be above 0, got -1

What a setting may be is thus said once, beside its default, and `laminar VERB --help` shows it. Relations between
settings are code of whoever owns them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

from .errors import LaminarError, nearest

_KEY = "bounds"


@dataclass(frozen=True)
class Bounds:
    """Interval of a number; `null` allows None besides, `infinite` numbers without end."""

    above: float | None = None
    least: float | None = None
    below: float | None = None
    most: float | None = None
    null: bool = False
    infinite: bool = False

    def allow(self, value: Any) -> bool:
        """Tell whether a value is inside."""
        if value is None:
            return self.null
        return (
            not isinstance(value, bool)
            and isinstance(value, int | float)
            and not math.isnan(value)
            and (self.infinite or not math.isinf(value))
            and (self.above is None or value > self.above)
            and (self.least is None or value >= self.least)
            and (self.below is None or value < self.below)
            and (self.most is None or value <= self.most)
        )

    def __str__(self) -> str:
        """Return for example ``above 0 and at most 1, or null``."""
        words = {"above": self.above, "at least": self.least, "below": self.below, "at most": self.most}
        text = " and ".join(f"{word} {value:g}" for word, value in words.items() if value is not None)
        return f"{text or 'a finite number'}{', or null' if self.null else ''}"


@dataclass(frozen=True)
class Choices:
    """Words that a setting may be; `null` allows None besides."""

    words: tuple[str, ...]
    null: bool = False

    def allow(self, value: Any) -> bool:
        """Tell whether a value is one of the words."""
        return self.null if value is None else value in self.words

    def __str__(self) -> str:
        """Return for example ``ddim, ddpm or null``."""
        words = [*self.words, *(["null"] if self.null else [])]
        return " or ".join([*([", ".join(words[:-1])] if words[1:] else []), words[-1]])


def number(
    default: float | None,
    *,
    above: float | None = None,
    least: float | None = None,
    below: float | None = None,
    most: float | None = None,
    null: bool = False,
    infinite: bool = False,
) -> Any:
    """Return a dataclass field whose value is a number within bounds."""
    return field(default=default, metadata={_KEY: Bounds(above, least, below, most, null, infinite)})


def share(default: float) -> Any:
    """Return a dataclass field whose value is a share, between 0 and 1."""
    return number(default, least=0, most=1)


def choice(default: str | None, *words: str, null: bool = False) -> Any:
    """Return a dataclass field whose value is one of some words."""
    return field(default=default, metadata={_KEY: Choices(words, null)})


def check(config: Any, where: str = "") -> None:
    """Refuse a setting outside its bounds, in a dataclass object and those inside it.

    Args:
        config: dataclass object.
        where: dotted name of it on the command line.

    Raises:
        LaminarError: names the first such setting, what it may be, and its value.
    """
    for one in fields(config):
        name, value = f"{where}.{one.name}" if where else one.name, getattr(config, one.name)
        allowed: Bounds | Choices | None = one.metadata.get(_KEY)
        if is_dataclass(value):
            check(value, name)
        elif allowed is not None and not allowed.allow(value):
            hint = nearest(str(value), allowed.words) if isinstance(allowed, Choices) else ""
            raise LaminarError(f"{name} must be {allowed}, got {value}{hint}")


def bounds(config: Any, where: str = "") -> dict[str, str]:
    """Return what each bounded setting may be, by its dotted name, of a dataclass object and those inside it."""
    found: dict[str, str] = {}
    for one in fields(config):
        name, value = f"{where}.{one.name}" if where else one.name, getattr(config, one.name)
        if is_dataclass(value):
            found |= bounds(value, name)
        elif _KEY in one.metadata:
            found[name] = str(one.metadata[_KEY])
    return found
