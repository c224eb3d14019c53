"""What an environment's `info["success"]` (or "is_success") means: true, false, or a line that it cannot be told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..errors import LaminarError

_ENOUGH = 1.0 - 1e-6  # of a number: a share of subtasks below 1 is none, rounding is not held against it


def succeeded(told: Any, env_id: str) -> bool:
    """Return whether a step was a success: true, or a number of at least 1, also as an array of one element.

    robomimic's dictionary tells it under "task".

    Args:
        told: the value in `info`.
        env_id: for messages.

    Raises:
        LaminarError: anything else, such as text, several numbers, or NaN; names the value and the remedy.
    """
    if told is True or told is False:
        return told
    value: Any = told.get("task") if isinstance(told, Mapping) else told
    array = np.asarray(value)
    if array.size != 1 or array.dtype.kind not in "biuf" or np.isnan(array.item()):
        text = " ".join(str(told).split())[:80]
        raise LaminarError(
            f"'{env_id}' tells success as {text} ({type(told).__name__}), which is neither true nor false nor a "
            "number; register it in a wrapper that puts true or false into info['success']"
        )
    return float(array.item()) >= _ENOUGH
