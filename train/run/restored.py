"""The settings of a run that is resumed: `laminar train out=RUN resume=true` takes them from the run itself."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from ...errors import LaminarError
from ...policies import NETWORKS, PROCESSES, PolicyConfig
from ...policies.planners import PlannerConfig
from ...policies.storage import rebuilding
from ..config import TrainConfig
from ..methods import METHODS
from .checkpoint import stored_settings

_GROUPS = {"policy": "policy", "network": "network", "method": "method", "runtime": "runtime", "task": "env.id"}


def restored(config: TrainConfig, given: Collection[str]) -> TrainConfig:
    """Return the settings of the run in `config.out` where there is one, and of `config` what was given.

    Whether those are the run's too is not looked at here.

    Args:
        config: as it was composed.
        given: dotted keys and groups of the command line; an experiment among them has all settings.

    Raises:
        LaminarError: no run and nothing else was given, a damaged run.json, or a given setting that the run's policy,
            network or method does not have.
    """
    runs = [] if not config.out or "experiment" in given else _runs(Path(config.out))
    if not runs and set(given) <= {"out", "resume"}:
        where = f"there is no run in {config.out}" if config.out else "no run is named: give out=RUN"
        raise LaminarError(f"nothing to resume, {where}; resume=true takes the other settings from the run")
    if not runs:
        return config
    found = _from_json(stored_settings(runs[0]), runs[0] / "run.json")
    if runs[0] != Path(str(config.out)):
        found = replace(found, seed=0, seeds=[int(run.name.removeprefix("seed_")) for run in runs])
    for key in given:
        *owners, name = _GROUPS.get(key, key).split(".")
        source, target = config, found
        for owner in owners:
            source, target = getattr(source, owner), getattr(target, owner, None)
        if target is None or name not in {one.name for one in fields(target)}:
            raise LaminarError(f"cannot resume {config.out}: the run has no {key}; leave it out")
        setattr(target, name, getattr(source, name))
    return replace(found, out=config.out, resume=True)


def _runs(folder: Path) -> list[Path]:
    """Return the folder of a run, or those of its seeds in their order."""
    if (folder / "run.json").is_file():
        return [folder]
    found = (path.parent for path in folder.glob("seed_*/run.json"))
    return sorted(
        (run for run in found if run.name.removeprefix("seed_").isdecimal()), key=lambda run: int(run.name[5:])
    )


def _from_json(stored: Mapping[str, Any], path: Path) -> TrainConfig:
    config = TrainConfig()
    with rebuilding(path):
        process = PROCESSES.config_class(stored["policy"]["process"]["name"])()
        config.policy = _policy_class(stored["policy"])(process=process)
        config.network = NETWORKS.config_class(stored["network"]["name"])()
        config.method = METHODS.config_class(stored["method"]["name"])()
        _fill(config, stored)
    return config


def _policy_class(stored: Mapping[str, Any]) -> type[PolicyConfig]:
    """Return the class of a policy's settings: a planner's have more of them."""
    more = {one.name for one in fields(PlannerConfig)} - {one.name for one in fields(PolicyConfig)}
    return PlannerConfig if more & stored.keys() else PolicyConfig


def _fill(target: Any, stored: Mapping[str, Any]) -> None:
    """Set the fields of nested dataclass objects; one that is not stored, of an earlier version, keeps its default."""
    for one in fields(target):
        value = getattr(target, one.name)
        if one.name in stored and is_dataclass(value):
            _fill(value, stored[one.name])
        elif one.name in stored:
            setattr(target, one.name, stored[one.name])
