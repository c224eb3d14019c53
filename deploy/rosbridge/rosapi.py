"""The few services of rosapi that clients ask before anything else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...data.robots.messages import stamped
from .dialect import Dialect


def answer(service: str, kinds: Mapping[str, str], dialect: Dialect, now: float) -> dict[str, Any] | None:
    """Return the response of a service of rosapi; None where it is none of them.

    Args:
        service: its name.
        kinds: topic -> type, of all that is known.
        dialect: how clients speak.
        now: seconds of the robot's clock.
    """
    name = service.removeprefix("/rosapi/") if service.startswith("/rosapi/") else ""
    topics = {"topics": list(kinds), "types": [dialect.kind(kind) for kind in kinds.values()]}
    if name == "topics":
        return topics
    if name == "topics_and_raw_types":
        version = 1 if dialect.name == "ros1" else 2
        store = dialect.types.store
        return topics | {
            "typedefs_full_text": [store.generate_msgdef(kind, ros_version=version)[0] for kind in kinds.values()]
        }
    if name == "get_time":
        return {"time": dialect.write("builtin_interfaces/msg/Time", stamped(now)["stamp"])}
    return None
