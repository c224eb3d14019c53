"""Words for CALVIN's 34 tasks: sentences to train with, and some a task that are kept for evaluation."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

from . import phrasings, unseen


def _fillings() -> Iterator[tuple[str, str, dict[str, str]]]:
    """Yield every task: its name, the pattern of its name, and what fills the braces."""
    for name in phrasings.KNOWN:
        for rows in product(*(rows for brace, rows in phrasings.FILLINGS.items() if brace in name)):
            words = {brace: word for row in rows for brace, word in row.items()}
            if name == "place_in_{place}" and "into" not in words:
                continue  # there is no task of putting a block on the table
            yield name.format(**words), name, words


def _filled(patterns: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    tasks = sorted(_fillings(), key=lambda filling: filling[0])
    return {task: tuple(pattern.format(**words) for pattern in patterns[name]) for task, name, words in tasks}


SENTENCES: dict[str, tuple[str, ...]] = _filled(phrasings.KNOWN)
"""Task -> sentences that annotate training data."""

UNSEEN: dict[str, tuple[str, ...]] = _filled(unseen.HELD_OUT)
"""Task -> sentences of evaluation, never among those of training."""

TASKS: tuple[str, ...] = tuple(SENTENCES)
"""The 34 tasks in alphabetical order: the order of one-hot instructions and of every table."""


def plain(words: str) -> str:
    """Return words as they are compared: in lower case, with single blanks, without a period at the end."""
    return " ".join(words.lower().split()).rstrip(" .!")


_SAID = {plain(one): task for known in (SENTENCES, UNSEEN) for task, said in known.items() for one in said}


def task_of(words: str) -> str | None:
    """Return the task of a name or of a sentence of `SENTENCES` or `UNSEEN`; None for other words."""
    said = plain(words)
    return said if said in SENTENCES else _SAID.get(said)


HELD_OUT: dict[str, str] = {task: sentences[0] for task, sentences in UNSEEN.items()}
"""Task -> the one sentence that an evaluation says of it where nothing else is asked for, as CALVIN's does."""
