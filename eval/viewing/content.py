"""What is on the page of `laminar view`, as plain values."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...data.episodes import TIMESTAMP, Episodes
from ...data.inspect import motion, problems
from ...data.inspection.flags import flags
from ...data.inspection.frames import cameras, is_number
from ...data.inspection.statistics import labels
from ...progress import Progress, silent
from .film import film

Array = NDArray[Any]
_WIDEST = 64  # curves of one feature, at most
_MOMENTS = 2000  # of one episode, at most
_CURVES = 0.3  # share of the page for curves
_VALUE = 4 * 4 / 3  # bytes of a number, in base64


def content(episodes: Episodes, most: int, megabytes: float, progress: Progress = silent) -> dict[str, Any]:
    """Return what the script of the page shows.

    Args:
        episodes: the recordings.
        most: episodes on the page, evenly spread.
        megabytes: that all of it may take.
        progress: follows the pictures.
    """
    chosen = np.unique(np.linspace(0, episodes.num_episodes - 1, min(most, episodes.num_episodes)).round()).astype(int)
    columns, groups = _columns(episodes)
    room = _CURVES * megabytes * 1e6 / (_VALUE * len(chosen) * (sum(value.shape[1] for value in columns) + 1))
    moments = [_moments(episodes, one, max(2, min(_MOMENTS, int(room)))) for one in chosen]
    moved = motion(episodes)
    odd = flags(episodes, moved.repeated)
    shown = [_episode(episodes, int(one), rows, columns, odd) for one, rows in zip(chosen, moments, strict=True)]
    left = megabytes * 1e6 - sum(len(one["values"]) + len(one["times"] or "") for one in shown)
    sources = {key: episodes.observation[key] for key in cameras(episodes)}
    for one, pictures in zip(shown, film(sources, moments, max(left, 0.0), progress), strict=True):
        one["pictures"] = {key: {"every": film.every, "jpeg": film.pictures} for key, film in pictures.items()}
    return {
        "source": episodes.source,
        "of": episodes.num_episodes,
        "steps": len(episodes),
        "rate": episodes.spec.rate_hz,
        "successes": None if episodes.success is None else int(episodes.success.sum()),
        "cameras": list(sources),
        "groups": groups,
        "episodes": shown,
        "problems": problems(episodes, moved=moved),
        "remarks": list(episodes.remarks),
    }


def _columns(episodes: Episodes) -> tuple[list[Array], list[dict[str, Any]]]:
    """Return the curves (N, width) of each feature, and what they are called."""
    spec = episodes.spec
    features = {key: one for key, one in spec.observation.items() if is_number(key, one)}
    columns = [episodes.observation[key].reshape(len(episodes), -1) for key in features]
    groups: list[dict[str, Any]] = [
        {"title": "observation" if key == "observation" else f"observation {key}", "unit": one.unit}
        | {"names": labels(key, one)}
        for key, one in features.items()
    ]
    columns.append(episodes.action)
    groups.append({"title": "action", "unit": spec.action.unit, "names": list(spec.action_labels)})
    if episodes.has_reward:
        columns.append(episodes.reward[:, None])
        groups.append({"title": "reward", "unit": "", "names": ["reward"]})
    for group in groups:
        group["more"], group["names"] = max(0, len(group["names"]) - _WIDEST), group["names"][:_WIDEST]
    return [column[:, :_WIDEST] for column in columns], groups


def _moments(episodes: Episodes, episode: int, most: int) -> Array:
    """Return the rows of an episode that can be looked at: all, or evenly spread ones."""
    start, end = int(episodes.starts[episode]), int(episodes.ends[episode])
    return np.arange(start, end, -(-(end - start) // most))


def _episode(
    episodes: Episodes, episode: int, rows: Array, columns: Sequence[Array], odd: Sequence[Sequence[str]]
) -> dict[str, Any]:
    start, end = int(episodes.starts[episode]), int(episodes.ends[episode])
    values = np.concatenate([np.asarray(column[rows], np.float64) for column in columns], axis=1)
    stamps = episodes.infos.get(TIMESTAMP)
    usable = stamps is not None and stamps.size == len(episodes) and bool(np.isfinite(stamps).all())
    times = _packed(stamps.reshape(-1)[rows] - stamps.reshape(-1)[start]) if usable and stamps is not None else None
    return {
        "number": episode,
        "length": end - start,
        "stride": int(rows[1] - rows[0]) if len(rows) > 1 else 1,
        "moments": len(rows),
        "return": float(episodes.reward[start:end].sum(dtype=np.float64)) if episodes.has_reward else None,
        "success": None if episodes.success is None else bool(episodes.success[episode]),
        "task": "" if episodes.tasks is None else str(episodes.tasks[episode]),
        "flags": list(odd[episode]),
        "values": _packed(values.T),
        "times": times,
    }


def _packed(values: Array) -> str:
    """Return numbers as base64 of single precision, which a browser takes up as they are."""
    return b64encode(np.ascontiguousarray(values, "<f4").tobytes()).decode("ascii")
