"""Words that stand for several runs: `laminar train -m method=bc,dql seed=0,1`, in the grammar of Hydra's multirun.

    seed=0,1,2                     one run for each
    seed=range(0,8)                numbers from 0 to 7
    method=choice(bc,dql)          as method=bc,dql
    policy=glob(*,exclude=*dql*)   names of what can be chosen
    network.widths=[64,64],[128]   lists are values; without -m or a comma beside it a list is one

Every other word stands in all runs as it was typed. So does a path that has a comma and exists.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from itertools import product
from typing import Any, cast

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, QuotedString, Transformer
from hydra.errors import HydraException

from ..errors import LaminarError
from .compose import options
from .mistakes import no_setting

MARKS = ("-m", "--multirun")


def split(words: Sequence[str]) -> list[list[tuple[str, str]]]:
    """Return the runs that words of `laminar train` stand for: all combinations, the last word varying fastest.

    Raises:
        LaminarError: a word is no `key=value`, or it stands for no value at all.
    """
    every: dict[str, list[tuple[str, str]]] = {}
    for word, after in zip(words, [*words[1:], None], strict=False):
        key, equals, text = word.partition("=")
        if not equals or key.startswith("-"):
            raise no_setting("train", word, after)
        every[key] = [(key, value) for value in values(word) or [text]]  # the last one of a key counts
    return [list(run) for run in product(*every.values())]


def swept(words: Iterable[str]) -> str | None:
    """Return the first word that stands for several values, None where all have one."""
    return next((word for word in words if values(word)), None)


@contextmanager
def alone(words: Sequence[str]) -> Generator[None]:
    """Name -m where words that stand for several runs are refused for a single one."""
    try:
        yield
    except LaminarError as error:
        several = swept(words)
        if several is None:
            raise
        raise LaminarError(f"'{several}' has several values: laminar train -m … trains a run for each") from error


def values(word: str) -> list[str]:
    """Return the texts of the values that a word stands for, none where it is a plain `key=value`.

    Raises:
        LaminarError: there are several values, but not a single one, or endlessly many.
    """
    key, _, text = word.partition("=")
    if os.path.lexists(text):
        return []
    try:
        override = OverridesParser.create(cast(ConfigLoader, _Groups())).parse_overrides([word])[0]
    except HydraException:  # what it is will be looked at by whoever takes plain words
        return []
    if not override.is_sweep_override():
        return []
    if not override.is_discrete_sweep():
        raise LaminarError(f"'{word}' has no end of values; write them out: {key}=1,2,3")
    found = [_text(one) for one in override.sweep_iterator()]
    if not found:
        raise LaminarError(f"'{word}' stands for nothing{_known(override)}")
    return found


class _Groups:
    """All of a loader that Hydra asks for: the names of a group, for `glob`."""

    def get_group_options(self, group_name: str, results_filter: Any = None) -> list[str]:
        return options(group_name, "train")


def _known(override: Override) -> str:
    names = options(override.key_or_group, "train") if override.is_choice_sweep() else []
    return f" (known: {', '.join(names)})" if names else ""


def _text(value: Any) -> str:
    """Return a value as it would be typed alone."""
    return value if isinstance(value, str) and not isinstance(value, QuotedString) else str(Transformer.str(value))
