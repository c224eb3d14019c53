"""How fast batches of chunks arrive: `Chunks.sample` against a `DataLoader` over the same windows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from harness import Candidate, Report, random_episodes
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from laminar.data.batches import Chunks
from laminar.data.episodes import Episodes

BATCH = 256
STEPS = 200_000
# title, (observation, action) widths, history, chunk, least ratio. The first moves 0.44 MB a batch from random places:
# as the floor in its table shows, that is nearly all its time, so that the ratio depends on the memory.
SHAPES = [
    ("16 x 27 floats a window", (20, 7), 16, 16, 20),
    ("two observations, 16 actions", (20, 7), 2, 16, 30),
    ("hopper, 4 actions", (11, 3), 1, 4, 30),
]
REFERENCE = "DataLoader workers=0"
OURS = "Chunks.sample"


class WindowDataset(Dataset[dict[str, Tensor]]):
    """The usual dataset, written with care: a sample is slices of the arrays, copied only where it needs padding."""

    def __init__(self, episodes: Episodes, history: int, chunk: int) -> None:
        self.observation, self.action = episodes.observation["observation"], episodes.action
        self.history, self.chunk = history, chunk
        # Lists of numbers, quicker to index than arrays and, unlike a list of tuples, of no concern to the collector.
        self.start = np.repeat(episodes.starts, episodes.lengths).tolist()
        self.end = np.repeat(episodes.ends, episodes.lengths).tolist()

    def __len__(self) -> int:
        return len(self.start)

    def __getitem__(self, step: int) -> dict[str, Tensor]:
        start, end = self.start[step], self.end[step]
        first, beyond = step - self.history + 1, step + self.chunk
        observation = self.observation[max(first, start) : step + 1]
        action = self.action[step : min(beyond, end)]
        mask = np.ones(self.chunk, bool)
        if first < start:
            observation = np.concatenate([observation[:1].repeat(start - first, 0), observation])
        if beyond > end:
            action = np.concatenate([action, action[-1:].repeat(beyond - end, 0)])
            mask[end - step :] = False
        parts = {"observation": observation, "action": action, "mask": mask}
        return {key: torch.from_numpy(value) for key, value in parts.items()}


class PaddedDataset(Dataset[dict[str, np.ndarray]]):
    """A tuned one: padded once at load, so that a sample is three slices without a copy; `stack` makes the batch."""

    def __init__(self, episodes: Episodes, history: int, chunk: int) -> None:
        self.history, self.chunk = history, chunk
        counts = episodes.lengths + history + chunk - 2
        step = np.concatenate([np.arange(count) for count in counts]) + 1 - history
        last = np.repeat(episodes.lengths - 1, counts)
        source = np.repeat(episodes.starts, counts) + step.clip(0, last)
        self.observation, self.action = episodes.observation["observation"][source], episodes.action[source]
        self.mask = step <= last
        self.first = (np.arange(len(episodes)) + (history + chunk - 2) * episodes.episode_index).tolist()

    def __len__(self) -> int:
        return len(self.first)

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        first = self.first[index]
        now = first + self.history - 1
        chunk = slice(now, now + self.chunk)
        return {
            "observation": self.observation[first : now + 1],
            "action": self.action[chunk],
            "mask": self.mask[chunk],
        }


class BatchedDataset(PaddedDataset):
    """Answers for a whole batch by fancy indexing, through a method that `DataLoader` looks for."""

    def __getitems__(self, indices: list[int]) -> dict[str, Tensor]:
        first = np.array([self.first[index] for index in indices])[:, None]
        before, after = first + np.arange(self.history), first + np.arange(self.chunk) + self.history - 1
        batch = {"observation": self.observation[before], "action": self.action[after], "mask": self.mask[after]}
        return {key: torch.from_numpy(value) for key, value in batch.items()}


def stack(samples: list[dict[str, np.ndarray]]) -> dict[str, Tensor]:
    """Collate with one `np.stack` a key; faster than the default, which makes a tensor of every sample."""
    return {key: torch.from_numpy(np.stack([sample[key] for sample in samples])) for key in samples[0]}


def as_is(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """No collating: it is a batch already."""
    return batch


def forever(loader: DataLoader[Any]) -> Iterator[dict[str, Tensor]]:
    """Batches of one epoch after the other."""
    while True:
        yield from loader


def loader(dataset: Dataset[Any], **options: Any) -> Iterator[dict[str, Tensor]]:
    """Endless shuffled batches."""
    return forever(DataLoader(dataset, batch_size=BATCH, shuffle=True, drop_last=True, **options))


def check_same(chunks: Chunks, usual: WindowDataset, padded: PaddedDataset, batched: BatchedDataset) -> None:
    """All supply the same numbers for the same indices."""
    indices = torch.cat([torch.arange(600), torch.randint(len(chunks), (BATCH,))]).tolist()  # an episode's end is in
    ours = chunks.gather(torch.tensor(indices))
    ours["observation"] = ours["observation"]["observation"]
    assert len(chunks) == len(usual) == len(padded) == len(batched)
    batches = [default_collate([usual[i] for i in indices]), stack([padded[i] for i in indices])]
    for batch in [*batches, batched.__getitems__(indices)]:
        assert batch.keys() == ours.keys()
        assert all(torch.equal(ours[key], value) for key, value in batch.items())


def floor(widths: tuple[int, int], history: int, chunk: int, generator: torch.Generator) -> Candidate:
    """The same number of bytes from as many random places of as large a store, in one operation."""
    step, window = sum(widths), history * widths[0] + chunk * widths[1]
    store = torch.zeros(STEPS * step)
    count = STEPS - window // step
    rows = store.as_strided((count, window), (step, 1))
    return Candidate(
        "floor: the copy alone", lambda: rows.index_select(0, torch.randint(count, (BATCH,), generator=generator))
    )


def in_process(report: Report, title: str, widths: tuple[int, int], history: int, chunk: int, least: float) -> None:
    """Table of what one process supplies; CPU time tells."""
    episodes = random_episodes(STEPS, *widths)
    settings = (episodes, history, chunk)
    chunks, usual = Chunks(*settings), WindowDataset(*settings)
    padded, batched = PaddedDataset(*settings), BatchedDataset(*settings)
    check_same(chunks, usual, padded, batched)
    generator = torch.Generator().manual_seed(0)
    plain, tuned, at_once = loader(usual), loader(padded, collate_fn=stack), loader(batched, collate_fn=as_is)
    rows = report.compare(
        f"{title}: batches of {BATCH}, observations {history} x {widths[0]}, actions {chunk} x {widths[1]}",
        [
            Candidate(REFERENCE, lambda: next(plain)),
            Candidate("same, padded at load, np.stack", lambda: next(tuned)),
            Candidate("same, __getitems__", lambda: next(at_once)),
            Candidate(OURS, lambda: chunks.sample(BATCH, generator)),
            floor(widths, history, chunk, generator),
        ],
    )
    ratio = rows[OURS].cpu_ratio
    assert ratio is not None
    report.claim(f"{title}: CPU time of a DataLoader (workers=0) over that of {OURS}", ratio[0], least=least)


def with_workers(report: Report, title: str, widths: tuple[int, int], history: int, chunk: int) -> None:
    """Table with worker processes; only wall time can be told, and it means little on a busy machine."""
    episodes = random_episodes(STEPS, *widths)
    usual, chunks = WindowDataset(episodes, history, chunk), Chunks(episodes, history, chunk)
    generator = torch.Generator().manual_seed(0)
    plain, workers = loader(usual), loader(usual, num_workers=2, persistent_workers=True)
    report.compare(
        f"{title}, worker processes",
        [
            Candidate(REFERENCE, lambda: next(plain)),
            Candidate("DataLoader workers=2", lambda: next(workers), elsewhere=True),
            Candidate(OURS, lambda: chunks.sample(BATCH, generator)),
        ],
    )


def main() -> None:
    report = Report("batch_supply")
    for shape in SHAPES:
        in_process(report, *shape)
    with_workers(report, *SHAPES[1][:4])
    report.finish()


if __name__ == "__main__":
    main()
