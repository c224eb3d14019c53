"""File name = registry name: a module with a `Config` and one class of the family is a member."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Mapping
from dataclasses import fields
from types import ModuleType
from typing import Any

from ..errors import LaminarError, nearest
from . import networks, processes

FAMILIES: dict[str, tuple[ModuleType, type]] = {
    "process": (processes, processes.Process),
    "network": (networks, networks.Network),
}


def names(family: str) -> list[str]:
    """Return the registered names of a family ("process" or "network"), sorted."""
    package, _ = FAMILIES[family]
    found = (info.name for info in pkgutil.iter_modules(package.__path__))
    return sorted(name for name in found if hasattr(_load(package, name), "Config"))


def config_class(family: str, name: str) -> type:
    """Return the `Config` dataclass of a member.

    Raises:
        LaminarError: the name is unknown; the nearest known one is named.
    """
    return _module(family, name).Config


def member_class(family: str, name: str) -> type:
    """Return the class that a member's module defines."""
    _, base = FAMILIES[family]
    module = _module(family, name)
    classes = [
        value
        for _, value in inspect.getmembers(module, inspect.isclass)
        if issubclass(value, base) and value.__module__ == module.__name__
    ]
    if len(classes) != 1:
        raise TypeError(f"{module.__name__} must define exactly one {base.__name__}, it has {classes}")
    return classes[0]


def config_from_json(family: str, stored: Mapping[str, Any]) -> Any:
    """Build a member's `Config` from plain values; every key must be known.

    Raises:
        LaminarError: unknown name or unknown key, with the nearest valid one.
    """
    if "name" not in stored:
        raise LaminarError(f"the {family} configuration {dict(stored)} has no 'name'; known: {names(family)}")
    config = config_class(family, stored["name"])
    known = [f.name for f in fields(config)]
    for key in stored:
        if key not in known:
            raise LaminarError(f"{family} '{stored['name']}' has no setting '{key}'{nearest(key, known)}")
    return config(**stored)


def _module(family: str, name: str) -> ModuleType:
    known = names(family)
    if name not in known:
        raise LaminarError(f"no {family} is called '{name}' (known: {known}){nearest(name, known)}")
    return _load(FAMILIES[family][0], name)


def _load(package: ModuleType, name: str) -> ModuleType:
    return importlib.import_module(f"{package.__name__}.{name}")
