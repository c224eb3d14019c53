"""What the columns of a LeRobot data set are called, and how `meta/info.json` describes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import LaminarError
from ..episodes import TIMESTAMP, Episodes
from ..spec import Feature

Array = NDArray[Any]
OBSERVATION, IMAGES, STATE = "observation.", "observation.images.", "observation.state"
INFO = "info."
"""In front of what is neither seen nor done, as we write it: times that were measured are "info.timestamp"."""
TASK_INDEX = "task_index"
VIDEO, IMAGE = "video", "image"


@dataclass(frozen=True)
class Column:
    """One column of N rows.

    Attributes:
        name: as LeRobot spells it.
        values: (N, D), or pictures (N, height, width, 3), maybe on disk.
        feature: its entry in `meta/info.json`.
    """

    name: str
    values: Array
    feature: dict[str, Any]

    @property
    def is_picture(self) -> bool:
        """Tell whether its rows are pictures."""
        return self.feature["dtype"] in (VIDEO, IMAGE)

    @property
    def is_video(self) -> bool:
        """Tell whether its pictures are kept as video."""
        return self.feature["dtype"] == VIDEO


def columns_of(episodes: Episodes, video: bool, remarks: list[str]) -> list[Column]:
    """Return the columns of episodes: pictures last, without those of LeRobot's own indices.

    Args:
        episodes: what is written.
        video: pictures become video rather than one PNG a row.
        remarks: of what is left out is added.

    Raises:
        LaminarError: an observation is of a kind that LeRobot has no column for, or two would have one name.
    """
    columns = [
        _column(_observed(key, feature), episodes.observation[key], feature, video, episodes.source)
        for key, feature in episodes.spec.observation.items()
    ]
    columns.append(_column("action", episodes.action, episodes.spec.action, video, episodes.source))
    columns += _outcome(episodes)
    for key, value in episodes.infos.items():
        if _is_told(key, value, episodes):
            continue
        name = INFO + key.replace("/", ".")
        if value.ndim > 2 or value.dtype.kind not in "biuf" or not value.size:
            remarks.append(f"left out: infos '{key}', {value.dtype} {value.shape[1:]} a step")
        else:
            columns.append(_numbers(name, value, ()))
    names = [column.name for column in columns]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise LaminarError(
            f"{episodes.source}: two columns would be called '{twice}'; choose others: data.observation=[…]"
        )
    return sorted(columns, key=lambda column: column.is_picture)


def _is_told(key: str, value: Array, episodes: Episodes) -> bool:
    """Tell whether LeRobot's own columns say it: times that are steady, and numbers of tasks that have words."""
    if key == TIMESTAMP and episodes.spec.rate_hz:
        frame = np.arange(len(episodes)) - episodes.starts[episodes.episode_index]
        return value.size == len(frame) and np.allclose(value.reshape(-1), frame / episodes.spec.rate_hz, atol=1e-6)
    return key == TASK_INDEX and (episodes.tasks is not None or not value.any())


def _observed(key: str, feature: Feature) -> str:
    """Return LeRobot's name of an observation."""
    plain = key.replace("/", ".")
    if plain.startswith(OBSERVATION):
        return plain
    if plain == "observation":
        return f"{IMAGES}observation" if len(feature.shape) > 1 else STATE
    return (IMAGES if len(feature.shape) > 1 else OBSERVATION) + plain


def _column(name: str, values: Array, feature: Feature, video: bool, source: str) -> Column:
    if len(feature.shape) == 1:
        return _numbers(name, values, feature.names)
    if values.dtype != np.uint8 or len(feature.shape) != 3 or feature.shape[2] != 3:
        raise LaminarError(
            f"{source}: '{name}' is {values.dtype} {feature.shape} a step, and LeRobot has columns for vectors and for "
            "pictures of three channels; leave it out: data.observation=[KEY,KEY]"
        )
    kind = VIDEO if video else IMAGE
    return Column(
        name,
        values,
        {"dtype": kind, "shape": list(feature.shape), "names": ["height", "width", "channels"], "info": None},
    )


def _numbers(name: str, values: Array, names: tuple[str, ...]) -> Column:
    rows = values.reshape(len(values), -1)
    listed = list(names) if len(names) == rows.shape[1] else None
    return Column(name, rows, {"dtype": str(rows.dtype), "shape": [rows.shape[1]], "names": listed})


def _outcome(episodes: Episodes) -> list[Column]:
    """Return rewards, and flags in the last row of an episode that terminated, was cut off, or succeeded."""
    last = episodes.ends - 1
    columns = [_numbers("next.reward", episodes.reward, ())] if episodes.has_reward else []
    columns += [_numbers("next.done", episodes.terminated, ()), _numbers("next.truncated", episodes.truncated, ())]
    if episodes.success is not None:
        succeeded = np.zeros(len(episodes), np.bool_)
        succeeded[last] = episodes.success
        columns.append(_numbers("next.success", succeeded, ()))
    return columns
