"""What a YAML text holds, each value checked where it is taken: it is what is wanted, or refused by one line."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

import yaml

from ...errors import LaminarError, nearest

_QUOTES = 'YAML takes on, off, yes, no, true and false for such; write it in quotes, "on"'


class Content:
    """Takes values out of one text; `where` is a place in it, for messages.

    Attributes:
        source: where the text is from.
        top: all of it.
    """

    def __init__(self, text: str, source: str) -> None:
        """Read YAML.

        Raises:
            LaminarError: it is none, has a key twice, or no keys at all.
        """
        self.source = source
        try:
            content = yaml.load(text, _Loader)
        except (yaml.YAMLError, RecursionError, ValueError) as error:
            raise LaminarError(f"{source} is no YAML: {' '.join(str(error).split())}") from error
        self.top = self.mapping(content, "the file")

    def wrong(self, where: str, why: str) -> LaminarError:
        """Return an error that names the place."""
        return LaminarError(f"{self.source}: {where} {why}")

    def known(self, value: Mapping[str, Any], known: Sequence[str], where: str = "") -> None:
        """Refuse other keys than these."""
        for key in value:
            if key not in known:
                place = f"{where}.{key}" if where else key
                raise self.wrong(place, f"is not known (known: {', '.join(known)}){nearest(key, known)}")

    def mapping(self, value: Any, where: str) -> Mapping[str, Any]:
        """Return a mapping with texts as keys."""
        if not isinstance(value, Mapping):
            raise self.wrong(where, f"holds `key: value` lines, got {_short(value)}")
        for key in cast("Mapping[Any, Any]", value):
            self.text(key, f"a key of {where}")
        return cast("Mapping[str, Any]", value)

    def items(self, value: Any, where: str) -> list[Any]:
        """Return a list with something in it."""
        if not isinstance(value, list) or not value:
            raise self.wrong(where, f"is a list with something in it, got {_short(value)}")
        return cast("list[Any]", value)

    def text(self, value: Any, where: str) -> str:
        """Return a text that is not empty."""
        if not isinstance(value, str) or not value.strip():
            quotes = f": {_QUOTES}" if isinstance(value, bool) else ""
            raise self.wrong(where, f"is a text, got {_short(value)}{quotes}")
        return value

    def truth(self, value: Any, where: str) -> bool:
        """Return true or false."""
        if not isinstance(value, bool):
            raise self.wrong(where, f"is true or false, got {_short(value)}")
        return value

    def number(self, value: Any, where: str, above: float = -math.inf) -> float:
        """Return a finite number above another one."""
        try:
            number = math.nan if isinstance(value, bool | str) else float(value)
        except (TypeError, OverflowError):
            number = math.nan
        if not above < number < math.inf:
            bound = f" above {above:g}" if above > -math.inf else ""
            hint = " (a text: YAML wants 1.0e-3 for 1e-3)" if isinstance(value, str) else ""
            raise self.wrong(where, f"is a finite number{bound}, got {_short(value)}{hint}")
        return number

    def whole(self, value: Any, where: str) -> int:
        """Return a whole number of at least 1."""
        if type(value) is not int or value < 1:
            raise self.wrong(where, f"is a whole number of at least 1, got {_short(value)}")
        return value

    def each(self, value: Any, width: int, where: str) -> list[Any]:
        """Return one value for each of some; a single one is that of all."""
        values = cast("list[Any]", value) if isinstance(value, list) else [value] * width
        if len(values) != width:
            raise self.wrong(where, f"is one value, or {width}, got {len(values)}")
        return values


class _Loader(yaml.SafeLoader):
    """Refuses a key that is there twice, of which others take the last."""

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        if isinstance(node, yaml.MappingNode):
            seen: set[str] = set()
            for key, _ in node.value:
                if isinstance(key, yaml.ScalarNode):
                    if key.value in seen:
                        raise yaml.MarkedYAMLError(problem=f"'{key.value}' is there twice", problem_mark=key.start_mark)
                    seen.add(key.value)
        return super().construct_mapping(node, deep)


def _short(value: Any) -> str:
    """Return a value for one line of a message."""
    try:
        return f"{value!a:.60}"
    except ValueError:  # a whole number of more digits than Python writes
        return f"a very long {type(value).__name__}"
