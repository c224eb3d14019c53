"""What a student learns from a teacher: coupled pairs of noise and sample (reflow), or jumps along its path (CTM)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from ....policies.generative import GenerativePolicy
from ....policies.processes import Draws, Metrics
from ....policies.processes.ctm import CTM
from ...update.adam import Rate
from .config import Config


class Lesson(nn.Module):
    """Everything of a distillation as one module; its children are the parts of an update's state.

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


LessonLoss = Callable[[Lesson, Mapping[str, Any], Draws, Rate], tuple[Tensor, Metrics]]
"""(lesson, batch, draws, anneal) -> loss and metrics."""


def loss_of(config: Config) -> LessonLoss:
    """Choose the loss of a recipe."""
    return {"reflow": coupled, "ctm": trajectory}[config.recipe]


def coupled(lesson: Lesson, batch: Mapping[str, Any], draws: Draws, anneal: Rate) -> tuple[Tensor, Metrics]:
    """Rectified flow on coupled pairs (Liu et al. 2023, algorithm 1), or the distance of one call from the teacher.

    With `anneal` = beta above 0 the pair's noise z is replaced by sqrt(1 - beta^2) z + beta z' with fresh z', which
    leads a student without the teacher's weights from the plain flow to the reflow (Zhu et al. 2024, eq. 7).

    Args:
        lesson: student and teacher.
        batch: "observation" raw; "noise" z and "sample" x (B, H, A), the teacher's in normalized units.
        draws: fresh noise z', then what else the student's loss draws.
        anneal: beta.
    """
    student = lesson.student
    cond = student.encode(batch["observation"])
    z = (1 - anneal * anneal) ** 0.5 * batch["noise"] + anneal * draws[0]
    return student.process.pair_loss(student.network, z, batch["sample"], cond, draws)


def trajectory(lesson: Lesson, batch: Mapping[str, Any], draws: Draws, anneal: Rate) -> tuple[Tensor, Metrics]:
    """The consistency-trajectory loss on data, with the teacher's ODE and the averaged student's jumps.

    `anneal` is for coupled pairs.
    """
    student, teacher = lesson.student, lesson.teacher
    assert isinstance(student.process, CTM)
    cond = student.encode(batch["observation"])
    with torch.no_grad():
        seen = teacher.encode(batch["observation"])

    def denoiser(x_t: Tensor, t: Tensor) -> Tensor:
        return teacher.process.denoise(teacher.network, x_t, t, seen)

    action = student.action_normalizer({"action": batch["action"]})["action"]
    inputs = (action, cond, batch.get("mask"), draws, lesson.denoising_weight)
    return student.process.consistency(student.network, lesson.averaged.network, denoiser, *inputs)


def draw(lesson: Lesson, size: int, generator: torch.Generator) -> Draws:
    """Draw all the randomness of one loss of `size` samples."""
    student = lesson.student
    like = torch.empty(1, device=student.device).expand(size, *student.noise_shape)  # only its shape and device matter
    return student.process.draw_pair(like, generator)
