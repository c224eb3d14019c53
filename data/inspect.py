"""What is in a demonstration file, and what looks wrong with it; `inspection/` has a file for each question."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .episodes import Episodes
from .formats import FORMATS
from .inspection import lag, repeats
from .inspection.lag import Lag, lags
from .inspection.repeats import Repeated, copies, ending_in_zeros, repeated_pictures
from .inspection.sheet import check_sheet, write_sheet
from .inspection.statistics import describe_array, labels
from .inspection.timing import Timing, timing
from .load import existing_file, find_format, for_looking, load_episodes
from .on_disk import is_on_disk
from .selection import EVERYTHING, Selection
from .spec import Feature
from .variation import Range, hardly_varies, range_of, still_dimensions, told

Array = NDArray[Any]
_IMAGES = 256  # of those on disk, evenly spread ones stand for all


@dataclass(frozen=True)
class Motion:
    """How rows follow each other.

    Attributes:
        timing: by their time stamps; None where there are none.
        lags: which states follow which actions.
        repeated: camera -> pictures that equal the one before.
    """

    timing: Timing | None
    lags: list[Lag]
    repeated: dict[str, Repeated]


def inspect_file(
    path: str | Path, selection: Selection = EVERYTHING, sheet: Path | None = None, overwrite: bool = False
) -> dict[str, Any]:
    """Read a file and describe it in plain JSON values.

    Args:
        path: the file.
        selection: which parts of it.
        sheet: PNG file to write pictures of some episodes to.
        overwrite: it may exist.

    Raises:
        LaminarError: the file cannot be read as episodes; the message is what looks wrong. Or the sheet exists, or
            there are no pictures to put on it.
    """
    if sheet is not None:
        check_sheet(sheet, overwrite)
    file = existing_file(path)
    module = find_format(file)
    episodes = load_episodes(file, for_looking(file, selection))
    found = {"path": str(file), "format": FORMATS.name_of(module), **describe(episodes)}
    return found if sheet is None else found | {"sheet": str(write_sheet(episodes, sheet))}


def motion(episodes: Episodes) -> Motion:
    """Return how the rows of episodes follow each other."""
    return Motion(timing(episodes), lags(episodes), repeated_pictures(episodes))


def describe(episodes: Episodes) -> dict[str, Any]:
    """Return counts, statistics, returns, success, timing, lags, remarks and problems of episodes, JSON-able."""
    spec, last = episodes.spec, episodes.ends - 1
    limits = None if spec.action_low is None else {"low": spec.action_low, "high": spec.action_high}
    moved = motion(episodes)
    seen = _in_memory(episodes.observation)
    failed = [] if episodes.success is None else np.flatnonzero(~episodes.success).tolist()
    return {
        "episodes": episodes.num_episodes,
        "steps": len(episodes),
        "length": _range(episodes.lengths),
        "terminated": int(episodes.terminated[last].sum()),
        "truncated": int(episodes.truncated[last].sum()),
        "observation": {key: describe_array(value) | _named(key, spec.observation[key]) for key, value in seen.items()},
        "action": describe_array(episodes.action) | _named("action", spec.action) | {"limits": limits},
        "reward": _range(episodes.reward) if episodes.has_reward else None,
        "return": _range(episodes.returns()) if episodes.has_reward else None,
        "success": None if episodes.success is None else _share(episodes.success),
        "without_success": failed,
        "rate_hz": spec.rate_hz,
        "timing": None if moved.timing is None else moved.timing.to_json(),
        "lags": [asdict(one) for one in moved.lags],
        "repeated": {key: asdict(one) for key, one in moved.repeated.items()},
        "infos": {key: list(value.shape[1:]) for key, value in episodes.infos.items()},
        "remarks": list(episodes.remarks),
        "problems": problems(episodes, moved=moved),
    }


def problems(
    episodes: Episodes, constant: Mapping[str, Collection[int]] | None = None, moved: Motion | None = None
) -> list[str]:
    """Return one sentence for each thing that looks wrong.

    Args:
        episodes: where to look.
        constant: key -> dimensions of observations that a policy takes as constant; None: those that it would.
        moved: `motion` of the episodes, where it is known.
    """
    found: list[str] = []
    observed, acted = _ranges(episodes)
    for name, (low, high, _) in [*observed.items(), ("action", acted)]:
        same = np.flatnonzero(low == high)
        background = low.ndim > 1 and len(same) < low.size  # of a camera that stands still
        if len(same) and not background:
            found.append(f"{name}: {_some(same)} of {low.size} dimensions never change")
    states = _states(episodes, observed)
    if constant is None:
        still = hardly_varies(states, episodes.spec.observation)
        constant = {key: np.flatnonzero(one).tolist() for key, one in still.items()}
    found += told(still_dimensions(states, acted, episodes.spec), constant)
    found += _action_problems(episodes)
    found += _episode_problems(episodes)
    if episodes.has_reward and np.ptp(episodes.reward) == 0:
        found.append(f"reward: always {episodes.reward[0]:g}")
    if episodes.success is not None and not episodes.success.any():
        found.append("success: no episode succeeds")
    for key, value in episodes.infos.items():
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            found.append(f"infos {key}: NaN or infinite values")
    return found + _motion_problems(episodes, motion(episodes) if moved is None else moved)


def _motion_problems(episodes: Episodes, moved: Motion) -> list[str]:
    found = [] if moved.timing is None else moved.timing.problems
    found = found + repeats.problems_of(moved.repeated)
    return found + lag.problems_of(moved.lags, episodes.spec.action_labels)


def _ranges(episodes: Episodes) -> tuple[dict[str, Range], Range]:
    """Return the range of each observation, and that of the actions."""
    observed = {key: range_of(value) for key, value in _in_memory(episodes.observation).items()}
    return observed, range_of(episodes.action)


def _states(episodes: Episodes, observed: dict[str, Range]) -> dict[str, Range]:
    """Leave out pictures and instructions, which no statistics scale."""
    features = episodes.spec.observation
    return {
        key: found
        for key, found in observed.items()
        if features[key].dtype != "uint8" and len(features[key].shape) < 3 and key != "instruction"
    }


def _action_problems(episodes: Episodes) -> list[str]:
    if episodes.spec.action_low is None or episodes.spec.action_high is None:
        return []
    low, high = np.array(episodes.spec.action_low), np.array(episodes.spec.action_high)
    tolerance = 1e-5 * np.maximum(1.0, high - low)
    outside = (episodes.action < low - tolerance) | (episodes.action > high + tolerance)
    count = int(np.count_nonzero(outside.any(axis=1)))
    return [f"action: outside its limits in {count} of {len(episodes)} steps"] if count else []


def _episode_problems(episodes: Episodes) -> list[str]:
    found: list[str] = []
    single = int((episodes.lengths == 1).sum())
    if single:
        found.append(f"episodes: {single} of {episodes.num_episodes} have a single step")
    twice = copies(episodes)
    if twice:
        found.append(f"episodes: {_some(np.array(list(twice)))} repeat earlier ones exactly")
    empty = ending_in_zeros(episodes)
    if len(empty):
        found.append(f"episodes: {_some(empty)} end in rows of zeros in all states and actions, as padding does")
    return found


def _in_memory(arrays: dict[str, Array]) -> dict[str, Array]:
    return {
        key: np.asarray(value[:: max(1, len(value) // _IMAGES)]) if is_on_disk(value) else value
        for key, value in arrays.items()
    }


def _named(name: str, feature: Feature) -> dict[str, Any]:
    """Return unit and names of a feature; matrices, pictures and instructions have no names."""
    plain = len(feature.shape) == 1 and name != "instruction"
    return {"unit": feature.unit, "names": labels(name, feature) if plain else []}


def _range(value: Array) -> dict[str, float]:
    return {"min": float(value.min()), "mean": float(value.mean(dtype=np.float64)), "max": float(value.max())}


def _share(flags: Array) -> dict[str, float]:
    return {"episodes": int(flags.sum()), "rate": float(flags.mean())}


def _some(numbers: Array, shown: int = 8) -> str:
    listed = ", ".join(str(number) for number in numbers[:shown])
    return f"{len(numbers)} ({listed}{', …' if len(numbers) > shown else ''})"
