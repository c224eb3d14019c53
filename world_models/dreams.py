"""A saved world model and recordings of a skill -> dreams in which the skill can be improved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from ..data.episodes import Episodes
from ..data.spec import Spec
from ..data.split import held_out, split
from ..errors import LaminarError
from ..settings import number, path
from .imagination import Imagination
from .loading import load_world
from .model import WorldModel
from .skill import INSTRUCTION, beside_skill, of_skill
from .starts import labelled, starts
from .success import Labelled, Scores, Success, SuccessConfig, learn, scores

_OTHERS = 3  # recordings of other things, for each of the skill


@dataclass
class DreamConfig:
    """A world model in place of the simulator; `world=PATH` for short."""

    path: str | None = path()  # run or checkpoint of method=world_model; null acts in the simulator
    task: str | None = None  # skill of play that is dreamed of; null is that of task=
    slots: int = number(64, least=1)  # dreams side by side
    horizon: int = number(120, least=1)  # control steps after which a dream is cut off
    success: SuccessConfig = field(default_factory=SuccessConfig)  # the classifier that ends them


def open_dreams(
    config: DreamConfig,
    recorded: Episodes | None,
    wanted: Spec,
    task: str | None,
    seed: int,
    device: torch.device,
    compiled: bool = False,
) -> Imagination:
    """Open a world model, learn what a success is, and find moments to begin at.

    Args:
        config: of the dreams.
        recorded: play in annotated windows, or demonstrations.
        wanted: what the policy sees and does.
        task: name of the skill.
        seed: of all that is drawn.
        device: where dreams are computed.
        compiled: compile what becomes of a chunk.

    Raises:
        LaminarError: whatever does not fit together.
    """
    assert config.path is not None  # else nobody dreams
    model = load_world(config.path).to(device)
    wanted.check_compatible(model.spec, "the policy", f"the world model of world={config.path}")
    if recorded is None:
        raise LaminarError("dreams begin at recorded moments: give data.path=PLAY")
    if config.task is not None and INSTRUCTION not in recorded.observation:
        raise LaminarError(
            f"world.task={config.task} chooses from annotated windows, and {recorded.source} has none: all of its "
            "episodes that succeed are of the skill; leave it out"
        )
    model.spec.check_compatible(_without_instruction(recorded.spec), f"world={config.path}", recorded.source)
    generator = torch.Generator(device).manual_seed(seed)
    skill = of_skill(recorded, task)
    others = beside_skill(recorded, task, _OTHERS * skill.num_episodes, seed)
    success, told = (None, []) if model.rewards else _success(model, skill, others, config.success, generator)
    begin = starts(model, skill, config.success.margin, generator)
    if success is not None:
        begin = begin.kept(~success(model.evidence(begin.features, begin.origin)))
    world = Imagination(model, begin, success, config.slots, config.horizon, seed, compiled)
    world.remarks = [f"dreams of {skill.num_episodes} recordings begin at {len(begin)} moments", *told]
    return world


def _success(
    model: WorldModel, skill: Episodes, others: Episodes | None, config: SuccessConfig, generator: torch.Generator
) -> tuple[Success, list[str]]:
    """Learn the classifier on most of the recordings, measure it on the rest, and tell what was found."""
    if _apart(skill) < 2:
        what = "one recording" if skill.num_episodes == 1 else f"{skill.num_episodes} recordings that all share steps"
        few = "is" if skill.num_episodes == 1 else "are"
        raise LaminarError(f"{skill.source}: {what} of the skill {few} too few to learn what a success is from")

    def rows(part: int, wholly: bool = False) -> Labelled:
        sides = [(skill, True), *([(others, False)] if others is not None and _apart(others) > 1 else [])]
        parts = [(split(one, held_out(one, config.held_out))[part], done) for one, done in sides]
        found = [labelled(model, one, config, generator, done, wholly) for one, done in parts]
        return Labelled(*(torch.cat(pieces) for pieces in zip(*found, strict=True)))

    learned, tested, dreamed = rows(0), rows(1), rows(1, wholly=True)
    for part in (learned, tested):
        if part.success.all():
            raise LaminarError(
                f"{skill.source}: the recordings are too short to show what is no success; give longer ones, or a "
                "world that predicts rewards"
            )
    success = learn(learned, tested, config, generator)
    sides = {
        "recorded": tested.part(~tested.imagined),
        f"{config.ahead} steps imagined": tested.part(tested.imagined),
        "wholly imagined": dreamed.part(dreamed.imagined),
    }
    told = _told({name: scores(success, part) for name, part in sides.items()})
    reached = scores(success, tested).precision
    if not reached >= config.precision:  # NaN: nothing counts as success
        told.append(
            f"no threshold reaches world.success.precision={config.precision:g} on held-out recordings (the last one: "
            f"{reached:.3f}), so that dreams may end in successes that are none; give more recordings of the skill"
        )
    return success, told


def _apart(episodes: Episodes) -> int:
    """Return how many parts episodes have that share no steps."""
    return episodes.num_episodes if episodes.group is None else len(np.unique(episodes.group))


def _told(found: Mapping[str, Scores]) -> list[str]:
    return [
        f"what counts as success, {name}, of held-out recordings: precision {one.precision:.3f}, recall "
        f"{one.recall:.3f}, calibration error {one.calibration_error:.3f}"
        for name, one in found.items()
    ]


def _without_instruction(spec: Spec) -> Spec:
    return replace(spec, observation={key: f for key, f in spec.observation.items() if key != INSTRUCTION})
