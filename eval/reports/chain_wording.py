"""The part of a report that tells success by the words in which tasks were said."""

from __future__ import annotations

from collections.abc import Sequence

from ..results.phrasings import Spoken, by_kind, phrasings_of
from ..results.scores import rate
from .page import Block, Gauge, Heading, Paragraph, Table, Words


def wording_blocks(chains: Sequence[Spoken]) -> list[Block]:
    """Return a table of kinds of sentences and one of all sentences; nothing where each task has its one sentence."""
    found = phrasings_of(chains)
    if not found:
        return []
    head = ["successes", "attempts", "rate", "low", "high", "0 to 1"]
    kinds: list[list[Words]] = []
    for kind, (won, total) in by_kind(found).items():
        interval = rate(won, total)
        kinds.append([kind, str(won), str(total), *interval.cells, Gauge(interval)])
    rows: list[list[Words]] = []
    for one in found:
        counts = (str(one.successes), str(one.attempts))
        rows.append([one.task, one.sentence, one.kind, *counts, *one.success.cells, Gauge(one.success)])
    return [
        Heading("In which words"),
        Paragraph(
            "Single instructions by the words in which they were said: sentences of training, and held-out ones."
        ),
        Table(["words", *head], kinds),
        Table(["task", "sentence", "words", *head], rows),
    ]
