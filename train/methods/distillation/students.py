"""Who teaches whom: the teacher of a run, and its student."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

from ....errors import LaminarError
from ....policies import load_policy
from ....policies.generative import GenerativePolicy
from ....policies.processes.ctm import CTM
from ....policies.processes.ctm import Config as CTMConfig
from ...start import clone_of
from .config import Config


def student_of(teacher: GenerativePolicy, policy: GenerativePolicy, config: Config) -> GenerativePolicy:
    """Return a policy with the settings, process and network of `policy` in the place of the teacher.

    Spec, normalizers and encoder are the teacher's. A consistency trajectory takes over the teacher's noise schedule.

    Raises:
        LaminarError: the student is to start as the teacher and has another process or network, or it names another
            noise schedule.
    """
    settings = {name: getattr(teacher.policy_config, name) for name in _NORMALIZED}
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


_NORMALIZED = (
    "observation_normalizer",
    "action_normalizer",
    "observation_bound",
    "observation_floor",
    "transforms",
    "encoder",
    "augment",
)


def _with_schedule(process: CTMConfig, teacher: GenerativePolicy) -> CTMConfig:
    path = teacher.process.noise_path
    assert path is not None  # a teacher of this recipe `denoises`
    schedule, levels = path
    for name, mine, other in (("schedule", process.schedule, schedule), ("levels", process.levels, levels)):
        if mine not in (None, other):
            raise LaminarError(
                f"policy.process.{name}={mine}, but the teacher's {name} is {other}; leave it out, it is taken over"
            )
    return replace(process, schedule=schedule, levels=levels)


def load_teacher(config: Config, policy: GenerativePolicy) -> GenerativePolicy:
    """Load the teacher and refuse one that cannot teach this student.

    Raises:
        LaminarError: no path, no policy there, other data, another history or chunk, a teacher of one call, of inner
            draws, or of a process without the path that the recipe follows.
    """
    if config.teacher is None:
        raise LaminarError(f"method={config.recipe} needs method.teacher=RUN, a trained diffusion or flow policy")
    teacher, whose = clone_of(load_policy(config.teacher)), f"the teacher {config.teacher}"
    teacher.spec.check_compatible(policy.spec, whose, "the data")
    for name in ("history", "chunk"):
        mine, other = getattr(policy.spec, name), getattr(teacher.spec, name)
        if mine != other:
            raise LaminarError(f"{whose} has a {name} of {other}, the student {mine}; set policy.{name}={other}")
    process, name = teacher.process, teacher.policy_config.process.name
    if process.num_steps == 1:
        raise LaminarError(f"{whose} takes one call already; choose a diffusion or flow policy of several")
    if process.inner_draws:
        raise LaminarError(
            f"{whose} draws noise on the way, so that its samples are no function of the first one; train it with "
            "policy.process.solver=ddim"
        )
    if config.recipe == "ctm" and not process.denoises:
        raise LaminarError(
            f"method=ctm follows the path of a diffusion, a flow or a mean flow, and {whose} is a {name}; "
            "choose method=reflow"
        )
    return teacher


def check_recipe(config: Config, policy: GenerativePolicy) -> None:
    """Refuse a student that the recipe cannot teach."""
    process, name = policy.process, policy.policy_config.process.name
    if config.recipe == "ctm" and not isinstance(process, CTM):
        raise LaminarError(f"method=ctm teaches policy=ctm, not policy={name}; choose that, or method=reflow")
    if config.recipe == "reflow":
        if process.deterministic:
            raise LaminarError(
                "an actor without noise has one action for all the teacher's; set policy.process.noise=true"
            )
        if not process.teachable:
            remedy = "method=ctm" if isinstance(process, CTM) else "policy=flow"
            raise LaminarError(f"method=reflow teaches flow, meanflow or direct, not policy={name}; choose {remedy}")
        if config.anneal and process.num_steps == 1:
            raise LaminarError(
                "method.anneal leads a flow of several steps to paired noise, and one call learns from pairs alone; "
                "set method.anneal=0"
            )
