"""Coupled pairs of noise and sample: what a student of reflow learns from."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ....data.batches import Batch, Chunks
from ....errors import LaminarError
from ....policies.generative import GenerativePolicy
from ....progress import Finished, bar

ROWS = 4096  # of a teacher's batch; more are no faster on a CPU


@dataclass
class Pairs:
    """A teacher's samples for noise of its own at observations of the data, each as often as the others.

    Attributes:
        chunks: the observations.
        noise: (P, H, A) of pair p, which is of observation p modulo their number.
        sample: (P, H, A) what the teacher makes of it, in normalized units.
    """

    chunks: Chunks
    noise: Tensor
    sample: Tensor

    @property
    def reads_disk(self) -> bool:
        """Whether the observations lie on disk."""
        return self.chunks.reads_disk

    @classmethod
    @torch.no_grad()
    def make(cls, teacher: GenerativePolicy, chunks: Chunks, count: int, seed: int) -> Pairs:
        """Sample `count` pairs; the same seed gives the same pairs, so that a resumed run goes on with its own.

        Raises:
            LaminarError: a sample is not finite.
        """
        device, shape = teacher.device, teacher.noise_shape
        generator = torch.Generator(device).manual_seed(seed)
        noise, sample = torch.empty(count, *shape, device=device), torch.empty(count, *shape, device=device)
        with bar(count, "sample", "teacher") as watch:
            for rows in torch.arange(count, device=device).split(ROWS):
                cond = teacher.encode(chunks.gather(rows % len(chunks))["observation"])
                noise[rows] = z = torch.randn(len(rows), *shape, generator=generator, device=device)
                sample[rows] = teacher.process.sample(teacher.network, z, cond)
                watch(Finished(count=len(rows)))
        if not bool(sample.isfinite().all()):
            raise LaminarError("a sample of the teacher is not finite; check method.teacher with laminar eval")
        return cls(chunks, noise, sample)

    def draw(self, batch_size: int, generator: torch.Generator) -> Tensor:
        """Return (batch_size,) random pairs."""
        return torch.randint(len(self.noise), (batch_size,), generator=generator, device=self.noise.device)

    def gather(self, index: Tensor) -> Batch:
        """Return "observation", "noise" and "sample" of pairs (B,)."""
        observation = self.chunks.gather(index % len(self.chunks))["observation"]
        noise, sample = self.noise.index_select(0, index), self.sample.index_select(0, index)
        return {"observation": observation, "noise": noise, "sample": sample}
