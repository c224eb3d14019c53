"""Learning an encoder from pairs of a sentence and the task that it was said of; seconds on one core."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ...errors import LaminarError
from ...machine import computing_threads
from ...progress import Finished, Progress, silent
from .encoder import TextEncoder, remember
from .features import pieces

HIDDEN = 64  # units
UPDATES = 250  # each of all sentences
_RATE, _DECAY = 1e-2, 1e-2  # AdamW's; the rate rises for a tenth of the updates and falls to nothing
_DROPPED = 0.15  # probability that a word is not heard in an update
_LEAST = 2  # sentences that a piece must be in, to be known


@dataclass(frozen=True)
class _Heard:
    """All pieces of all sentences in one row each, P in number.

    Attributes:
        piece: (P,) its place in the encoder.
        weight: (P,).
        words: (2, P) the words that it is made of, counted over all sentences.
        sentence: (P,) which one it is in.
        n_words, n_sentences: how many there are.
    """

    piece: Tensor
    weight: Tensor
    words: Tensor
    sentence: Tensor
    n_words: int
    n_sentences: int

    @classmethod
    def of(cls, sentences: Sequence[str], known: dict[str, int]) -> _Heard:
        """Take sentences apart."""
        rows: list[tuple[int, float, int, int, int]] = []
        words = 0
        for number, sentence in enumerate(sentences):
            found = pieces(sentence)
            rows += [
                (known[p.text], p.weight, words + p.first, words + p.last, number) for p in found if p.text in known
            ]
            words += 1 + max(p.last for p in found)
        piece, weight, first, last, sentence_of = zip(*rows, strict=True)
        pair = torch.tensor([first, last])
        return cls(torch.tensor(piece), torch.tensor(weight), pair, torch.tensor(sentence_of), words, len(sentences))

    def hidden(self, rows: Tensor, heard: Tensor) -> Tensor:
        """Return (S, H), the mean of the rows (V, H) of each sentence's pieces, without words that are not `heard`."""
        weight = self.weight * heard[self.words].prod(dim=0)
        square = torch.zeros(self.n_sentences).index_add_(0, self.sentence, weight**2)
        total = torch.zeros(self.n_sentences, rows.shape[1])
        total = total.index_add_(0, self.sentence, rows[self.piece] * weight[:, None])
        return total * torch.rsqrt(square.clamp(min=1e-6))[:, None]


@computing_threads(1)  # two add up a sentence's pieces in any order, and a seed is to give one encoder
def learn(pairs: Sequence[tuple[str, str]], seed: int = 0, progress: Progress = silent) -> TextEncoder:
    """Learn an encoder.

    Words are left out at random while it learns, so that no single word decides where several could.

    Args:
        pairs: of a sentence and its task; the same ones count once.
        seed: of the first weights and of the words that are left out.
        progress: follows the updates.

    Raises:
        LaminarError: fewer than two tasks, or a sentence without words.
    """
    pairs = sorted(set(pairs))
    tasks = sorted({task for _, task in pairs})
    if len(tasks) < 2:
        raise LaminarError(f"a text encoder tells tasks apart, and there are sentences of {tasks or 'none'}; give more")
    said = [sentence for sentence, _ in pairs]
    count = Counter(text for sentence in said for text in {p.text for p in pieces(sentence)})
    known = {text: row for row, text in enumerate(sorted(text for text, n in count.items() if n >= _LEAST))}
    if not known:
        raise LaminarError(f"no word is in two of the {len(said)} sentences, so nothing can be learned; give more")
    heard = _Heard.of(said, known)
    wanted = torch.tensor([tasks.index(task) for _, task in pairs])
    generator = torch.Generator().manual_seed(seed)
    shapes = {"pieces": (len(known), HIDDEN), "hidden": (HIDDEN,), "tasks": (HIDDEN, len(tasks)), "bias": (len(tasks),)}
    scale = {"pieces": 0.3, "hidden": 0.0, "tasks": 0.1, "bias": 0.0}
    weights = {name: nn.Parameter(scale[name] * torch.randn(s, generator=generator)) for name, s in shapes.items()}
    optimizer = torch.optim.AdamW(weights.values(), _RATE, weight_decay=_DECAY)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, _RATE, total_steps=UPDATES, pct_start=0.1)
    with progress(UPDATES, "update", "learning words") as watch:
        for _ in range(UPDATES):
            kept = (torch.rand(heard.n_words, generator=generator) >= _DROPPED).float()
            hidden = torch.relu(heard.hidden(weights["pieces"], kept) + weights["hidden"])
            loss = nn.functional.cross_entropy(hidden @ weights["tasks"] + weights["bias"], wanted)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            rate.step()
            watch(Finished({"loss": loss.item()}))
    plain = {name: value.detach().numpy().copy() for name, value in weights.items()}
    return remember(TextEncoder(tuple(tasks), tuple(known), plain))
