"""Held-out sentences that are taken for their task: by small classifiers of hashed vectors, by the learned encoder.

python examples/words_table.py          # a minute of one core; the table is in docs/playroom.md
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from laminar.data.instructions import SENTENCES, TASKS, UNSEEN
from laminar.data.language import hashed_embedding
from laminar.data.sentences import Pairs, own_pairs, understood
from laminar.data.words.learning import learn

SEEDS, UPDATES, BATCH, FORMS = (0, 1), 1500, 128, 8
EARLIER = {"rotate": 7, "lift": 7}  # sentences of a task that recordings had before there were more; 6 of others


def vectors(sentences: list[str]) -> torch.Tensor:
    return torch.tensor(np.stack([hashed_embedding(one) for one in sentences])) * 384**0.5


def shortened(sentence: str, dropped: float, random: np.random.Generator) -> str:
    return " ".join(word for word in sentence.split() if random.random() >= dropped) or sentence


def labels(pairs: Pairs) -> torch.Tensor:
    return torch.tensor([TASKS.index(task) for _, task in pairs])


def classified(known: Pairs, unseen: Pairs, hidden: int, dropped: float, seed: int) -> float:
    """Return the share of unseen sentences that a classifier of hashed vectors takes for their task."""
    torch.manual_seed(seed)
    random = np.random.default_rng(seed)
    layers = [nn.Linear(384, hidden), nn.ReLU()] if hidden else []
    network = nn.Sequential(*layers, nn.Linear(hidden or 384, len(TASKS)))
    forms = [vectors([shortened(one, dropped, random) for one, _ in known]) for _ in range(FORMS if dropped else 1)]
    wanted, optimizer = labels(known), torch.optim.AdamW(network.parameters(), 3e-3)
    for update in range(UPDATES):
        rows = torch.randint(len(known), (BATCH,))
        loss = nn.functional.cross_entropy(network(forms[update % len(forms)][rows]), wanted[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        found = network(vectors([one for one, _ in unseen])).argmax(dim=1)
    return (found == labels(unseen)).float().mean().item()


def main() -> None:
    earlier = {task: said[: EARLIER.get(task.split("_")[0], 6)] for task, said in SENTENCES.items()}
    unseen = own_pairs(UNSEEN)
    for sentences in (earlier, SENTENCES):
        known = own_pairs(sentences)
        print(f"{len(known)} sentences known, {len(unseen)} unseen")
        near = vectors([one for one, _ in unseen]) @ vectors([one for one, _ in known]).T
        right = labels(known)[near.argmax(dim=1)] == labels(unseen)
        print(f"  hashed, nearest sentence          {right.float().mean():.3f}")
        for hidden in (0, 256):
            for dropped in (0.0, 0.15, 0.3):
                shares = [classified(known, unseen, hidden, dropped, seed) for seed in SEEDS]
                print(f"  hashed, {hidden:3} hidden, {dropped:4} dropped  {np.mean(shares):.3f}", flush=True)
        right, wrong = understood(learn(known), unseen)
        print(f"  the learned encoder               {right / len(unseen):.3f}")
        print(*(f"    {what}: taken for {task}" for what, task in wrong), sep="\n", flush=True)


if __name__ == "__main__":
    main()
