"""File name = registry name: the members of an axis are the modules of one folder, and those that a user registers."""

from __future__ import annotations

import importlib
import pkgutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any, Generic, TypeVar

from .errors import LaminarError, nearest

Member = TypeVar("Member")
_FAMILIES: dict[str, Family[Any]] = {}  # all that this process has loaded, by their packages


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
        _FAMILIES[package] = self

    def register(self, module: ModuleType) -> str:
        """Add a module from elsewhere for the life of this process, and return its name.

        The name is that of its `Config`, or else its `NAME`, or else its file's.

        Raises:
            LaminarError: it lacks what a member defines, or the name is taken.
        """
        missing = [name for name in self.required if not hasattr(module, name)]
        if missing:
            raise LaminarError(f"{module.__name__} is no {self.noun}: it does not define {', '.join(missing)}")
        if self.base is not None:
            self._class_in(module)
        name = _name_of(module)
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

    def name_of(self, module: ModuleType) -> str:
        """Return the name of a member by its module."""
        mine = [name for name, one in self._registered.items() if one is module]
        return mine[0] if mine else module.__name__.rpartition(".")[2]

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
            for value in vars(module).values()
            # Python 3.10 takes an alias such as `tuple[int, ...]` for a class, unless its own type is looked at.
            if issubclass(type(value), type) and issubclass(value, self.base) and value.__module__ == module.__name__
        ]
        if len(classes) != 1:
            raise LaminarError(f"{module.__name__} must define exactly one {self.base.__name__}, it has {classes}")
        return classes[0]


@dataclass(frozen=True)
class Elsewhere:
    """A member that was registered, as another process can find it.

    Attributes:
        family: package of its family.
        name: of the module.
        file: of the module; "" where there is none.
    """

    family: str
    name: str
    file: str


def from_elsewhere(*nouns: str) -> list[Elsewhere]:
    """Return the members that were registered in this process, for `register_again` in one that it starts.

    Args:
        nouns: of the axes; none for all of them.
    """
    return [
        Elsewhere(family.package, family.module(name).__name__, _file(family.module(name)))
        for family in _FAMILIES.values()
        if not nouns or family.noun in nouns
        for name in family.registered
    ]


def register_again(members: Iterable[Elsewhere]) -> None:
    """Register in this process what `from_elsewhere` returned in its parent.

    Raises:
        LaminarError: a module can be imported neither by its name nor from its file.
    """
    for member in members:
        importlib.import_module(member.family)
        family = _FAMILIES[member.family]
        module = _import(member, family.noun)
        if member.file not in [_file(family.module(name)) for name in family.registered]:  # its import may have done so
            family.register(module)


def _import(member: Elsewhere, noun: str) -> ModuleType:
    """Import a module by its name, or from its file where it is not on the path or another one has its name there."""
    name = "__mp_main__" if member.name == "__main__" else member.name  # what a started process calls its script
    try:
        module = importlib.import_module(name)
        if _file(module) == member.file:
            return module
        reason = f"another module has its name, {_file(module) or 'one without a file'}"
    except ImportError as error:
        reason = str(error)
    found = spec_from_file_location(name, member.file) if member.file else None
    if found is None or found.loader is None:
        raise LaminarError(
            f"{noun} '{member.name}' cannot be imported in a worker process: {reason}; keep it in a file of its own"
        )
    module = sys.modules[name] = module_from_spec(found)
    found.loader.exec_module(module)
    return module


def _name_of(module: ModuleType) -> str:
    config = getattr(module, "Config", None)
    named = getattr(config, "name", None) or getattr(module, "NAME", None)
    return str(named or Path(_file(module)).stem or module.__name__.rpartition(".")[2])


def _file(module: ModuleType) -> str:
    return getattr(module, "__file__", None) or ""  # none where a module was made by hand
