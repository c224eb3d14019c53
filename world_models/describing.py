"""What a saved world model knows, for `laminar inspect WORLD`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..data.spec import Feature
from .loading import load_world
from .model import KIND, WorldModel


def describe(folder: str | Path) -> dict[str, Any]:
    """Open a world model and describe it in plain JSON values.

    Raises:
        LaminarError: it is damaged.
    """
    model = load_world(folder)
    spec, sized = model.spec, model.config.sized
    observation = {key: _feature(model, key, feature) for key, feature in spec.observation.items()}
    return {
        "path": str(folder),
        "kind": KIND,
        "size": model.config.size,
        "memory": sized.deter,
        "groups": sized.groups,
        "classes": sized.classes,
        "hidden": sized.hidden,
        "features": model.feature_dim,
        "parameters": sum(one.numel() for one in model.parameters()),
        "observation": observation,
        "action": _feature(model, "action", spec.action),
        "rate_hz": spec.rate_hz,
        "rewards": model.rewards,
        "context": model.config.context,
    }


def _feature(model: WorldModel, key: str, feature: Feature) -> dict[str, Any]:
    found: dict[str, Any] = {"shape": list(feature.shape), "dtype": feature.dtype, "unit": feature.unit}
    if key not in model.values:
        return found
    values = model.values[key]
    names = feature.names if len(feature.names) == feature.width else tuple(map(str, range(feature.width)))
    return found | {
        "angles": [names[at] for at in values.angles],
        "pairs": {names[at]: [low, high] for at, low, high in values.pairs},
    }


def render(found: dict[str, Any]) -> str:
    """Return what `describe` found as text for a terminal."""
    lines = [
        f"{found['path']} (world model, {found['size']})",
        f"  size       {found['parameters']:,} parameters: memory {found['memory']}, code {found['groups']} x "
        f"{found['classes']}, layers {found['hidden']}",
    ]
    if found["rate_hz"]:
        lines.append(f"  rate       {found['rate_hz']:g} Hz")
    lines += [f"  observation '{key}' {_told(one)}" for key, one in found["observation"].items()]
    lines.append(f"  action {_told(found['action'])}")
    lines.append(f"  rewards    {'predicted, and ends' if found['rewards'] else 'none; a classifier ends its dreams'}")
    lines.append(f"  context    {found['context']} steps are seen before a dream begins")
    return "\n".join(lines)


def _told(one: dict[str, Any]) -> str:
    text = f"{tuple(one['shape'])} {one['dtype']}" + (f" ({one['unit']})" if one["unit"] else "")
    if "angles" not in one:
        return f"{text}, a picture"
    if one["angles"]:
        text += f"; angles: {', '.join(one['angles'])}"
    if one["pairs"]:
        pairs = ", ".join(f"{name} ({low:g} or {high:g})" for name, (low, high) in one["pairs"].items())
        text += f"; of two values: {pairs}"
    return text
