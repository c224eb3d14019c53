"""Tasks of a data set, which its rows name by numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import LaminarError

Array = NDArray[Any]


def check_listed(tasks: dict[int, str], index: Array, source: str) -> None:
    """Raise unless all tasks of rows are listed.

    Raises:
        LaminarError: names the first that is not.
    """
    strange = np.setdiff1d(index, list(tasks))
    if len(strange):
        raise LaminarError(
            f"{source}: 'task_index' is {strange[0]} in some rows, and meta/tasks lists {sorted(tasks)[:12]}; copy the "
            "folder meta again"
        )
