"""Training: the one loop, the engine of updates and the methods; called itself, `laminar.train(...)`, it is the verb.

    run = laminar.train(data="demos.hdf5", method="bc", policy="flow", steps=20_000, out="runs/door")

`help(laminar.api.train)` has the arguments.
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any


class _Verb(ModuleType):
    """This module, which can be called: folder and verb have one name, and neither may hide the other."""

    def __call__(self, **settings: Any) -> Path:
        """Train a policy, see `api.train`, which lies above this room and so is not imported before."""
        return import_module(f"{__name__.rpartition('.')[0]}.api").train(**settings)


sys.modules[__name__].__class__ = _Verb
