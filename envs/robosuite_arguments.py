"""How an environment of robosuite is made: what the recording's `env_args` say, and what a user says instead."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from ..data.hdf5.file import has_signature, open_hdf5
from ..errors import LaminarError, nearest
from ..progress import tell
from .packages import named

_DEFAULTS: Mapping[str, Any] = {"robots": "Panda", "control_freq": 20, "horizon": 400}
# of the recording's process, not of its task
_NOT_TAKEN = re.compile(r"(has_|use_camera|camera_|render|ignore_done|hard_reset|seed|env_name|env_version|type)")


def arguments_of(task: str, data: str | None, own: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of `robosuite.make`.

    Args:
        task: name of the environment.
        data: robomimic file, or None.
        own: "robots", "controller", "control_freq", "horizon", as far as the user says; they come before the file's.

    Raises:
        LaminarError: the file says nothing of its environment, or is of another one; or an unknown controller.
    """
    recorded = {} if data is None else _recorded(task, Path(data))
    if "controller" in own:  # in place of all that the file says of controllers
        recorded.pop("controller_configs", None)
    arguments = {**_DEFAULTS, **recorded, **own}
    robots = arguments["robots"]
    arguments["robots"] = [name.strip() for name in robots.split(",")] if isinstance(robots, str) else list(robots)
    known: list[str] = sorted(import_module("robosuite").ALL_ROBOTS)
    for name in arguments["robots"]:
        if name not in known:
            raise LaminarError(f"robosuite has no robot '{name}' (it has {', '.join(known)}){nearest(name, known)}")
    given, controller = arguments.pop("controller_configs", None), arguments.pop("controller", None)
    arguments["controller_configs"] = _controller(given, controller, arguments["robots"][0])
    return arguments


def _recorded(task: str, path: Path) -> dict[str, Any]:
    if not path.is_file() or not has_signature(path):
        raise LaminarError(
            f"data={path} of env.id is no HDF5 file; it has to be the robomimic file of the demonstrations"
        )
    with open_hdf5(path) as file:
        text = file.group("data").attribute("env_args") if file.has_group("data") else None
    try:
        stored = json.loads(text or "{}")
        name, arguments = str(stored["env_name"]), dict(stored["env_kwargs"])
    except (KeyError, TypeError, ValueError) as error:
        raise LaminarError(
            f"{path}: 'data' has no attribute 'env_args' that says how its environment is made ({error!r}); leave "
            "data= out of env.id and give robots, controller and control_freq"
        ) from error
    if name != task:
        raise LaminarError(f"{path}: recorded in '{name}', not in '{task}'; use env.id='robosuite/{name}?data=…'")
    version = stored.get("env_version")
    here = named("robosuite").removeprefix("robosuite ")
    if version is not None and str(version).split(".")[:2] != here.split(".")[:2]:
        tell(
            f"{path} was recorded in robosuite {version}, and {here} is installed: the same actions may lead elsewhere"
        )
    return {key: value for key, value in arguments.items() if not _NOT_TAKEN.match(key)}


def _controller(config: Any, name: str | None, robot: str) -> dict[str, Any]:
    """Return the controller of a robot: a stored configuration, one by name, or the robot's own."""
    composite: Any = import_module("robosuite.controllers.composite.composite_controller_factory")
    known: Mapping[str, Any] = composite.REGISTERED_COMPOSITE_CONTROLLERS_DICT
    if config is not None:
        if isinstance(config, list):
            config = config[0]
        if config.get("type") in known:
            return config
        # of one arm, as robosuite before 1.5 had it
        return composite.refactor_composite_controller_config(config, robot, ["right", "left"])
    word, part = _words(name)
    if word is not None and not word.endswith(".json") and word not in known:
        raise LaminarError(f"robosuite has no controller '{word}' (it has {', '.join(sorted(known))})")
    if word is not None and word.endswith(".json") and not Path(word).exists():
        raise LaminarError(f"there is no file '{word}' with a controller of robosuite")
    found: dict[str, Any] = composite.load_composite_controller_config(controller=word, robot=robot)
    parts = found.get("body_parts", {})
    kinds = {str(parts[arm].get("type")) for arm in ("right", "left") if arm in parts}
    if part is not None and part not in kinds:
        raise LaminarError(f"controller '{name}' of the recording is not that of {robot}'s arms, {sorted(kinds)}")
    return found


def _words(name: str | None) -> tuple[str | None, str | None]:
    """Return the name of a composite controller and that of an arm's: of "BASIC composite (OSC_POSE)" both."""
    if name is None:
        return None, None
    part = re.search(r"\((\w+)\)", name)
    return name.split()[0] if name.strip() else None, part[1] if part else None
