"""What a sentence is made of: its words, pairs of neighbors, and pieces of words, each with a weight."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise

from ...errors import LaminarError

_PIECES = (3, 4, 5)  # letters of a piece, the marks at both ends of a word counted
_PAIR = 0.5  # weight of a pair beside that of a word, 1


@dataclass(frozen=True)
class Piece:
    """One feature of a sentence.

    Attributes:
        text: what it is: a word, "two words", or "#part" of one.
        weight: how much it counts.
        first, last: numbers of the words that it was made of; the same but for a pair.
    """

    text: str
    weight: float
    first: int
    last: int


def pieces(sentence: str) -> list[Piece]:
    """Return the features of a sentence; capitals and punctuation do not count.

    All parts of a word together weigh as much as the word, so that a form of it that was never heard is near to it.

    Raises:
        LaminarError: the sentence has no words.
    """
    words = re.findall(r"\w+", sentence.lower())
    if not words:
        raise LaminarError(f"cannot encode the sentence {sentence!r}: it has no words")
    found = [Piece(word, 1.0, place, place) for place, word in enumerate(words)]
    for place, word in enumerate(words):
        marked = f"<{word}>"
        parts = [marked[i : i + size] for size in _PIECES for i in range(len(marked) + 1 - size)]
        found += [Piece(f"#{part}", len(parts) ** -0.5, place, place) for part in parts]
    pairs = pairwise(enumerate(words))
    return found + [Piece(f"{one} {two}", _PAIR, first, last) for (first, one), (last, two) in pairs]
