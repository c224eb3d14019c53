"""Distillation: a trained diffusion or flow policy teaches one of fewer network calls; configs/method/ has the recipes.

    laminar train method=reflow method.teacher=runs/flow data.path=FILE out=runs/straight
    laminar train method=reflow method.teacher=runs/straight policy.process.steps=1 data.path=FILE out=runs/one_call
    laminar train method=reflow method.teacher=runs/flow method.start=own policy=direct policy.process.noise=true …
    laminar train method=ctm method.teacher=runs/diffusion network.width=128 data.path=FILE out=runs/ctm

The student is the policy= and network= of the command line. Its normalizers, limits and encoder are the teacher's, so
that the same noise means the same action.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call

from ....data.batches import Chunks
from ....data.episodes import Episodes
from ....errors import LaminarError
from ....policies import GenerativePolicy, load_policy
from ....policies.processes import Draws, Metrics
from ....policies.processes.ctm import CTM
from ....policies.processes.ctm import Config as CTMConfig
from ....policies.processes.diffusion import Diffusion
from ....policies.processes.direct import Direct
from ....policies.processes.flow import Flow
from ....policies.processes.meanflow import MeanFlow
from ...improver import Context
from ...update.flat import Layout, adam, clip_norm
from ...update.functional import FunctionalImprover, check_capture, check_processes, gradients_of, precision
from ...update.runners import Program, State
from ..bc import Config as CloningConfig
from ..bc import ema_decay, learning_rate
from .lesson import Lesson, Pairs


@dataclass
class Config:
    """Settings of distillation; the defaults are reflow's."""

    name: str = "distillation"
    recipe: str = "reflow"  # name of these settings in tables: the file of configs/method/
    teacher: str | None = None  # a run, a checkpoint or a saved policy
    start: str = "teacher"  # student's first weights: the teacher's (of the same process and network), or its own
    pairs: int = 250_000  # reflow: samples of the teacher to learn from
    pairs_seed: int = 0  # of their noise
    anneal: float = 0.0  # reflow: share of the run that leads from fresh to paired noise (SlimFlow), for start=own
    denoising_weight: float = 0.1  # ctm: of the denoising loss beside the consistency loss
    batch_size: int = 256
    lr: float = 1e-3  # peak learning rate of Adam
    warmup: int = 500  # updates of linear warm-up before the cosine decay
    final_lr: float = 0.0  # share of the peak that the cosine ends at
    max_grad_norm: float = 10.0
    ema_decay: float = 0.999  # largest decay of the averaged weights
    ema_power: float = 0.75  # warm-up: decay(step) = 1 - (1 + step)^-power


class Distillation(FunctionalImprover):
    """Improver that makes a policy of fewer calls from a teacher. `policy()` has the averaged weights."""

    deployed = ("averaged",)

    def __init__(self, policy: GenerativePolicy, episodes: Episodes, config: Config, context: Context) -> None:
        _check(config)
        check_processes(context, config.recipe)
        if context.init is not None:
            raise LaminarError(
                f"{config.recipe} makes its student in the teacher's units; leave out init={context.init}, or make it "
                "method.teacher"
            )
        self.config = config
        teacher = _load_teacher(config, policy)
        _check_recipe(config, policy)
        lesson = Lesson(student_of(teacher, policy, config), teacher, config.denoising_weight)
        self.lesson = lesson.to(context.device).requires_grad_(False)
        self.data = context.like.data if isinstance(context.like, Distillation) else self._data(episodes, context)
        named = [(part, getattr(self.lesson, part).named_parameters(prefix=part)) for part in ("student", "averaged")]
        self._parts = {part: Layout(dict(parameters)) for part, parameters in named}
        feed = (self._draw, self.data.gather, self._schedule, (context.generator,))
        program = Program(self._start(), self._function, *feed)
        super().__init__(self.lesson, self._parts, program, context)

    def _data(self, episodes: Episodes, context: Context) -> Pairs | Chunks:
        """Put what is learned from on the device; of pairs the teacher's samples, which takes a while."""
        spec = self.lesson.teacher.spec
        chunks = Chunks(episodes, spec.history, spec.chunk, context.device, context.short_episodes)
        check_capture(context, chunks.reads_disk)
        if isinstance(self.lesson.student.process, CTM):
            return chunks
        return Pairs.make(self.lesson.teacher, chunks, self.config.pairs, self.config.pairs_seed)

    def _draw(self) -> tuple[Tensor, Draws]:
        size, generator = self.config.batch_size, self.context.generator
        return self.data.draw(size, generator), self.lesson.draw(size, generator)

    def _schedule(self, step: int) -> tuple[tuple[float, ...], bool]:
        """Return learning rate, share of the average that is renewed, and anneal's beta, which falls from 1 to 0."""
        config, steps = self.config, self.context.steps
        rates = CloningConfig(lr=config.lr, warmup=config.warmup, final_lr=config.final_lr)
        decay = ema_decay(step, CloningConfig(ema_decay=config.ema_decay, ema_power=config.ema_power))
        beta = max(1 - step / (config.anneal * steps), 0.0) if config.anneal else 0.0
        return (learning_rate(step, steps, rates), 1 - decay, beta), True

    def _start(self) -> State:
        """Weights as they are, zero moments, no update done; fresh tensors."""
        flat = self._parts["student"].flatten(dict(self.lesson.named_parameters()))
        state = {"student": flat, "averaged": flat.clone()}
        state |= {name: torch.zeros_like(flat) for name in ("first", "second")}
        return state | {"adam_step": torch.zeros((), device=flat.device)}

    def _function(
        self, state: State, batch: Mapping[str, Any], draws: Draws, rates: Tensor, act: bool
    ) -> tuple[State, Metrics]:
        """One update of a student as a function: gradient, clip, Adam, average. `act` is for other methods."""
        lr, renewed, anneal = rates.unbind()
        fixed = self._parts["averaged"].views(state["averaged"])

        def objective(flats: State) -> tuple[Tensor, Metrics]:
            with precision(flats["student"].device, self.context.autocast):
                free = self._parts["student"].views(flats["student"])
                return functional_call(self.lesson, fixed | free, (batch, draws, anneal))

        gradients, metrics = gradients_of(objective, {"student": state["student"]})
        gradient, norm = clip_norm(gradients["student"], self.config.max_grad_norm)
        step = state["adam_step"] + 1
        student, (first, second) = adam(state["student"], gradient, (state["first"], state["second"]), step, lr)
        averaged = torch.lerp(state["averaged"], student, renewed)
        new = {"student": student, "averaged": averaged, "first": first, "second": second, "adam_step": step}
        return new, {**metrics, "grad_norm": norm}

    def policy(self) -> GenerativePolicy:
        """Return the student with averaged weights."""
        return self.lesson.averaged.eval()


def student_of(teacher: GenerativePolicy, policy: GenerativePolicy, config: Config) -> GenerativePolicy:
    """Return a policy with the settings, process and network of `policy` in the place of the teacher.

    Spec, normalizers and encoder are the teacher's. A consistency trajectory takes over the teacher's noise schedule.

    Raises:
        LaminarError: the student is to start as the teacher and has another process or network, or it names another
            noise schedule.
    """
    settings = {f"{key}_normalizer": getattr(teacher.policy_config, f"{key}_normalizer") for key in _NORMALIZED}
    process = policy.policy_config.process
    if isinstance(process, CTMConfig):
        process = _with_schedule(process, teacher)
    normalizers = (deepcopy(teacher.observation_normalizer), deepcopy(teacher.action_normalizer))
    own = replace(policy.policy_config, process=process, **settings)
    student = GenerativePolicy(own, policy.network_config, teacher.spec, *normalizers)
    student.encoder.load_state_dict(teacher.encoder.state_dict())
    if config.start == "own":
        student.network.load_state_dict(policy.network.state_dict())
        return student
    for name, mine, other in (
        ("policy", process.name, teacher.policy_config.process.name),
        ("network", student.network_config, teacher.network_config),
    ):
        if mine != other:
            raise LaminarError(
                f"method.start=teacher needs a student of the teacher's {name}, which is {other} and not {mine}; "
                "choose the same, or method.start=own"
            )
    student.network.load_state_dict(teacher.network.state_dict())
    return student


_NORMALIZED = ("observation", "action")


def _with_schedule(process: CTMConfig, teacher: GenerativePolicy) -> CTMConfig:
    theirs = teacher.policy_config.process
    schedule, levels = ("straight", None) if isinstance(teacher.process, Flow) else (theirs.schedule, theirs.levels)
    for name, mine, other in (("schedule", process.schedule, schedule), ("levels", process.levels, levels)):
        if mine not in (None, other):
            raise LaminarError(
                f"policy.process.{name}={mine}, but the teacher's {name} is {other}; leave it out, it is taken over"
            )
    return replace(process, schedule=schedule, levels=levels)


def _load_teacher(config: Config, policy: GenerativePolicy) -> GenerativePolicy:
    """Load the teacher and refuse one that cannot teach this student.

    Raises:
        LaminarError: no path, no policy there, other data, another history or chunk, a teacher of one call, of inner
            draws, or of a process without the path that the recipe follows.
    """
    if config.teacher is None:
        raise LaminarError(f"method={config.recipe} needs method.teacher=RUN, a trained diffusion or flow policy")
    teacher, whose = load_policy(config.teacher), f"the teacher {config.teacher}"
    teacher.critic = None
    teacher.spec.check_compatible(policy.spec, whose, "the data")
    for name in ("history", "chunk"):
        mine, other = getattr(policy.spec, name), getattr(teacher.spec, name)
        if mine != other:
            raise LaminarError(f"{whose} has a {name} of {other}, the student {mine}; set policy.{name}={other}")
    process, name = teacher.process, teacher.policy_config.process.name
    if isinstance(process, Direct) or teacher.policy_config.process.steps == 1:
        raise LaminarError(f"{whose} takes one call already; choose a {_calls(process)} of several")
    if process.inner_draws:
        raise LaminarError(
            f"{whose} draws noise on the way, so that its samples are no function of the first one; train it with "
            "policy.process.solver=ddim"
        )
    if config.recipe == "ctm" and not isinstance(process, Flow | Diffusion):
        raise LaminarError(
            f"method=ctm follows the path of a diffusion or a flow, and {whose} is a {name}; choose method=reflow"
        )
    return teacher


def _calls(process: Any) -> str:
    return "diffusion or flow policy" if isinstance(process, Direct) else "teacher"


def _check_recipe(config: Config, policy: GenerativePolicy) -> None:
    """Refuse a student that the recipe cannot teach."""
    process, name = policy.process, policy.policy_config.process.name
    if config.recipe == "ctm" and not isinstance(process, CTM):
        raise LaminarError(f"method=ctm teaches policy=ctm, not policy={name}; choose that, or method=reflow")
    if config.recipe == "reflow":
        if not isinstance(process, Flow | MeanFlow | Direct):
            remedy = "method=ctm" if isinstance(process, CTM) else "policy=flow"
            raise LaminarError(f"method=reflow teaches flow, meanflow or direct, not policy={name}; choose {remedy}")
        if isinstance(process, Direct) and not process.config.noise:
            raise LaminarError(
                "an actor without noise has one action for all the teacher's; set policy.process.noise=true"
            )
        if config.anneal and (isinstance(process, Direct) or process.config.steps == 1):
            raise LaminarError(
                "method.anneal leads a flow of several steps to paired noise, and one call learns from pairs alone; "
                "set method.anneal=0"
            )


def _check(config: Config) -> None:
    share: Callable[[float], bool] = lambda x: 0 <= x <= 1  # noqa: E731
    allowed = {
        "recipe": (config.recipe in ("reflow", "ctm"), "reflow or ctm"),
        "start": (config.start in ("teacher", "own"), "teacher or own"),
        "pairs": (config.pairs >= 1, "at least 1"),
        "pairs_seed": (config.pairs_seed >= 0, "at least 0"),
        "anneal": (share(config.anneal), "a share between 0 and 1"),
        "denoising_weight": (0 <= config.denoising_weight < math.inf, "at least 0 and finite"),
        "batch_size": (config.batch_size >= 1, "at least 1"),
        "lr": (0 < config.lr < math.inf, "above 0 and finite"),
        "warmup": (config.warmup >= 0, "at least 0"),
        "final_lr": (share(config.final_lr), "a share between 0 and 1"),
        "max_grad_norm": (config.max_grad_norm > 0, "above 0"),
        "ema_decay": (share(config.ema_decay), "between 0 and 1"),
        "ema_power": (config.ema_power > 0, "above 0"),
    }
    for name, (good, expected) in allowed.items():
        if not good:
            raise LaminarError(f"method.{name} must be {expected}, got {getattr(config, name)}")
