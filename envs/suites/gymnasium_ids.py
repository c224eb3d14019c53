"""Every id that gymnasium knows, or finds as "package:Id-v0": the suite of what no other one has."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import gymnasium

from ..creation import check_known, create
from ..ids import split_id
from . import SUITES


def ids() -> Iterable[str]:
    """Return all ids that are registered with gymnasium, those of other suites too."""
    return list(gymnasium.registry)


def make(env_id: str, render: bool) -> gymnasium.Env[Any, Any]:
    """Make an environment with the arguments that its id carries.

    Raises:
        LaminarError: unknown id or argument.
    """
    name, arguments = split_id(env_id)
    check_known(name, name, [known for suite in SUITES.names() for known in SUITES.module(suite).ids()])
    return create(name, arguments, render)
