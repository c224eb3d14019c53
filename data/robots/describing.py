"""A robot's description as a short table for people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict

from .description import Camera, Output, Robot

_ROLES = ("reset", "estop", "seed", "start", "success", "heartbeat")


def describe(robot: Robot) -> str:
    """Return what a robot shows and is told, within which limits, by which services, and what it is watched for."""
    rows = [
        ("robot", f"{robot.name}, {robot.dialect}, {robot.rate_hz:g} Hz ({robot.source})"),
        *_observation(robot),
        *(row for output in robot.action for row in _output(robot, output)),
        *((role, getattr(robot, role)) for role in _ROLES if getattr(robot, role)),
        ("simulator", robot.simulator),
        (
            "watch",
            ", ".join(f"{name} {value:g} s" for name, value in asdict(robot.watch).items() if _watched(robot, name)),
        ),
    ]
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:{width}}  {what}".rstrip() for name, what in rows if what)


def _watched(robot: Robot, name: str) -> bool:
    return name != "heartbeat" or bool(robot.heartbeat)


def _observation(robot: Robot) -> Iterator[tuple[str, str]]:
    for key, shown in robot.observation.items():
        if isinstance(shown, Camera):
            resized = ", resized" if shown.resize else ""
            yield f"sees {key}", f"{shown.height} x {shown.width} x 3 of {shown.topic}{resized}"
            continue
        unit = f" {robot.units[key]}" if key in robot.units else ""
        parts = [f"{part.width} of {part.topic} {part.field} ({_some(part.labels)})" for part in shown]
        yield f"sees {key}", f"{sum(part.width for part in shown)}{unit}: {'; '.join(parts)}"


def _output(robot: Robot, output: Output) -> Iterator[tuple[str, str]]:
    """Return a line of the output, and one of each of its numbers."""
    stop = "rests where it is measured" if output.positions else "rests as listed"
    kind = robot.types[output.topic]
    yield "tells", f"{output.width} to {output.topic} {output.field} ({kind}), {stop}"
    for index, label in enumerate(output.labels):
        low, high = (side[index] if side else None for side in (output.low, output.high))
        facts = [f"{_or(low, '-inf')} to {_or(high, 'inf')}"]
        facts += [
            f"{limit[index]:g}{per}" for limit, per in ((output.velocity, "/s"), (output.acceleration, "/s^2")) if limit
        ]
        facts += [f"rest {_or(output.rest[index], 'keep')}"] if output.rest else []
        yield f"  {label}", ", ".join(facts)


def _or(value: float | None, missing: str) -> str:
    return missing if value is None else f"{value:g}"


def _some(names: Sequence[str], most: int = 4) -> str:
    return ", ".join(names[:most]) + (f", … {len(names) - most} more" if len(names) > most else "")
