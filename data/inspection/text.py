"""What was found in a file, as text for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

_STATISTICS = ("min", "q01", "q10", "q50", "q90", "q99", "max", "mean", "std")
_HEADS = {"q01": "1 %", "q10": "10 %", "q50": "median", "q90": "90 %", "q99": "99 %"}
_DIMENSIONS = 64  # rows of a table, at most; --json has all of them
_NAMED = 12  # episodes without success that are named


def render(description: dict[str, Any]) -> str:
    """Return what `inspect_file` found as text for a terminal."""
    ended = f"{description['terminated']} terminated, {description['truncated']} truncated"
    lines = [
        f"{description['path']} ({description['format']})",
        f"  episodes   {description['episodes']} ({ended}), {description['steps']} steps",
        f"  length     {_render_range(description['length'])}",
        f"  return     {_render_range(description['return'])}",
        f"  reward     {_render_range(description['reward'])}",
        f"  success    {_success(description)}",
    ]
    if description["rate_hz"]:
        lines.append(f"  rate       {description['rate_hz']:g} Hz")
    if description["timing"]:
        lines.append(f"  timing     {_timing(description['timing'])}")
    for key, array in description["observation"].items():
        lines += [f"  observation '{key}' {_render_array(array)}", *_table(array)]
    limits = description["action"]["limits"]
    bounds = "no limits known" if limits is None else f"limits {min(limits['low']):g} to {max(limits['high']):g}"
    lines.append(f"  action {_render_array(description['action'])}, {bounds}")
    lines += [*_table(description["action"]), *_lags(description)]
    if description["infos"]:
        infos = ", ".join(f"{key} {tuple(shape)}" for key, shape in description["infos"].items())
        lines.append(f"  infos      {infos}")
    if "sheet" in description:
        lines.append(f"  pictures   {description['sheet']}")
    lines += [f"  note: {remark}" for remark in description["remarks"]]
    lines += [f"  looks wrong: {problem}" for problem in description["problems"]]
    return "\n".join(lines)


def _success(description: dict[str, Any]) -> str:
    success, failed = description["success"], description["without_success"]
    if success is None:
        return "not in the file"
    text = f"{success['episodes']} ({success['rate']:.1%})"
    if not failed or not success["episodes"]:
        return text
    return f"{text}; not in {', '.join(map(str, failed[:_NAMED]))}{', …' if failed[_NAMED:] else ''}"


def _timing(timing: dict[str, Any]) -> str:
    return (
        f"{timing['rate_hz']:.4g} Hz by time stamps: {timing['median_ms']:.4g} ms a step, jitter "
        f"{timing['jitter_ms']:.2g} ms, 99 % within {timing['p99_ms']:.4g} ms, longest {timing['longest_ms']:.4g} ms; "
        f"{timing['dropped']} rows missing"
    )


def _lags(description: dict[str, Any]) -> list[str]:
    """Return a line for each state that follows an action."""
    lines: list[str] = []
    for one in description["lags"]:
        array = description["observation"][one["key"]]
        state = array["names"][one["dimension"]] if array["names"] else f"{one['key']}[{one['dimension']}]"
        action = description["action"]["names"][one["action"]]
        steps = f"{abs(one['steps'])} step{'' if abs(one['steps']) == 1 else 's'}"
        when = "at once" if one["steps"] == 0 else f"{steps} {'later' if one['steps'] > 0 else 'before'}"
        what = "follows" if one["kind"] == "target" else "changes with"
        lines.append(f"    {state} {what} {action} {when} (correlation {one['correlation']:.2f})")
    return ["  action to state", *lines] if lines else []


def _table(array: dict[str, Any]) -> list[str]:
    """Return the statistics of each number under a head, its columns aligned."""
    names = array["names"] or ["all"]
    if len(names) != len(array["min"]):  # an instruction
        return []
    rows = [["", *(_HEADS.get(name, name) for name in _STATISTICS)]]
    for at, name in enumerate(names[:_DIMENSIONS]):
        rows.append([name, *(_number(array[statistic][at]) for statistic in _STATISTICS)])
    lines = _aligned(rows)
    more = len(names) - _DIMENSIONS
    return lines + ([f"    and {more} more dimensions, with --json"] if more > 0 else [])


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        f"    {row[0]:<{widths[0]}}"
        + "".join(f"  {cell:>{width}}" for cell, width in zip(row[1:], widths[1:], strict=True))
        for row in rows
    ]


def _number(value: float) -> str:
    return f"{value:.4g}"


def _render_range(numbers: dict[str, float] | None) -> str:
    if numbers is None:
        return "not in the file"
    return f"{numbers['min']:.6g} to {numbers['max']:.6g}, mean {numbers['mean']:.6g}"


def _render_array(array: dict[str, Any]) -> str:
    digits = 10 if array["dtype"] == "float64" else 4  # such numbers differ late
    low, high = min(array["min"]), max(array["max"])
    unit = f" ({array['unit']})" if array["unit"] else ""
    return f"{tuple(array['shape'])} {array['dtype']}{unit}, {low:.{digits}g} to {high:.{digits}g}"
