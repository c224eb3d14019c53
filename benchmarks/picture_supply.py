"""How fast batches of pictures arrive from one LeRobot folder: `Chunks.sample` against lerobot's own `DataLoader`.

    python benchmarks/picture_supply.py PYTHON [FOLDER]

PYTHON is the interpreter of an environment with lerobot (0.4.4) in it, which records the data set, if FOLDER has none,
and reads it in a process of its own. All take turns; CPU time is that of all threads and worker processes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from harness import Report, spread
from lerobot_peer import BATCH, CAMERAS, CHUNK, EPISODES, HISTORY, LENGTH, SIZE

from laminar.data.batches import Chunks
from laminar.data.lerobot import recent
from laminar.data.load import load_episodes
from laminar.data.selection import Selection

PEER = Path(__file__).with_name("lerobot_peer.py")
ROUNDS, SECONDS = 5, 4.0
BUDGET = 16 << 20  # bytes of frames that a stream keeps: a seventh of this data set, as 256 MB are of 1.8 GB
PLAIN, WORKERS = "lerobot, workers=0", "lerobot, workers=2"
STREAM, PACKED = "stream", "cache"
Slice = Callable[[], dict[str, float]]


class Peer:
    """A process with lerobot that supplies batches for some seconds when it is told to."""

    def __init__(self, python: str, folder: Path, workers: int) -> None:
        words = [python, str(PEER), "serve", str(folder), str(workers)]
        self.process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"

    def __call__(self) -> dict[str, float]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(SECONDS, file=self.process.stdin, flush=True)
        return json.loads(self.process.stdout.readline())


def ours(chunks: Chunks, generator: torch.Generator) -> dict[str, float]:
    """Supply batches for some seconds."""
    count, wall, cpu = 0, time.perf_counter(), time.process_time()
    while count == 0 or time.perf_counter() - wall < SECONDS:
        chunks.sample(BATCH, generator)
        count += 1
    return {"batches": count, "cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}


def resident() -> float:
    """Return the megabytes of memory that are this process's own, memory maps left out."""
    lines = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines["RssAnon"].split()[0]) / 1024


def check_shapes(chunks: Chunks) -> None:
    batch: Any = chunks.gather(torch.arange(BATCH))
    assert all(batch["observation"][key].shape == (BATCH, HISTORY, SIZE, SIZE, 3) for key in CAMERAS)
    assert batch["action"].shape == (BATCH, CHUNK, 7)


def compare(report: Report, slices: dict[str, Slice]) -> dict[str, np.ndarray]:
    """Let all take turns, and return name -> (rounds, 2) CPU and wall milliseconds a batch."""
    load = os.getloadavg()[0]
    found: dict[str, list[list[float]]] = {name: [] for name in slices}
    for turn in range(ROUNDS):
        names = [*slices][turn % len(slices) :] + [*slices][: turn % len(slices)]
        for name in names:
            told = slices[name]()
            found[name].append([1e3 * told[kind] / told["batches"] for kind in ("cpu", "wall")])
    times = {name: np.array(rows) for name, rows in found.items()}
    header = ["", "CPU ms", "CPU ratio [10-90 %]", "wall ms", "wall ratio [10-90 %]"]
    text: list[list[str]] = []
    rows: list[dict[str, Any]] = []
    for name, value in times.items():
        ratios = [spread(times[PLAIN][:, 0] / value[:, 0]), spread(times[WORKERS][:, 1] / value[:, 1])]
        shown = ["{:.2f} [{:.2f}, {:.2f}]".format(*ratio) for ratio in ratios]
        cpu, wall = np.median(value, axis=0)
        text.append([name, f"{cpu:.2f}", shown[0], f"{wall:.2f}", shown[1]])
        rows.append(
            {"name": name, "cpu_median": cpu, "wall_median": wall, "cpu_ratio": ratios[0], "wall_ratio": ratios[1]}
        )
    title = f"{BATCH} x {HISTORY} frames x {len(CAMERAS)} cameras of {SIZE} x {SIZE}, {EPISODES * LENGTH} steps"
    settings = {"rounds": ROUNDS, "slice_seconds": SECONDS, "reference": f"CPU {PLAIN}, wall {WORKERS}"}
    report.table(title, header, text, rows, load, settings)
    return times


def main(python: str, folder: Path) -> None:
    if not (folder / "meta").is_dir():
        subprocess.run([python, str(PEER), "record", str(folder)], check=True, stdout=subprocess.DEVNULL)
    report = Report("picture_supply")
    recent.BUDGET = BUDGET
    generator = torch.Generator().manual_seed(0)
    streamed = Chunks(load_episodes(folder, Selection(video="stream")), HISTORY, CHUNK)
    packed = Chunks(load_episodes(folder, Selection(video="cache")), HISTORY, CHUNK)
    for chunks in (streamed, packed):
        check_shapes(chunks)
    before = resident()
    slices: dict[str, Slice] = {
        PLAIN: Peer(python, folder, 0),
        WORKERS: Peer(python, folder, 2),
        STREAM: lambda: ours(streamed, generator),
        PACKED: lambda: ours(packed, generator),
    }
    times = compare(report, slices)
    for name, least in ((PACKED, 5.0), (STREAM, 1.5)):
        cpu = float(np.median(times[PLAIN][:, 0] / times[name][:, 0]))
        wall = float(np.median(times[WORKERS][:, 1] / times[name][:, 1]))
        report.claim(f"CPU time of {PLAIN} over that of {name}", cpu, least=least)
        report.claim(f"wall time of {WORKERS} over that of {name}", wall, least=least)
    grown, bound = resident() - before, BUDGET / 2**20
    report.claim(f"megabytes that memory grew by, of which {bound:g} are kept frames", grown, most=bound + 64)
    report.finish()


if __name__ == "__main__":
    if len(sys.argv) > 2:
        main(sys.argv[1], Path(sys.argv[2]))
    else:
        with tempfile.TemporaryDirectory() as place:
            main(sys.argv[1], Path(place) / "supply")
