"""What a word of `laminar inspect` names, and what is known of it.

What is needed is imported where it is, so that a robot or a file is looked at without PyTorch.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..data.config import InspectConfig


def look_at(path: str, config: InspectConfig) -> tuple[dict[str, Any], str]:
    """Return what is known of a file or folder, as plain values and as text.

    Args:
        path: a robot's description, a world model, a policy or run, or recordings.
        config: how recordings are looked at.

    Raises:
        LaminarError: it cannot be read.
    """
    if path.endswith((".yaml", ".yml")):
        from ..data.robots.describing import describe
        from ..data.robots.reading import load_robot

        robot = load_robot(path)
        return asdict(robot), describe(robot)
    if Path(path).is_dir():
        from ..world_models import describing as world
        from ..world_models import is_world
        from . import describing as policy

        if is_world(path):
            return (known := world.describe(path)), world.render(known)
        if policy.is_policy(path):
            return (known := policy.describe(path)), policy.render(known)
    from ..data.inspect import inspect_file
    from ..data.inspection.text import render

    sheet = Path(config.sheet) if config.sheet else None
    found = inspect_file(path, config.data.selection, sheet, config.overwrite)
    return found, render(found)
