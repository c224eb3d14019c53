"""How fast batches of chunks arrive: `Chunks.sample` against a `DataLoader` over the same windows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from harness import Candidate, Report, random_episodes
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from laminar.data.batches import Chunks
from laminar.data.episodes import Episodes

BATCH = 256


class WindowDataset(Dataset[dict[str, Tensor]]):
    """A good dataset of the usual kind: padding once at load, and a sample is three slices, views without a copy."""

    def __init__(self, episodes: Episodes, history: int, chunk: int) -> None:
        observation, action, mask, first, padded = [], [], [], [], 0
        for start, end in zip(episodes.starts, episodes.ends, strict=True):
            steps = int(end - start)
            rows = np.arange(1 - history, steps + chunk - 1)
            source = start + rows.clip(0, steps - 1)
            observation.append(episodes.observation["observation"][source])
            action.append(episodes.action[source])
            mask.append(rows < steps)
            first.append(padded + np.arange(steps))
            padded += len(rows)
        self.observation, self.action, self.mask = (
            torch.from_numpy(np.concatenate(part)) for part in (observation, action, mask)
        )
        self.first: list[int] = np.concatenate(first).tolist()
        self.history, self.chunk = history, chunk

    def __len__(self) -> int:
        return len(self.first)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        first = self.first[index]
        now = first + self.history - 1
        return {
            "observation": self.observation[first : now + 1],
            "action": self.action[now : now + self.chunk],
            "mask": self.mask[now : now + self.chunk],
        }


class BatchedWindowDataset(WindowDataset):
    """The same, answering for a whole batch at once by fancy indexing: about the best that a `DataLoader` allows."""

    def __init__(self, episodes: Episodes, history: int, chunk: int) -> None:
        super().__init__(episodes, history, chunk)
        self.starts = torch.tensor(self.first)
        self.before, self.after = torch.arange(history), torch.arange(chunk) + history - 1

    def __getitems__(self, indices: list[int]) -> dict[str, Tensor]:
        first = self.starts[indices][:, None]
        window = first + self.after
        return {"observation": self.observation[first + self.before], "action": self.action[window], "mask": self.mask[window]}


def forever(loader: DataLoader[Any]) -> Iterator[Any]:
    """Batches of one epoch after the other."""
    while True:
        yield from loader


def check_same(chunks: Chunks, dataset: WindowDataset) -> None:
    """Both supply the same numbers for the same indices."""
    indices = torch.randint(len(chunks), (BATCH,)).tolist()
    ours = chunks.gather(torch.tensor(indices))
    ours["observation"] = ours["observation"]["observation"]
    theirs = torch.utils.data.default_collate([dataset[i] for i in indices])
    assert len(dataset) == len(chunks)
    assert all(torch.equal(ours[key], value) for key, value in theirs.items())


def supply(report: Report, title: str, widths: tuple[int, int], history: int, chunk: int) -> float:
    """One table; return the lower end of our CPU-time ratio to the plain DataLoader."""
    episodes = random_episodes(200_000, *widths)
    chunks, dataset = Chunks(episodes, history, chunk), WindowDataset(episodes, history, chunk)
    batched = BatchedWindowDataset(episodes, history, chunk)
    check_same(chunks, dataset)
    generator = torch.Generator().manual_seed(0)
    options: dict[str, Any] = {"batch_size": BATCH, "shuffle": True, "drop_last": True}
    plain = forever(DataLoader(dataset, **options))
    workers = forever(DataLoader(dataset, num_workers=2, persistent_workers=True, **options))
    at_once = forever(DataLoader(batched, collate_fn=lambda batch: batch, **options))
    ours = "Chunks.sample"
    rows = report.compare(
        f"{title}: {BATCH} windows, observations {history} x {widths[0]}, actions {chunk} x {widths[1]}",
        [
            Candidate("DataLoader workers=0", lambda: next(plain)),
            Candidate("DataLoader workers=2", lambda: next(workers), elsewhere=True),
            Candidate("DataLoader workers=0, __getitems__", lambda: next(at_once)),
            Candidate(ours, lambda: chunks.sample(BATCH, generator)),
        ],
    )
    workers.close()
    ratio = rows[ours].cpu_ratio
    assert ratio is not None
    return ratio[0]


def main() -> None:
    report = Report("batch_supply")
    for title, widths, history, chunk in (
        ("27 floats a step", (20, 7), 16, 16),
        ("Diffusion Policy", (20, 7), 2, 16),
        ("hopper", (11, 3), 1, 4),
    ):
        ratio = supply(report, title, widths, history, chunk)
        report.claim(f"{title}: CPU time of a DataLoader with workers=0, over that of Chunks.sample", ratio, least=30)
    report.finish()


if __name__ == "__main__":
    main()
