"""Settings as dataclass fields that carry their bounds, and the one check of them all.

    @dataclass
    class Config:
        lr: float = number(3e-4, above=0)
        clip: float | None = number(1.0, above=0, null=True)
        solver: str = choice("ddim", "ddim", "ddpm")
        widths: list[int] = numbers([64, 128], least=1)
        out: str | None = path()

    check(config, "method")   # method.lr must be above 0, got -1

What a setting may be is thus said once, beside its default, and `laminar VERB --help` shows it. Relations between
settings are code of whoever owns them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import Field, dataclass, field, fields, is_dataclass
from numbers import Integral, Real
from types import NoneType
from typing import Any, get_args, get_type_hints

from .errors import LaminarError, nearest

_KEY = "bounds"
_WHOLE = "a whole number"


@dataclass(frozen=True)
class Bounds:
    """Interval of a number, or of every number in a list; `null` allows None besides, `infinite` numbers without end.

    Whole numbers are those whose field has a type of int.
    """

    above: float | None = None
    least: float | None = None
    below: float | None = None
    most: float | None = None
    null: bool = False
    infinite: bool = False
    listed: bool = False

    def allow(self, value: Any, whole: bool = False) -> bool:
        """Tell whether a value is inside; `whole` refuses fractions."""
        if value is None:
            return self.null
        if not self.listed:
            return self._hold(value, whole)
        return isinstance(value, list | tuple) and bool(value) and all(self._hold(one, whole) for one in value)

    def _hold(self, value: Any, whole: bool) -> bool:
        return (
            not isinstance(value, bool)
            and isinstance(value, Integral if whole else Real)  # NumPy's numbers too
            and self._inside(float(value))
        )

    def _inside(self, value: float) -> bool:
        return (
            not math.isnan(value)
            and (self.infinite or not math.isinf(value))
            and (self.above is None or value > self.above)
            and (self.least is None or value >= self.least)
            and (self.below is None or value < self.below)
            and (self.most is None or value <= self.most)
        )

    def refusal(self, value: Any, whole: bool = False) -> str:
        """Return what a value that is not allowed must be."""
        if self.listed or value is None or isinstance(value, bool) or not isinstance(value, Real):
            return str(self)
        if whole and not isinstance(value, Integral):
            return f"{_WHOLE}, {self}"
        return self._text(" and finite" if math.isinf(value) and not self.infinite else "")

    def _text(self, further: str = "") -> str:
        words = {"above": self.above, "at least": self.least, "below": self.below, "at most": self.most}
        given = {word: value for word, value in words.items() if value is not None}
        text = " and ".join(f"{word} {value:g}" for word, value in given.items()) + further
        if given == {"at least": 0, "at most": 1}:
            text = "a share between 0 and 1"
        elif not given:
            text = "a number" if self.infinite else "a finite number"
        return f"{'a list of numbers, each ' if self.listed else ''}{text}{', or null' if self.null else ''}"

    def __str__(self) -> str:
        """Return for example ``above 0 and at most 1, or null``."""
        return self._text()


@dataclass(frozen=True)
class Choices:
    """Words that a setting may be; `null` allows None besides."""

    words: tuple[str, ...]
    null: bool = False

    def allow(self, value: Any, whole: bool = False) -> bool:
        """Tell whether a value is one of the words."""
        return self.null if value is None else value in self.words

    def refusal(self, value: Any, whole: bool = False) -> str:
        """Return what a value that is not allowed must be."""
        return str(self)

    def __str__(self) -> str:
        """Return for example ``ddim, ddpm or null``."""
        words = [*self.words, *(["null"] if self.null else [])]
        return " or ".join([*([", ".join(words[:-1])] if words[1:] else []), words[-1]])


LARGEST_SEED = 2**63 - 1  # what PyTorch's generators, NumPy's and a saved state of int64 all take
_SEEDS = f"from 0 to {LARGEST_SEED} (2**63 - 1)"


@dataclass(frozen=True)
class Seeds:
    """What a seed may be."""

    def allow(self, value: Any, whole: bool = True) -> bool:
        """Tell whether every generator takes a value."""
        return not isinstance(value, bool) and isinstance(value, Integral) and 0 <= int(value) <= LARGEST_SEED

    def refusal(self, value: Any, whole: bool = True) -> str:
        """Return what a value that is not allowed must be."""
        return str(self)

    def __str__(self) -> str:
        """Return the range."""
        return f"{_WHOLE} {_SEEDS}"


@dataclass(frozen=True)
class Text:
    """Text that is taken as it was typed; with `path` that of a path, with `listed` maybe a list of such texts."""

    path: bool = False
    listed: bool = False
    null: bool = True

    def allow(self, value: Any, whole: bool = False) -> bool:
        """Tell whether a value is such a text or list."""
        if self.listed and isinstance(value, list | tuple):
            return all(isinstance(one, str) for one in value)
        return self.null if value is None else isinstance(value, str)

    def refusal(self, value: Any, whole: bool = False) -> str:
        """Return what a value that is not allowed must be."""
        return str(self)

    def __str__(self) -> str:
        """Return for example ``a path, a list of paths, or null``."""
        one = "path" if self.path else "name"
        return f"a {one}{f', a list of {one}s,' if self.listed else ''}{' or null' if self.null else ''}"


def check_seeds(first: int, last: int) -> None:
    """Raise LaminarError for a range of seeds that goes beyond what generators take; `last` may follow from a number.

    Each episode of an evaluation or a recording has a seed of its own, counted from the one that was given.
    """
    if first < 0 or last > LARGEST_SEED:
        raise LaminarError(f"seeds must be whole numbers {_SEEDS}, got {first} to {last}; choose another first one")


def whole_seeds(seeds: Iterable[Any]) -> list[int]:
    """Return seeds as Python's whole numbers.

    Raises:
        LaminarError: one is not a whole number, or no generator takes it.
    """
    found = list(seeds)
    wrong = [seed for seed in found if isinstance(seed, bool) or not isinstance(seed, Integral)]
    if wrong:
        raise LaminarError(f"seeds must be whole numbers {_SEEDS}, got {wrong[0]!r}")
    whole = [int(seed) for seed in found]
    if whole:
        check_seeds(min(whole), max(whole))
    return whole


def seed_number(default: int = 0) -> Any:
    """Return a dataclass field whose value is a seed."""
    return field(default=default, metadata={_KEY: Seeds()})


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


def numbers(
    default: Sequence[float], *, above: float | None = None, least: float | None = None, most: float | None = None
) -> Any:
    """Return a dataclass field whose value is a list of at least one number, each within bounds."""
    return field(default_factory=lambda: list(default), metadata={_KEY: Bounds(above, least, None, most, listed=True)})


def share(default: float) -> Any:
    """Return a dataclass field whose value is a share, between 0 and 1."""
    return number(default, least=0, most=1)


def choice(default: str | None, *words: str, null: bool = False) -> Any:
    """Return a dataclass field whose value is one of some words."""
    return field(default=default, metadata={_KEY: Choices(words, null)})


def path() -> Any:
    """Return a dataclass field whose value is a path, or None."""
    return field(default=None, metadata={_KEY: Text(path=True)})


def paths() -> Any:
    """Return a dataclass field whose value is a path or a list of paths, or None."""
    return field(default=None, metadata={_KEY: Text(path=True, listed=True)})


def names() -> Any:
    """Return a dataclass field whose value is a name or a list of names, or None."""
    return field(default=None, metadata={_KEY: Text(listed=True)})


def text_of(owner: type[Any], name: str) -> Text | None:
    """Return how a setting takes text: all whose type is str do, and those that say so; None for any other.

    Args:
        owner: dataclass with the setting.
        name: of the field.
    """
    said = next(one for one in fields(owner) if one.name == name).metadata.get(_KEY)
    if isinstance(said, Text):
        return said
    declared = get_type_hints(owner)[name]
    types = set(get_args(declared)) or {declared}
    return Text(null=NoneType in types) if types - {NoneType} == {str} else None


def whole_number(owner: type[Any], name: str) -> str | None:
    """Return what a setting that is a whole number may be, None for any other.

    Args:
        owner: dataclass with the setting.
        name: of the field.
    """
    declared = get_type_hints(owner)[name]
    if (set(get_args(declared)) or {declared}) - {NoneType} != {int}:
        return None
    said = str(next(one for one in fields(owner) if one.name == name).metadata.get(_KEY, ""))
    return said if said.startswith(_WHOLE) else f"{_WHOLE}, {said}".rstrip(", ")


def check(config: Any, where: str = "") -> None:
    """Refuse a setting outside its bounds, in a dataclass object and those inside it.

    Args:
        config: dataclass object.
        where: dotted name of it on the command line.

    Raises:
        LaminarError: names the first such setting, what it may be, and its value.
    """
    for name, value, one in _bounded(config, where):
        allowed: Bounds | Choices | Seeds | Text = one.metadata[_KEY]
        whole = _is_whole(one)
        if not allowed.allow(value, whole):
            hint = nearest(str(value), allowed.words) if isinstance(allowed, Choices) else ""
            raise LaminarError(f"{name} must be {allowed.refusal(value, whole)}, got {value}{hint}")


def bounds(config: Any, where: str = "") -> dict[str, str]:
    """Return what each bounded setting may be, by its dotted name, of a dataclass object and those inside it."""
    return {name: str(one.metadata[_KEY]) for name, _, one in _bounded(config, where)}


def _bounded(config: Any, where: str) -> Iterator[tuple[str, Any, Field[Any]]]:
    """Go through all settings with bounds: dotted name, value and field."""
    for one in fields(config):
        name, value = f"{where}.{one.name}" if where else one.name, getattr(config, one.name)
        if is_dataclass(value):
            yield from _bounded(value, name)
        elif _KEY in one.metadata:
            yield name, value, one


def _is_whole(one: Field[Any]) -> bool:
    """Tell whether a field's type, which may be a string, is int, int | None or list[int]."""
    return "int" in str(one.type)
