"""What each process of a group reads of a batch: its share, and nothing else, of pictures on disk above all."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from laminar.configs.compose import compose
from laminar.data.on_disk import OnDisk
from laminar.policies.generative import GenerativePolicy
from laminar.train.improver import Context
from laminar.train.methods.bc import BehaviorCloning
from laminar.train.update.group import Group, launcher, restarted

from ...recorded import recorded

WORDS = ("policy.encoder=tiny", "network.width=8", "network.depth=1", "method.batch_size=6", "policy.chunk=2")


class Counted:
    """Pictures that count the rows that are read of them."""

    def __init__(self, pixels: Any) -> None:
        self._pixels, self.rows = pixels, 0
        self.shape, self.dtype = pixels.shape, pixels.dtype

    def __len__(self) -> int:
        return len(self._pixels)

    def __getitem__(self, rows: Any) -> Any:
        self.rows += len(rows)
        return self._pixels[rows]


@pytest.mark.parametrize("size", [1, 2, 3])
def test_a_process_reads_its_share_of_the_pictures(size: int) -> None:
    rng = np.random.default_rng(0)
    pixels = Counted(rng.integers(0, 256, (24, 32, 32, 3), dtype=np.uint8))
    seen: dict[str, Any] = {"state": rng.normal(size=(24, 3)).astype(np.float32), "rgb": OnDisk([pixels])}
    episodes = recorded(seen, [8] * 3, rng)
    config = compose("train", list(WORDS))

    def read(batch_size: int, group: Group) -> torch.Tensor:
        """Draw and gather the first batch of a process, and return its index."""
        torch.manual_seed(0)
        policy = GenerativePolicy.build(config.policy, config.network, episodes)
        context = Context(2, torch.Generator().manual_seed(0), group=group)
        method = replace(config.method, batch_size=batch_size)
        feed = BehaviorCloning(policy, episodes, method, context).program.feed
        assert feed.experience.reads_disk
        feed.close()  # nothing is read ahead
        index, _ = feed.draw()
        pixels.rows = 0
        feed.experience.gather(index)
        assert pixels.rows == len(index), "pictures of its own rows alone"
        return index

    shares = [read(6, Group(rank, size)) for rank in range(size)]
    assert torch.equal(torch.stack(shares, dim=1).flatten(), read(6 * size, Group())), "together they are the batch"


def test_what_torchrun_was_told_is_told_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert " ".join(launcher(4)) == "torchrun --nproc-per-node 4 -m laminar.cli"
    several = "torchrun --nproc-per-node 4 --nnodes 2 --rdzv-backend c10d --rdzv-endpoint HOST:PORT -m laminar.cli"
    assert " ".join(launcher(8)) == several
    assert not restarted()
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    assert restarted()
