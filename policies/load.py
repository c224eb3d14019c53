"""Saved policies, opened again: strictly, by names of the registry, and those of earlier versions too."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..data.spec import Spec
from ..data.words.encoder import FILE as LANGUAGE
from ..data.words.encoder import read_encoder
from ..errors import LaminarError, nearest
from ..registry import Family
from . import storage
from .black_box import Function, attach
from .module import PolicyModule
from .policy import Policy
from .processes.solver_schedules import SolverSchedule, read_schedules, write_schedules

POLICIES = Family("policy", __name__.rpartition(".")[0], PolicyModule, required=("restore",))
"""All kinds of policies, by name: each module has ``restore(config, spec, base)``."""

_NO_POLICIES = {
    "world_model": "a world model, and a policy is needed; look at it with laminar replay world={folder}, or improve a "
    "policy in it: laminar train method=diwa init=POLICY world={folder} data.path=PLAY"
}
"""Kinds of saved things that are none -> what they are."""


def load_policy(folder: str | Path, black_box: Policy | Function | None = None) -> PolicyModule:
    """Restore a policy from a folder written by `save`, from a checkpoint, or from a run (its newest checkpoint).

    Nothing is unpickled and no name from the file is imported: kinds, processes and networks come from the registry.

    Args:
        folder: where it is.
        black_box: the function or policy that it is made of, where it is made of one; see `black_box.black_box`.

    Raises:
        LaminarError: a file or tensor is missing, unexpected or has another shape; it is named.
    """
    folder = storage.resolve_checkpoint(Path(folder))
    with storage.rebuilding(folder / "config.json"):
        config = _of_today(storage.read_json(folder / "config.json"))
        kind = str(config["kind"])  # damaged, it may be anything
    if kind in _NO_POLICIES:
        raise LaminarError(f"{folder} holds {_NO_POLICIES[kind].format(folder=folder)}")
    if kind not in POLICIES.names():
        known = ", ".join(POLICIES.names())
        raise LaminarError(
            f"{folder} holds a '{kind}', and no kind of policy is called so (known: {known})"
            f"{nearest(str(kind), POLICIES.names())}; give a policy's folder, or register the kind first"
        )
    with storage.rebuilding(folder / "spec.json"):
        spec = Spec.from_json(storage.read_json(folder / "spec.json"))
    stored = _stored(folder)
    with storage.rebuilding(folder / "config.json"):
        _check_sizes(folder, stored, config, spec)
        policy = build(config, spec)
    _take(policy, folder, stored)
    policy.schedules = read_schedules(folder)
    if (folder / LANGUAGE).is_file():
        read_encoder(folder / LANGUAGE)  # it is found by the label in the Spec from now on
    if black_box is not None:
        attach(policy, black_box)
    return policy.eval()


def build(config: Mapping[str, Any], spec: Spec) -> PolicyModule:
    """Build a policy without its weights from its `config`, the policies that it is composed of first.

    Raises:
        LaminarError: an unknown kind, process, network or setting.
    """
    base = build(config["base"], spec) if config.get("base") else None
    return POLICIES.module(config["kind"]).restore(config, spec, base)


def load_weights(policy: PolicyModule, folder: Path) -> None:
    """Load the weights in a policy's folder into a policy in place; names and shapes must match exactly.

    Raises:
        LaminarError: names the file and the first tensor that is missing, unexpected or of another shape.
    """
    _take(policy, folder, _stored(folder))


def save_schedule(folder: str | Path, name: str, schedule: SolverSchedule) -> Path:
    """Keep a solver schedule beside the weights that it was searched for, under a name, and return its file.

    Raises:
        LaminarError: no policy there, or a damaged file of schedules.
    """
    place = storage.resolve_checkpoint(Path(folder))
    return write_schedules(place, read_schedules(place) | {name: schedule})


def _stored(folder: Path) -> dict[str, Tensor]:
    """Return the tensors in a policy's folder by the names that they have today."""
    stored = storage.read_tensors(folder / "model.safetensors")
    with storage.rebuilding(folder / "config.json"):
        config = storage.read_json(folder / "config.json")
        return _with_base(stored) if "kind" not in config and config.get("critic") else stored


def _take(policy: PolicyModule, folder: Path, stored: Mapping[str, Tensor]) -> None:
    storage.check_tensors(folder / "model.safetensors", stored, policy.state_dict())
    policy.load_state_dict(stored)


def _check_sizes(folder: Path, stored: Mapping[str, Tensor], config: Mapping[str, Any], spec: Spec) -> None:
    """Hold the configuration against the weights while its tensors are shapes alone: a damaged one may ask for any.

    Raises:
        LaminarError: names the first tensor that does not fit.
    """
    try:
        with torch.device("meta"):
            own = build(config, spec).state_dict()
    except (RuntimeError, NotImplementedError):  # a policy from elsewhere may compute with values when it is built
        return
    storage.check_tensors(folder / "model.safetensors", stored, own)


def _of_today(config: dict[str, Any]) -> dict[str, Any]:
    """Return a configuration with its kind: of old, a policy had no kind, and maybe a critic inside."""
    if "kind" in config:
        return config
    critic = config.get("critic")
    plain = {"kind": "generative"} | {name: value for name, value in config.items() if name != "critic"}
    return {"kind": "guided", "acting": {}, "critic": critic, "base": plain} if critic else plain


def _with_base(stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name if name.startswith("critic.") else f"base.{name}": value for name, value in stored.items()}
