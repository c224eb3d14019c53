"""Suites of environments, one a file, found by its name.

A suite is a module of functions:

    ids() -> Iterable[str]                            the ids, without arguments, that it makes; cheap
    make(env_id, render) -> gymnasium.Env             env_id with its arguments, see `laminar.envs.ids`
    collect(env, episodes, seed) -> Episodes          optional: scripted demonstrations in one of its environments
    register()                                        optional: registers ids with gymnasium, once; cheap

One from elsewhere joins by `laminar.register("suite", module)`. Suites import what runs an environment when they make
it, so that asking for ids costs nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
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
