"""How often steps are learned from where tasks have unequal shares of the recordings."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import LaminarError
from .episodes import Episodes

Array = NDArray[Any]


def step_weights(episodes: Episodes, balance: float) -> Array | None:
    """Return how often each step is drawn, (N,), compared with the others; None: all alike.

    A task that has the share p of the steps gets one in proportion to p^(1 - balance): 0 leaves it as it is, 1 makes
    all tasks alike, and what lies between favors the rare ones less (so are languages weighed in pretraining, Lample
    and Conneau 2019, arXiv:1901.07291, section 3.1). Within a task all steps are alike. Episodes that name no task,
    such as those that are told by a goal, keep their share.

    Raises:
        LaminarError: the recordings do not tell what tasks they show.
    """
    if balance == 0:
        return None
    names = episodes.named_tasks
    if names is None or not (names != "").any():
        raise LaminarError(
            f"{episodes.source}: data.balance weighs tasks, and these recordings do not tell which they show; leave it "
            "out, or give data.instruction= if there are annotations"
        )
    lengths = episodes.lengths
    _, task = np.unique(names, return_inverse=True)
    share = np.bincount(task, lengths)[task] / lengths.sum()  # (E,) of an episode's task among all steps
    weight = share**-balance
    told = names != ""
    weight[~told] = 1.0
    weight[told] *= lengths[told].sum() / (weight[told] @ lengths[told])
    return np.repeat(weight, lengths)
