"""Success by the words in which a task was said: sentence by sentence, and known ones against those held out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ...data.instructions import SENTENCES
from .scores import Interval, rate

KNOWN, HELD_OUT = "known", "held out"  # kinds of sentences


class Spoken(Protocol):
    """Of a chain, what counts here; see `chain_result.Chain`."""

    @property
    def tasks(self) -> tuple[str, ...]:
        """All its instructions."""
        ...

    @property
    def completed(self) -> int:
        """How many succeeded."""
        ...

    @property
    def sentences(self) -> list[str]:
        """In which words those were said that were begun; none where each task has its one sentence."""
        ...


@dataclass(frozen=True)
class Phrasing:
    """What came of one sentence.

    Attributes:
        task: that it was said for.
        sentence: the words.
        kind: `KNOWN`, of training, or `HELD_OUT`.
        successes, attempts: numbers.
    """

    task: str
    sentence: str
    kind: str
    successes: int
    attempts: int

    @property
    def success(self) -> Interval:
        """Success rate with Wilson's interval."""
        return rate(self.successes, self.attempts)


def phrasings_of(chains: Sequence[Spoken]) -> list[Phrasing]:
    """Return every sentence that was said, by task, the known ones first."""
    said = [
        (task, sentence, place < chain.completed)
        for chain in chains
        for place, (task, sentence) in enumerate(zip(chain.tasks, chain.sentences, strict=False))
    ]
    attempts = Counter((task, sentence) for task, sentence, _ in said)
    successes = Counter((task, sentence) for task, sentence, done in said if done)
    found = [
        Phrasing(task, sentence, KNOWN if sentence in SENTENCES[task] else HELD_OUT, successes[task, sentence], count)
        for (task, sentence), count in attempts.items()
    ]
    return sorted(found, key=lambda one: (one.task, one.kind != KNOWN, one.sentence))


def by_kind(found: Sequence[Phrasing]) -> dict[str, tuple[int, int]]:
    """Return kind -> successes and attempts of single instructions, of the kinds that there are."""
    kinds = {kind: [one for one in found if one.kind == kind] for kind in (KNOWN, HELD_OUT)}
    return {
        kind: (sum(one.successes for one in some), sum(one.attempts for one in some))
        for kind, some in kinds.items()
        if some
    }


def to_json(chains: Sequence[Spoken]) -> dict[str, Any]:
    """Return the field "phrasings" of a record; nothing where each task has its one sentence."""
    found = phrasings_of(chains)
    if not found:
        return {}
    kinds = {
        kind: {"success": won, "total": total, **rate(won, total).to_json()}
        for kind, (won, total) in by_kind(found).items()
    }
    rows = [
        {"task": one.task, "sentence": one.sentence, "kind": one.kind, "success": one.successes}
        | {"total": one.attempts, **one.success.to_json()}
        for one in found
    ]
    return {"phrasings": {"instructions": kinds, "sentences": rows}}


def summary(chains: Sequence[Spoken]) -> str:
    """Return the success of single instructions by kind of sentence in words; "" where there is nothing to tell."""
    kinds = by_kind(phrasings_of(chains))
    return ", ".join(f"instructions in {kind} words {rate(*counts)}" for kind, counts in kinds.items())
