"""What a student learns from a teacher: coupled pairs of noise and sample (reflow), or jumps along its path (CTM)."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from ....data.batches import Batch, Chunks
from ....errors import LaminarError
from ....policies import GenerativePolicy
from ....policies.processes import Draws, Metrics
from ....policies.processes.ctm import CTM
from ....policies.processes.diffusion import Diffusion
from ....policies.processes.direct import Direct
from ....policies.processes.flow import Flow

ROWS = 4096  # of a teacher's batch; more are no faster on a CPU


class Lesson(nn.Module):
    """Student, its averaged copy and the teacher as one module, so that `functional_call` can give it other weights.

    Attributes:
        student: the policy that learns.
        averaged: its slow copy, which is deployed.
        teacher: constant.
    """

    def __init__(self, student: GenerativePolicy, teacher: GenerativePolicy, denoising_weight: float = 0.1) -> None:
        """Take both policies; the weight is of the denoising loss in `trajectory`."""
        super().__init__()
        self.denoising_weight = denoising_weight
        self.student, self.averaged, self.teacher = student, deepcopy(student), teacher

    def forward(self, batch: Mapping[str, Any], draws: Draws, anneal: Tensor) -> tuple[Tensor, Metrics]:
        """Return the loss that fits the student's process; `functional_call` knows no other method than this one."""
        if isinstance(self.student.process, CTM):
            return self.trajectory(batch, draws)
        return self.coupled(batch, draws, anneal)

    def coupled(self, batch: Mapping[str, Any], draws: Draws, anneal: Tensor) -> tuple[Tensor, Metrics]:
        """Rectified flow on coupled pairs (Liu et al. 2023, algorithm 1), or the distance of one call from the teacher.

        With `anneal` = beta above 0 the pair's noise z is replaced by sqrt(1 - beta^2) z + beta z' with fresh z', which
        leads a student without the teacher's weights from the plain flow to the reflow (Zhu et al. 2024, eq. 7).

        Args:
            batch: "observation" raw; "noise" z and "sample" x (B, H, A), the teacher's in normalized units.
            draws: fresh noise z', then what else the student's loss draws.
            anneal: () beta.
        """
        student, x = self.student, batch["sample"]
        cond = student.encode(batch["observation"])
        z = (1 - anneal.square()).clamp(min=0).sqrt() * batch["noise"] + anneal * draws[0]
        if isinstance(student.process, Direct):
            loss = F.mse_loss(student.process.sample(student.network, z, cond), x)
            return loss, {"loss": loss.detach()}
        return student.process.objective(student.network, x, cond, None, (z, *draws[1:]))

    def trajectory(self, batch: Mapping[str, Any], draws: Draws) -> tuple[Tensor, Metrics]:
        """The consistency-trajectory loss on data, with the teacher's ODE and the averaged student's jumps."""
        student, teacher = self.student, self.teacher
        assert isinstance(student.process, CTM)
        assert isinstance(teacher.process, Flow | Diffusion)
        process = teacher.process
        cond = student.encode(batch["observation"])
        with torch.no_grad():
            seen = teacher.encode(batch["observation"])

        def denoiser(x_t: Tensor, t: Tensor) -> Tensor:
            return process.denoise(teacher.network, x_t, t, seen)

        action = student.action_normalizer({"action": batch["action"]})["action"]
        inputs = (action, cond, batch.get("mask"), draws, self.denoising_weight)
        return student.process.consistency(student.network, self.averaged.network, denoiser, *inputs)

    def draw(self, size: int, generator: torch.Generator) -> Draws:
        """Draw all the randomness of one loss of `size` samples."""
        process, device = self.student.process, self.student.device
        like = torch.empty(1, device=device).expand(size, *self.student.noise_shape)  # only its shape and device matter
        if isinstance(process, Direct):
            return (torch.randn(like.shape, generator=generator, device=device),)
        draws = process.draw(like, generator)
        if isinstance(process, Flow) and process.config.steps == 1:
            return draws[0], torch.ones_like(draws[1])  # where the only call is (Liu et al. 2023, distillation)
        return draws


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
        for start in tqdm(range(0, count, ROWS), desc="teacher's samples", leave=False, mininterval=1.0):
            rows = torch.arange(start, min(start + ROWS, count), device=device)
            cond = teacher.encode(chunks.gather(rows % len(chunks))["observation"])
            noise[rows] = z = torch.randn(len(rows), *shape, generator=generator, device=device)
            sample[rows] = teacher.process.sample(teacher.network, z, cond)
        if not bool(sample.isfinite().all()):
            raise LaminarError("a sample of the teacher is not finite; check method.teacher with laminar eval")
        return cls(chunks, noise, sample)

    def draw(self, size: int, generator: torch.Generator) -> Tensor:
        """Return (size,) random pairs."""
        return torch.randint(len(self.noise), (size,), generator=generator, device=self.noise.device)

    def gather(self, index: Tensor) -> Batch:
        """Return "observation", "noise" and "sample" of pairs (B,)."""
        observation = self.chunks.gather(index % len(self.chunks))["observation"]
        noise, sample = self.noise.index_select(0, index), self.sample.index_select(0, index)
        return {"observation": observation, "noise": noise, "sample": sample}
