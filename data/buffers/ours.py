"""What laminar adds to a replay buffer, so that it reads back what it wrote; other readers pass over it.

- `laminar`, an attribute of the root: the Spec, and the tasks.
- `final/<key>` (E, ...), the observation after each episode's last action; `info/<key>` (N, ...).
- `meta/terminated` and `meta/success` (E,).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import LaminarError
from ..columns import as_flags, check_rows
from ..spec import Spec
from .store import Store

Array = NDArray[Any]
ATTRIBUTE = "laminar"
FINAL, INFO, TERMINATED, SUCCESS = "final", "info", "meta/terminated", "meta/success"


@dataclass(frozen=True)
class Ours:
    """What was written beside the layout.

    Attributes:
        spec: keys, shapes, units, limits.
        final: key -> (E, ...).
        infos: key -> (N, ...).
        terminated: (E,) bool.
        success: (E,) bool, or None.
        tasks: (E,) text, or None.
    """

    spec: Spec
    final: dict[str, Array]
    infos: dict[str, Array]
    terminated: Array
    success: Array | None
    tasks: Array | None


def flat(key: str) -> str:
    """Return the name of a key's array: Diffusion Policy's own reader knows no arrays in groups."""
    return key.replace("/", ".")


def read_ours(store: Store, path: Path) -> Ours | None:
    """Return what laminar wrote, None where somebody else wrote the buffer.

    Raises:
        LaminarError: it is damaged.
    """
    stored = store.attribute(ATTRIBUTE)
    if stored is None:
        return None
    try:
        spec, tasks = Spec.from_json(stored["spec"]), stored["tasks"]
        infos = {str(key): str(name) for key, name in stored["infos"].items()}
        tasks = None if tasks is None else np.array([str(task) for task in tasks])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise LaminarError(f"{path}: the attribute '{ATTRIBUTE}' is not as laminar writes it ({error!r})") from error
    final = {key: store.read(f"{FINAL}/{flat(key)}") for key in spec.observation}
    flags = {name: as_flags(store.read(name), name, path) for name in (TERMINATED, SUCCESS) if name in store}
    per_episode = {**{f"{FINAL}/{flat(key)}": value for key, value in final.items()}, **flags}
    count = check_rows(per_episode | {"meta/episode_ends": store.read("meta/episode_ends")}, path)
    return Ours(
        spec,
        final,
        {key: store.read(f"{INFO}/{name}") for key, name in infos.items()},
        flags.get(TERMINATED, np.zeros(count, np.bool_)),
        flags.get(SUCCESS),
        tasks,
    )
