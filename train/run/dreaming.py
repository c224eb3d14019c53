"""Settings of a run in dreams: those that would do nothing there, and those that contradict each other, are refused."""

from __future__ import annotations

from dataclasses import asdict

from ...data.instructions import TASKS
from ...envs.ids import split_id
from ...errors import LaminarError
from ...world_models.dreams import DreamConfig
from ..config import TrainConfig, TrainEnvConfig
from .checkpoint import flatten

_ELSEWHERE = {"slots": "world.slots says how many dreams there are", "processes": "dreams have no processes"}
"""Settings of simulators -> what holds in dreams."""


def skill_of(config: TrainConfig) -> str | None:
    """Return the name of the skill that is dreamed of: that of the world, else that of the environment.

    Raises:
        LaminarError: both are given, and they are not the same.
    """
    asked, task = config.world.task, split_id(config.env.id)[1].get("task") if config.env.id else None
    if asked is not None and task is not None and asked != task and {asked, task} <= set(TASKS):
        raise LaminarError(
            f"world.task={asked} is dreamed of, and task={task} would be evaluated; give the same, or leave out one"
        )
    return asked or task


def check_dreams(config: TrainConfig, name: str, acts: bool) -> None:
    """Refuse settings that do nothing in the world of this run.

    Args:
        config: of one seed.
        name: of the method.
        acts: whether it acts.

    Raises:
        LaminarError: names the first of them.
    """
    world = config.world
    if world.path is None:
        given, default = flatten(asdict(world)), flatten(asdict(DreamConfig()))
        for key in given:
            if given[key] != default[key]:
                raise LaminarError(f"world.{key} is of dreams, and none are dreamed; give world=WORLD, or leave it out")
        return
    if not acts:
        raise LaminarError(f"world={world.path} is for methods that act, and method={name} does not; leave it out")
    for key, holds in _ELSEWHERE.items():
        if getattr(config.env, key) != getattr(TrainEnvConfig(), key):
            raise LaminarError(f"env.{key} is of simulators, and world={world.path} has dreams: {holds}; leave it out")
    if config.data.validation:
        raise LaminarError(
            f"data.validation={config.data.validation:g} holds out what is cloned, and in dreams nothing is; leave "
            "it out: world.success.held_out is the share on which the classifier of success is measured"
        )
