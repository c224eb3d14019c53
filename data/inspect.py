"""What is in a demonstration file, and what looks wrong with it."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .episodes import Episodes
from .formats import FORMATS
from .load import existing_file, find_format, load_episodes
from .on_disk import is_on_disk
from .selection import Selection
from .variation import Range, hardly_varies, range_of, still_dimensions, told

Array = NDArray[Any]
_IMAGES = 256  # of those on disk, evenly spread ones stand for all


def inspect_file(path: str | Path, robot: str | None = None) -> dict[str, Any]:
    """Read a file and describe it in plain JSON values.

    Args:
        path: the file.
        robot: that a bag shows, as in `Selection`.

    Raises:
        LaminarError: the file cannot be read as episodes; the message is what looks wrong.
    """
    file = existing_file(path)
    module = find_format(file)
    name = FORMATS.name_of(module)
    video = (
        "stream" if "video" in getattr(module, "SELECTS", ()) else None
    )  # looking at some is no reason to unpack all
    return {"path": str(file), "format": name, **describe(load_episodes(file, Selection(robot=robot, video=video)))}


def describe(episodes: Episodes) -> dict[str, Any]:
    """Return counts, ranges, returns, success, remarks and problems of episodes, JSON-able."""
    spec, last = episodes.spec, episodes.ends - 1
    limits = None if spec.action_low is None else {"low": spec.action_low, "high": spec.action_high}
    return {
        "episodes": episodes.num_episodes,
        "steps": len(episodes),
        "length": _range(episodes.lengths),
        "terminated": int(episodes.terminated[last].sum()),
        "truncated": int(episodes.truncated[last].sum()),
        "observation": {key: _describe_array(value) for key, value in _in_memory(episodes.observation).items()},
        "action": _describe_array(episodes.action) | {"limits": limits},
        "reward": _range(episodes.reward) if episodes.has_reward else None,
        "return": _range(episodes.returns()) if episodes.has_reward else None,
        "success": None if episodes.success is None else _share(episodes.success),
        "rate_hz": spec.rate_hz,
        "infos": {key: list(value.shape[1:]) for key, value in episodes.infos.items()},
        "remarks": list(episodes.remarks),
        "problems": problems(episodes),
    }


def problems(episodes: Episodes, constant: Mapping[str, Collection[int]] | None = None) -> list[str]:
    """Return one sentence for each thing that looks wrong.

    Args:
        episodes: where to look.
        constant: key -> dimensions of observations that a policy takes as constant; None: those that it would.
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
    return found


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
    copies = _copies(episodes)
    if copies:
        found.append(f"episodes: {_some(np.array(copies))} repeat earlier ones exactly")
    empty = _ending_in_zeros(episodes)
    if len(empty):
        found.append(f"episodes: {_some(empty)} end in rows of zeros in all states and actions, as padding does")
    return found


def _copies(episodes: Episodes) -> list[int]:
    """Return the episodes that are earlier ones again; all rows are compared only where the first ones are alike."""
    arrays = [episodes.action, *(value for value in episodes.observation.values() if not is_on_disk(value))]
    alike: dict[bytes, list[int]] = {}
    for episode, (start, length) in enumerate(zip(episodes.starts, episodes.lengths, strict=True)):
        alike.setdefault(b"".join([length.tobytes(), *(value[start].tobytes() for value in arrays)]), []).append(
            episode
        )
    copies: list[int] = []
    for group in alike.values():
        seen: dict[bytes, int] = {}
        for episode in group if group[1:] else []:
            rows = slice(int(episodes.starts[episode]), int(episodes.ends[episode]))
            digest = hashlib.blake2b(b"".join(np.ascontiguousarray(value[rows]).tobytes() for value in arrays))
            if seen.setdefault(digest.digest(), episode) != episode:
                copies.append(episode)
    return sorted(copies)


def _ending_in_zeros(episodes: Episodes) -> Array:
    """Return the episodes whose last two rows are zero, but not the first one."""
    last = episodes.ends - 1
    states = [value for value in episodes.observation.values() if not is_on_disk(value)]

    def zero(rows: Array) -> Array:
        values = [value[rows].reshape(len(rows), -1) for value in (*states, episodes.action)]
        return np.logical_and.reduce([~value.any(axis=1) for value in values])

    return np.flatnonzero((episodes.lengths > 2) & zero(last) & zero(np.maximum(last - 1, 0)) & ~zero(episodes.starts))


def _in_memory(arrays: dict[str, Array]) -> dict[str, Array]:
    return {
        key: np.asarray(value[:: max(1, len(value) // _IMAGES)]) if is_on_disk(value) else value
        for key, value in arrays.items()
    }


def _describe_array(value: Array) -> dict[str, Any]:
    low, high = value.min(axis=0).reshape(-1), value.max(axis=0).reshape(-1)
    described: dict[str, Any] = {"shape": list(value.shape[1:]), "dtype": str(value.dtype)}
    if value.ndim > 2:  # images: one range for all pixels
        low, high = low.min(keepdims=True), high.max(keepdims=True)
    return described | {"min": [float(x) for x in low], "max": [float(x) for x in high]}


def _range(value: Array) -> dict[str, float]:
    return {"min": float(value.min()), "mean": float(value.mean(dtype=np.float64)), "max": float(value.max())}


def _share(flags: Array) -> dict[str, float]:
    return {"episodes": int(flags.sum()), "rate": float(flags.mean())}


def _some(numbers: Array, shown: int = 8) -> str:
    listed = ", ".join(str(number) for number in numbers[:shown])
    return f"{len(numbers)} ({listed}{', …' if len(numbers) > shown else ''})"


def render(description: dict[str, Any]) -> str:
    """Return what `inspect_file` found as text for a terminal."""
    success = description["success"]
    shown = "not in the file" if success is None else f"{success['episodes']} ({success['rate']:.1%})"
    ended = f"{description['terminated']} terminated, {description['truncated']} truncated"
    lines = [
        f"{description['path']} ({description['format']})",
        f"  episodes   {description['episodes']} ({ended}), {description['steps']} steps",
        f"  length     {_render_range(description['length'])}",
        f"  return     {_render_range(description['return'])}",
        f"  reward     {_render_range(description['reward'])}",
        f"  success    {shown}",
    ]
    if description["rate_hz"]:
        lines.append(f"  rate       {description['rate_hz']:g} Hz")
    for key, array in description["observation"].items():
        lines.append(f"  observation '{key}' {_render_array(array)}")
    limits = description["action"]["limits"]
    bounds = "no limits known" if limits is None else f"limits {min(limits['low']):g} to {max(limits['high']):g}"
    lines.append(f"  action {_render_array(description['action'])}, {bounds}")
    if description["infos"]:
        infos = ", ".join(f"{key} {tuple(shape)}" for key, shape in description["infos"].items())
        lines.append(f"  infos      {infos}")
    lines += [f"  note: {remark}" for remark in description["remarks"]]
    lines += [f"  looks wrong: {problem}" for problem in description["problems"]]
    return "\n".join(lines)


def _render_range(numbers: dict[str, float] | None) -> str:
    if numbers is None:
        return "not in the file"
    return f"{numbers['min']:.6g} to {numbers['max']:.6g}, mean {numbers['mean']:.6g}"


def _render_array(array: dict[str, Any]) -> str:
    digits = 10 if array["dtype"] == "float64" else 4  # such numbers differ late
    low, high = min(array["min"]), max(array["max"])
    return f"{tuple(array['shape'])} {array['dtype']}, {low:.{digits}g} to {high:.{digits}g}"
