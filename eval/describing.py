"""What a run or a saved policy is, for `laminar inspect RUN`: what it does, what it learned from, how it did."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..data.spec import Feature
from ..errors import LaminarError
from ..policies import load_policy
from ..policies.module import PolicyModule
from ..policies.storage import checkpoints, read_object, rebuilding
from ..progress import duration
from .reports.evaluations import read_evaluation
from .results.origin import Origin
from .results.run_record import METRICS, read_rows, run_around

_SHOWN = 6  # figures of the log, evaluations and problems that a terminal shows
_CLOCKS = ("step", "wall_seconds", "cpu_seconds")


def is_policy(folder: str | Path) -> bool:
    """Tell whether a folder is a run, one of its checkpoints, or a saved policy; it may be a damaged one."""
    place = Path(folder)
    saved = (place / "model.safetensors").is_file() and (place / "config.json").is_file()
    return (place / "run.json").is_file() or saved or bool(checkpoints(place))


def describe(folder: str | Path) -> dict[str, Any]:
    """Open a run or policy and describe it in plain JSON values.

    Raises:
        LaminarError: it is damaged.
    """
    place = Path(folder)
    run = run_around(place)
    settings = read_object(run / "run.json") if run is not None else {}
    begun = run is not None and place.absolute() == run and not checkpoints(run)
    found: dict[str, Any] = {"path": str(folder), "kind": "run without a checkpoint" if begun else "policy"}
    if not begun:
        policy = load_policy(place)
        found |= {"origin": str(Origin.of(place)), **_policy(policy)}
    if run is not None:
        with rebuilding(run / "run.json"):
            found["training"] = _training(run, settings)
        found["evaluations"] = [_evaluation(file) for file in sorted(run.rglob("eval.json"))]
    short = run is not None and place.absolute() == run and found["training"]["short"]
    return found | {"next": _commands(str(folder), settings, begun, short)}


def _policy(policy: PolicyModule) -> dict[str, Any]:
    spec, config = policy.spec, policy.config
    parts = list(_parts(config))
    own = parts[-1]
    return {
        "parts": [str(part["kind"]) for part in parts],
        "process": _named(own.get("policy") or {}, "process"),
        "network": _named(own, "network"),
        "parameters": sum(one.numel() for one in policy.parameters()),
        "calls": policy.calls().count,
        "observation": {key: asdict(feature) for key, feature in spec.observation.items()},
        "action": asdict(spec.action) | {"low": spec.action_low, "high": spec.action_high},
        "history": spec.history,
        "chunk": spec.chunk,
        "execute": spec.execute,
        "rate_hz": spec.rate_hz,
        "schedules": sorted(policy.schedules),
    }


def _parts(config: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the configuration of a policy, then those of what it stands in front of."""
    part: Mapping[str, Any] | None = config
    while part:
        yield part
        part = part.get("base")


def _named(config: Mapping[str, Any], group: str) -> str | None:
    chosen = config.get(group)
    return str(chosen["name"]) if isinstance(chosen, Mapping) and "name" in chosen else None


def _training(run: Path, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a run was told, what it noted about its data, and how far it came."""
    method, data = settings.get("method") or {}, settings.get("data") or {}
    record, rows = settings.get("record") or {}, read_rows(run / METRICS)
    last: dict[str, Any] = {}
    for row in rows:  # evaluations are rows of their own
        last |= row
    start, saved = settings.get("init"), checkpoints(run)
    steps = int(saved[-1].name.removeprefix("step_")) if saved else 0
    return {
        "run": str(run),
        "method": method.get("recipe") or method.get("name"),
        "data": data.get("path"),
        "observation": data.get("observation"),
        "instruction": data.get("instruction"),
        "init": start.get("path") if isinstance(start, Mapping) else start,
        "world": (settings.get("world") or {}).get("path"),
        "env": (settings.get("env") or {}).get("id"),
        "seed": settings.get("seed"),
        "steps": steps,
        "of": settings.get("steps"),
        "short": bool(settings.get("steps")) and steps < settings["steps"],
        "seconds": last.get("wall_seconds"),
        "checkpoints": [folder.name for folder in saved],
        "last": {name: value for name, value in last.items() if name not in _CLOCKS},
        "remarks": list(record.get("remarks", [])),
        "problems": list(record.get("problems", [])),
    }


def _evaluation(file: Path) -> dict[str, Any]:
    """Return where an evaluation lies and what it found, or why it cannot be read."""
    try:
        found = read_evaluation(file, lambda _: ("", "", ""))
    except LaminarError as error:
        return {"path": str(file.parent), "remark": str(error)}
    if found is None:
        return {"path": str(file.parent), "remark": "three numbers of the offline protocol: laminar table shows them"}
    figures = {name: str(interval) for name, interval in found.figures.items()}
    return {"path": str(file.parent), "env": found.result.env_id, "count": found.count, "figures": figures}


def _commands(path: str, settings: Mapping[str, Any], begun: bool, short: bool) -> list[str]:
    """Return what one would do next: with a policy, and to train one to the end."""
    policy = shlex.quote(path)
    resume = [f"laminar train out={policy} resume=true"] if short or begun else []
    if begun:
        return resume
    env = (settings.get("env") or {}).get("id")
    data = (settings.get("data") or {}).get("path")
    where = shlex.quote(str(env)) if env else "ENVIRONMENT"
    lines = [f"laminar eval policy.path={policy} env.id={where} out={shlex.quote(f'{path}/eval')}"]
    lines += [f"laminar replay policy.path={policy}" + ("" if data else " data.path=FILE")]
    return [*resume, *lines, f"laminar bench policy.path={policy}", f"laminar export policy.path={policy} out=FOLDER"]


def render(found: dict[str, Any]) -> str:
    """Return what `describe` found as text for a terminal."""
    lines = [f"{found['path']} ({found['kind']})"]
    if "parts" in found:
        lines += _policy_lines(found)
    if "training" in found:
        lines += _training_lines(found["training"])
    for one in found.get("evaluations", [])[:_SHOWN]:
        figures = ", ".join(f"{name} {value}" for name, value in one.get("figures", {}).items())
        told = one.get("remark") or f"{figures}; {one['count']} of {one['env']}"
        lines.append(f"  evaluated  {told} ({one['path']})")
    return "\n".join([*lines, *(f"  next       {command}" for command in found["next"])])


def _policy_lines(found: dict[str, Any]) -> list[str]:
    made = [" around ".join(found["parts"])]
    made += [f"{what} {found[what]}" for what in ("process", "network") if found[what]]
    calls = f"{found['calls']} network call{'s' * (found['calls'] != 1)} a chunk"
    lines = [
        f"  weights    {found['origin']}",
        f"  policy     {', '.join(made)}; {found['parameters']:,} parameters, {calls}",
    ]
    lines += [f"  sees       '{key}' {_feature(one)}" for key, one in found["observation"].items()]
    action = found["action"]
    bounds = f", limits {min(action['low']):g} to {max(action['high']):g}" if action["low"] else ""
    rate = f" at {found['rate_hz']:g} Hz" if found["rate_hz"] else ""
    lines.append(f"  does       {_feature(action)}{bounds}{rate}")
    lines.append(f"  chunks     of {found['chunk']}, {found['execute']} executed; history of {found['history']}")
    return lines + ([f"  schedules  {', '.join(found['schedules'])}"] if found["schedules"] else [])


def _feature(one: Mapping[str, Any]) -> str:
    feature = Feature(tuple(one["shape"]), one["dtype"], one["unit"], tuple(one["names"]))
    names = f": {', '.join(feature.names)}" if feature.names else ""
    return f"{feature.shape} {feature.dtype}" + (f" ({feature.unit})" if feature.unit else "") + names


def _training_lines(told: dict[str, Any]) -> list[str]:
    data = told["data"] if isinstance(told["data"], list) else [told["data"]] if told["data"] else []
    parts = [f"method {told['method']}", *([f"data {', '.join(map(str, data))}"] if data else [])]
    parts += [f"{what} {told[what]}" for what in ("instruction", "init", "world", "env") if told[what]]
    of = f" of {told['of']}" if told["of"] else ""
    took = f" in {duration(told['seconds'])}" if told["seconds"] else ""
    lines = [
        f"  training   {', '.join(parts)}, seed {told['seed']}",
        f"  updates    {told['steps']}{of}{took}; checkpoints: {', '.join(told['checkpoints']) or 'none'}",
    ]
    figures = [f"{name} {value:.4g}" for name, value in told["last"].items() if isinstance(value, int | float)]
    lines += [f"  log        {', '.join(figures[:_SHOWN])}"] if figures else []
    lines += [f"  note: {remark}" for remark in told["remarks"][:_SHOWN]]
    return lines + [f"  looks wrong: {problem}" for problem in told["problems"][:_SHOWN]]
