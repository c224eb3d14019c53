"""Distillation: a trained diffusion or flow policy teaches one of fewer network calls; configs/method/ has the recipes.

    laminar train method=reflow method.teacher=runs/flow data.path=FILE out=runs/straight
    laminar train method=reflow method.teacher=runs/straight policy.process.steps=1 data.path=FILE out=runs/one_call
    laminar train method=reflow method.teacher=runs/flow method.start=own policy=direct policy.process.noise=true …
    laminar train method=ctm method.teacher=runs/diffusion network.width=128 data.path=FILE out=runs/ctm

The student is the policy= and network= of the command line. Its normalizers, limits and encoder are the teacher's, so
that the same noise means the same action.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ....data.batches import Chunks
from ....data.episodes import Episodes
from ....errors import LaminarError
from ....policies.generative import GenerativePolicy
from ....policies.module import PolicyModule
from ....policies.processes import Draws, Metrics
from ....policies.processes.ctm import CTM
from ....settings import check
from ...improver import Context, Improver, need
from ...start import clone_of
from ...update.learner import Learner, average
from ...update.program import State
from ...update.rates import ema_decay, warmup_cosine
from .config import Config
from .lesson import Lesson, draw, loss_of
from .pairs import Pairs
from .students import check_recipe, load_teacher, student_of

__all__ = ["Config", "Distillation"]


class Distillation(Improver):
    """Improver that makes a policy of fewer calls from a teacher. `product()` has the averaged weights."""

    renamed = {"first": "student_first", "second": "student_second"}  # noqa: RUF012

    def __init__(self, policy: PolicyModule, recorded: Episodes | None, config: Config, context: Context) -> None:
        check(config, "method")
        if context.init is not None:
            raise LaminarError(
                f"{config.recipe} makes its student in the teacher's units; leave out init={context.init}, or make it "
                "method.teacher"
            )
        self.config = config
        untrained = clone_of(policy)
        teacher = load_teacher(config, untrained)
        check_recipe(config, untrained)
        student = student_of(teacher, untrained, config)
        self.lesson = Lesson(student, teacher, config.denoising_weight).to(context.device)
        if isinstance(context.like, Distillation):
            self.data = context.like.data
        else:
            self.data = self._data(need(recorded, config.recipe), context)
        self._loss = loss_of(config)
        learner = Learner(self.lesson, _part, context.group, context.runtime.autocast)
        self._learn(context, learner, self.data, ["student"], ["adam_step"], deployed=["averaged"])

    def _data(self, episodes: Episodes, context: Context) -> Pairs | Chunks:
        """Put what is learned from on the device; of pairs the teacher's samples, which takes a while."""
        spec = self.lesson.teacher.spec
        chunks = Chunks(episodes, spec.history, spec.chunk, context.device, context.short_episodes)
        if isinstance(self.lesson.student.process, CTM):
            return chunks
        return Pairs.make(self.lesson.teacher, chunks, self.config.pairs, self.config.pairs_seed)

    def _draw(self) -> tuple[Tensor, Draws]:
        """Draw for the whole batch, of which this process takes its share."""
        group, generator = self.context.group, self.context.generator
        size = self.config.batch_size * group.size
        index = self.data.draw(size, generator)
        return group.share(index), tuple(group.share(draw) for draw in draw(self.lesson, size, generator))

    def _rates(self, step: int) -> tuple[tuple[float, ...], bool]:
        """Return learning rate, share of the average that is renewed, and anneal's beta, which falls from 1 to 0."""
        c, steps = self.config, self.context.steps
        lr = c.lr * warmup_cosine(step, steps, c.warmup, c.final_lr)
        beta = max(1 - step / (c.anneal * steps), 0.0) if c.anneal else 0.0
        return (lr, 1 - ema_decay(step, c.ema_decay, c.ema_power), beta), True

    def _update(self, state: State, batch: Mapping[str, Any], draws: Draws, rates: Any, variant: bool) -> Metrics:
        """One update: gradient, clip, Adam, average."""
        lr, renewed, anneal = rates
        inputs, norm = (batch, draws, anneal), self.config.max_grad_norm
        metrics = self.learner.descend(state, ["student"], self._loss, inputs, lr, "adam_step", norm)
        average(state, "averaged", "student", renewed)
        return metrics

    def product(self) -> GenerativePolicy:
        """Return the student with averaged weights."""
        return self.lesson.averaged.eval()


def _part(name: str) -> str | None:
    part = name.split(".")[0]
    return None if part == "teacher" else part
