"""Timing that means something on a busy machine; see README.md in this folder.

Candidates are built first and then take turns in rounds of rotated order, each for a fixed slice of time. A ratio is
taken within a round, between neighbors in time, and reported as the median over rounds with its 10-90 % range.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from laminar.data.episodes import Episodes
from laminar.data.spec import Feature, Spec
from laminar.eval.latency.measure import machine

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Candidate:
    """One way to do the job; `run` does it once."""

    name: str
    run: Callable[[], object]
    elsewhere: bool = False  # other processes do part of the work: only its wall time can be measured


@dataclass(frozen=True)
class Row:
    """Times of one call in milliseconds over the rounds; a ratio is how many times faster than the reference."""

    name: str
    cpu_median: float | None
    cpu_min: float | None
    cpu_ratio: tuple[float, float, float] | None  # median, 10 %, 90 %
    wall_median: float
    wall_min: float
    wall_ratio: tuple[float, float, float]


def sgemm() -> Candidate:
    """The fixed kernel of every table: it shows the machine's drift, and a floor."""
    a, b, out = (torch.ones(256, 256) for _ in range(3))
    return Candidate("sgemm 256^3 (fixed kernel)", lambda: torch.mm(a, b, out=out))


def time_slice(run: Callable[[], object], seconds: float) -> tuple[float, float]:
    """Repeat `run` for a slice of wall time and return (CPU, wall) seconds a call."""
    calls = 0
    wall, cpu = time.perf_counter(), time.process_time()
    while calls == 0 or time.perf_counter() - wall < seconds:
        run()
        calls += 1
    return (time.process_time() - cpu) / calls, (time.perf_counter() - wall) / calls


def measure(candidates: Sequence[Candidate], rounds: int, seconds: float) -> np.ndarray:
    """Return (rounds, candidates, 2) CPU and wall seconds a call; one shorter round before is for warming up."""
    gc.collect()
    gc.freeze()  # candidates pay for their own garbage, not for walking through all that was imported
    for candidate in candidates:
        time_slice(candidate.run, seconds / 2)
    times = np.empty((rounds, len(candidates), 2))
    for turn in range(rounds):
        for place in range(len(candidates)):
            which = (turn + place) % len(candidates)
            times[turn, which] = time_slice(candidates[which].run, seconds)
    return times


def summarize(candidates: Sequence[Candidate], times: np.ndarray) -> list[Row]:
    """Reduce (rounds, candidates, 2) to a row a candidate; the first one is the reference."""
    rows: list[Row] = []
    for index, candidate in enumerate(candidates):
        (cpu, wall), (cpu_reference, wall_reference) = times[:, index].T, times[:, 0].T
        comparable = not (candidate.elsewhere or candidates[0].elsewhere)
        rows.append(
            Row(
                candidate.name,
                None if candidate.elsewhere else float(np.median(cpu)) * 1e3,
                None if candidate.elsewhere else float(cpu.min()) * 1e3,
                spread(cpu_reference / cpu) if comparable else None,
                float(np.median(wall)) * 1e3,
                float(wall.min()) * 1e3,
                spread(wall_reference / wall),
            )
        )
    return rows


def spread(values: np.ndarray) -> tuple[float, float, float]:
    """Median, 10 % and 90 % quantile."""
    median, low, high = np.quantile(values, [0.5, 0.1, 0.9])
    return float(median), float(low), float(high)


class Report:
    """Collects the tables, counts and claims of one benchmark; prints them and writes results/NAME.json."""

    def __init__(self, name: str) -> None:
        """Start on one thread, whatever the environment says: more only add noise at these sizes."""
        torch.set_num_threads(1)
        self.name = name
        self.content: dict[str, Any] = {"name": name, "machine": machine(), "tables": [], "claims": []}
        print(f"== {name}: " + ", ".join(f"{key} {value}" for key, value in self.content["machine"].items()))

    def compare(
        self, title: str, candidates: Sequence[Candidate], rounds: int = 9, seconds: float = 0.15
    ) -> dict[str, Row]:
        """Time the candidates against the first of them, with the fixed kernel beside them."""
        candidates = [*candidates, sgemm()]
        load = os.getloadavg()[0]
        rows = summarize(candidates, measure(candidates, rounds, seconds))
        header = ["", "CPU ms (min)", "CPU ratio [10-90 %]", "wall ms (min)", "wall ratio [10-90 %]"]
        text = [
            [
                r.name,
                ms(r.cpu_median, r.cpu_min),
                times(r.cpu_ratio),
                ms(r.wall_median, r.wall_min),
                times(r.wall_ratio),
            ]
            for r in rows
        ]
        settings = {"rounds": rounds, "slice_seconds": seconds, "reference": rows[0].name}
        self.table(title, header, text, [asdict(row) for row in rows], load, settings)
        return {row.name: row for row in rows}

    def table(
        self,
        title: str,
        header: list[str],
        text: list[list[str]],
        rows: list[dict[str, Any]],
        load: float,
        settings: dict[str, Any],
    ) -> None:
        """Print `text` under `header` as Markdown and keep `rows` for the file."""
        loads = [round(load, 2), round(os.getloadavg()[0], 2)]
        print(f"\n{title} (load average {loads[0]} -> {loads[1]})\n")
        widths = [max(map(len, column)) for column in zip(header, *text, strict=True)]
        for line in [header, ["-" * width for width in widths], *text]:
            print("| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |")
        self.content["tables"].append({"title": title, "load_average": loads, **settings, "rows": rows})

    def claim(self, text: str, value: float, *, least: float | None = None, most: float | None = None) -> None:
        """State a number that has to be at least, or at most, another one."""
        met = (least is None or value >= least) and (most is None or value <= most)
        bound = f">= {least:g}" if least is not None else f"<= {most:g}"
        print(f"{'met ' if met else 'SHORT'} {text}: {value:.3g} ({bound})")
        self.content["claims"].append({"claim": text, "value": value, "least": least, "most": most, "met": met})

    def finish(self) -> None:
        """Write the file; exit with 1 if a claim is not met."""
        RESULTS.mkdir(exist_ok=True)
        path = RESULTS / f"{self.name}.json"
        path.write_text(json.dumps(self.content, indent=1) + "\n", encoding="utf-8")
        print(f"\nwrote {os.path.relpath(path)}\n")
        if not all(claim["met"] for claim in self.content["claims"]):
            sys.exit(1)


def ms(median: float | None, least: float | None) -> str:
    """Format milliseconds; none were measured where other processes work."""
    return "-" if median is None or least is None else f"{median:.3f} ({least:.3f})"


def times(ratio: tuple[float, float, float] | None) -> str:
    """Format a ratio with its range."""
    return "-" if ratio is None else f"{ratio[0]:.2f} [{ratio[1]:.2f}, {ratio[2]:.2f}]"


def random_episodes(steps: int, observation: int, action: int, longest: int = 500, seed: int = 0) -> Episodes:
    """Return `steps` steps of noise in episodes of 100 to `longest` steps; actions within [-1, 1]."""
    rng = np.random.default_rng(seed)
    ends = np.cumsum(rng.integers(100, longest + 1, size=steps // 100 + 1))
    ends = np.append(ends[ends < steps - 100], steps)
    flags = np.zeros(steps, bool)
    flags[ends - 1] = True
    return Episodes(
        observation={"observation": rng.standard_normal((steps, observation), dtype=np.float32)},
        final_observation={"observation": rng.standard_normal((len(ends), observation), dtype=np.float32)},
        action=rng.uniform(-1, 1, (steps, action)).astype(np.float32),
        reward=np.zeros(steps, np.float32),
        terminated=np.zeros(steps, bool),
        truncated=flags,
        ends=ends,
        spec=Spec({"observation": Feature((observation,))}, Feature((action,)), (-1.0,) * action, (1.0,) * action),
        source="random numbers",
    )
