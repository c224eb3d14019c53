"""Suites of environments, one a file, found by its name.

A suite is a module of functions:

    ids() -> Iterable[str]                            the ids, without arguments, that it makes; cheap
    make(env_id, render) -> gymnasium.Env             env_id with its arguments, see `laminar.envs.ids`
    collect(env, episodes, seed) -> Episodes          optional: scripted demonstrations in one of its environments
    register()                                        optional: registers ids with gymnasium, once; cheap

One from elsewhere joins by `SUITES.register(module)`. Suites import what runs an environment when they make it, so
that asking for ids costs nothing.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable
from importlib.util import module_from_spec, spec_from_file_location
from types import ModuleType
from typing import Any, Protocol, cast

import gymnasium

from ...errors import LaminarError
from ...registry import Family

SUITES: Family[Any] = Family("suite", __name__, required=("ids", "make"))
FALLBACK = "gymnasium_ids"  # the suite of every id that no other one has


class Suite(Protocol):
    """What every module of this folder is."""

    def ids(self) -> Iterable[str]:
        """Return the ids, without arguments, that the suite makes."""
        ...

    def make(self, env_id: str, render: bool) -> gymnasium.Env[Any, Any]:
        """Make an environment from an id with its arguments."""
        ...


def suite_of(name: str) -> Suite:
    """Return the suite that makes an id (without arguments).

    Raises:
        LaminarError: two suites claim it.
    """
    owners = [one for one in SUITES.names() if one != FALLBACK and name in SUITES.module(one).ids()]
    if len(owners) > 1:
        raise LaminarError(f"environment '{name}' is in the suites {' and '.join(owners)}; rename it in one of them")
    return cast(Suite, SUITES.module(owners[0] if owners else FALLBACK))


def from_elsewhere() -> list[tuple[str, str]]:
    """Return name and file of the modules that were registered, for `register_again` in another process."""
    modules = [SUITES.module(name) for name in SUITES.registered]
    return [(module.__name__, getattr(module, "__file__", None) or "") for module in modules]


def register_again(modules: Iterable[tuple[str, str]]) -> None:
    """Register in this process what `from_elsewhere` returned in its parent.

    Raises:
        LaminarError: a module can be imported neither by its name nor from its file.
    """
    for name, file in modules:
        if file not in [known for _, known in from_elsewhere()]:  # importing one may have registered it
            SUITES.register(_import(name, file))


def _import(name: str, file: str) -> ModuleType:
    if name == "__main__":
        name = "__mp_main__"  # what a script is called in the processes that it starts
    try:
        return importlib.import_module(name)
    except ImportError as error:
        found = spec_from_file_location(name, file) if file else None
        if found is None or found.loader is None:
            raise LaminarError(f"suite '{name}' cannot be imported in a worker process: {error}") from error
        module = module_from_spec(found)
        sys.modules[name] = module
        found.loader.exec_module(module)
        return module
