"""File name = registry name: the members of an axis are the modules of one folder, and those that a user registers."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from types import ModuleType
from typing import Any, Generic, TypeVar

from .errors import LaminarError, nearest

Member = TypeVar("Member")


class Family(Generic[Member]):
    """One axis: processes, networks, methods, file formats and so on.

    A module of the family's package that defines `required` is a member under its file name; there is no list to edit.
    """

    def __init__(
        self, noun: str, package: str, base: type[Member] | None = None, required: Sequence[str] = ("Config",)
    ) -> None:
        """Name the axis.

        Args:
            noun: what a member is, for messages.
            package: whose modules are looked through, when the family is first asked.
            base: class that each member defines exactly one subclass of; None where a member is a module of functions.
            required: names that make a module a member.
        """
        self.noun, self.package, self.base, self.required = noun, package, base, tuple(required)
        self._registered: dict[str, ModuleType] = {}

    def register(self, module: ModuleType) -> str:
        """Add a module from elsewhere for the life of this process, and return its name.

        The name is that of its `Config`, or else its file's.

        Raises:
            LaminarError: it lacks what a member defines, or the name is taken.
        """
        missing = [name for name in self.required if not hasattr(module, name)]
        if missing:
            raise LaminarError(f"{module.__name__} is no {self.noun}: it does not define {', '.join(missing)}")
        if self.base is not None:
            self._class_in(module)
        name = str(getattr(getattr(module, "Config", None), "name", None) or _file_name(module))
        if name in self.names() and self._registered.get(name) is not module:
            raise LaminarError(f"there is a {self.noun} called '{name}' already; choose another name")
        self._registered[name] = module
        return name

    def names(self) -> list[str]:
        """Return the names of all members, sorted."""
        return sorted({*self._found(), *self._registered})

    @property
    def registered(self) -> list[str]:
        """Names of the members that come from elsewhere."""
        return sorted(self._registered)

    def module(self, name: str) -> ModuleType:
        """Return a member's module.

        Raises:
            LaminarError: the name is unknown; the nearest known one is named.
        """
        known = self.names()
        if name not in known:
            raise LaminarError(f"no {self.noun} is called '{name}' (known: {', '.join(known)}){nearest(name, known)}")
        return self._registered.get(name) or self._load(name)

    def config_class(self, name: str) -> type[Any]:
        """Return the `Config` dataclass of a member."""
        return self.module(name).Config

    def member_class(self, name: str) -> type[Member]:
        """Return the class that a member's module defines."""
        return self._class_in(self.module(name))

    def config_from_json(self, stored: Mapping[str, Any]) -> Any:
        """Build a member's `Config` from plain values; every key must be known.

        Raises:
            LaminarError: unknown name or unknown key, with the nearest valid one.
        """
        if "name" not in stored:
            known = ", ".join(self.names())
            raise LaminarError(f"the {self.noun} configuration {dict(stored)} has no 'name' (known: {known})")
        config = self.config_class(stored["name"])
        known = [field.name for field in fields(config)]
        for key in stored:
            if key not in known:
                raise LaminarError(f"{self.noun} '{stored['name']}' has no setting '{key}'{nearest(key, known)}")
        return config(**stored)

    def _found(self) -> list[str]:
        folder = importlib.import_module(self.package).__path__
        names = (info.name for info in pkgutil.iter_modules(folder))
        return [name for name in names if all(hasattr(self._load(name), one) for one in self.required)]

    def _load(self, name: str) -> ModuleType:
        return importlib.import_module(f"{self.package}.{name}")

    def _class_in(self, module: ModuleType) -> type[Member]:
        assert self.base is not None
        classes = [
            value
            for _, value in inspect.getmembers(module, inspect.isclass)
            if issubclass(value, self.base) and value.__module__ == module.__name__
        ]
        if len(classes) != 1:
            raise LaminarError(f"{module.__name__} must define exactly one {self.base.__name__}, it has {classes}")
        return classes[0]


def _file_name(module: ModuleType) -> str:
    file = getattr(module, "__file__", None)  # none where a module was made by hand
    return Path(file).stem if file else module.__name__.rpartition(".")[2]
