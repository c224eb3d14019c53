"""24 short runs through joblib and through a Ray cluster of 2 CPUs: what a launcher costs, and what it changes.

    .venv/bin/python benchmarks/sweeps.py [METHOD,METHOD] [SEEDS]

The overhead is the time of both lanes, from the start of the first run to the end of the last one, less that of the
processes in it, over the number of runs: what passes between the end of a run and the start of the next one in its
place. What a launcher takes before its first run is told beside it. Metrics must be equal to the last digit.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from unittest.mock import patch

import numpy as np

from laminar.configs.sweep_command import from_words
from laminar.data.episodes import Episodes
from laminar.data.formats import d4rl
from laminar.data.spec import Feature, Spec
from laminar.eval.results.run_record import read_rows
from laminar.train.run.clock import CPU, WALL
from laminar.train.sweeps.board import Board
from laminar.train.sweeps.job import Ended

LANES = 2
SMALL = ["network.width=16", "method.batch_size=8", "steps=20", "log_every=4", "checkpoint_every=8"]


def recorded(path: Path) -> Path:
    """Write 4 episodes of 20 steps: 3 numbers seen, 2 done."""
    random = np.random.default_rng(0)
    rows, steps = 80, 20
    seen = random.standard_normal((rows, 3)).astype(np.float32)
    ends = np.arange(rows) % steps == steps - 1
    episodes = Episodes(
        observation={"observation": seen},
        final_observation={"observation": seen[ends]},
        action=np.tanh(seen[:, :2] + 0.1 * random.standard_normal((rows, 2)).astype(np.float32)),
        reward=np.ones(rows, np.float32),
        terminated=np.zeros(rows, bool),
        truncated=ends,
        ends=np.arange(steps, rows + 1, steps),
        spec=Spec({"observation": Feature((3,))}, Feature((2,)), (-1.0, -1.0), (1.0, 1.0)),
    )
    d4rl.write(path, episodes)
    return path


def timed(words: list[str]) -> None:
    """Run a sweep and print what it took."""
    begin, found = time.monotonic(), list[tuple[float, float]]()  # end and seconds of each run
    told = Board.ended

    def ended(self: Board, one: Ended) -> None:
        found.append((time.monotonic() - begin, one.seconds or 0.0))
        told(self, one)

    with patch.object(Board, "ended", ended):
        from_words(words)
    first = min(end - seconds for end, seconds in found)
    last, spent = max(end for end, _ in found), sum(seconds for _, seconds in found)
    idle = last - min(end for end, _ in sorted(found)[-LANES:])  # of the lane that was done first
    overhead = (LANES * (last - first) - idle - spent) / len(found)
    print(
        f"{words[-2]}: {len(found)} runs of {spent / len(found):.2f} s each, the first one after {first:.2f} s; "
        f"{overhead:.3f} s between two of them"
    )


def main(methods: str = "bc,dql,ofql,td3bc", seeds: str = "6") -> None:
    """Run both, and compare."""
    with tempfile.TemporaryDirectory() as place:
        data = recorded(Path(place) / "tiny.hdf5")
        every = ["-m", f"method={methods}", f"seed=range({seeds})", f"data.path={data}", *SMALL, "launcher.cpus=2"]
        for launcher in ("joblib", "ray"):
            timed([*every, f"launcher={launcher}", f"out={place}/{launcher}"])
        logs = sorted(Path(place, "joblib").glob("*/metrics.jsonl"))
        for log in logs:
            one, other = (
                [{name: value for name, value in row.items() if name not in (WALL, CPU)} for row in read_rows(path)]
                for path in (log, Path(place, "ray", log.parent.name, log.name))
            )
            assert one == other, log
        print(f"{len(logs)} logs are equal")


if __name__ == "__main__":
    main(*sys.argv[1:])
