"""Damaged files, by the thousand: each is read, or refused in one line; in time, in memory, and without a crash.

    python tests/fuzz/run.py --inputs 20000 --seed 0 --jobs 2 --keep FOLDER

An input is a good one of `seeds.py` with damage by `mutation.py`; its number and the seed decide it. Inputs are read in
processes that this one forks, some hundred each, with RLIMIT_AS two gigabytes above what they start with, and ten
seconds for each. FOLDER gets summary.json and what failed; the exit code is 1 if anything did.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from mutation import mutate
from seeds import Target, targets

from laminar.errors import LaminarError

SECONDS = 10
MEMORY = 2 << 30
BATCH = 200  # inputs of one process


@dataclass(frozen=True)
class Outcome:
    """What became of one input: "read", "refused", or a kind of failure; and what was said."""

    number: int
    target: str
    kind: str
    told: str = ""


def damaged(target: Target, number: int, seed: int, place: Path) -> Path:
    """Write the input of a number, and return its path."""
    source = random.Random(f"{seed}/{number}")
    path = place / target.path.name
    if target.path.is_dir():
        shutil.copytree(target.path, path)
        victims = sorted(file for file in path.rglob("*") if file.is_file())
    else:
        shutil.copy(target.path, path)
        victims = [path]
    victim = source.choice(victims)
    victim.write_bytes(mutate(victim.read_bytes(), source, victim.suffix == ".json"))
    return path


def read(target: Target, path: Path) -> tuple[str, str]:
    """Read one input, and return the kind of its outcome and what was said."""
    try:
        target.load(path)
    except LaminarError as error:
        told = str(error)
        if not told.strip() or "\n" in told:
            return "not one line", told
        return ("memory", told) if _out_of_memory(error) else ("refused", told)
    except Exception as error:
        return ("memory" if _out_of_memory(error) else "traceback"), traceback.format_exc()
    return "read", ""


def _out_of_memory(error: BaseException | None) -> bool:
    """Tell whether memory ran out on the way to an error: without a limit it would have been taken."""
    while error is not None:
        if isinstance(error, MemoryError) or "allocate" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


def _child(share: list[tuple[int, Target]], seed: int, pipe: int, scratch: Path) -> None:
    """Read inputs one after the other and tell of each: its number before, its outcome after."""
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 1)
    os.dup2(silent, 2)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY,) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    faulthandler.disable()
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # pytest has its own
    with os.fdopen(pipe, "w") as out:
        for number, target in share:
            print(json.dumps(number), file=out, flush=True)
            place = Path(tempfile.mkdtemp(dir=scratch))
            path = damaged(target, number, seed, place)
            signal.alarm(SECONDS)  # ends the process, whatever it is in the midst of
            kind, told = read(target, path)
            signal.alarm(0)
            print(json.dumps(asdict(Outcome(number, target.name, kind, told))), file=out, flush=True)
            shutil.rmtree(place, ignore_errors=True)


def outcomes(share: list[tuple[int, Target]], seed: int, scratch: Path) -> Iterator[Outcome]:
    """Read inputs in processes that are forked from this one."""
    while share:
        batch = share[:BATCH]
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                os.close(reading)
                _child(batch, seed, writing, scratch)
            except BaseException:
                os._exit(99)
            os._exit(0)
        os.close(writing)
        with os.fdopen(reading) as told:
            lines = [json.loads(line) for line in told]
        _, status = os.waitpid(child, 0)
        found = [Outcome(**line) for line in lines if isinstance(line, dict)]
        yield from found
        if len(found) < len(batch):  # it died of the next one
            number, target = batch[len(found)]
            yield Outcome(number, target.name, _death(status), f"wait status {status}")
            share = share[len(found) + 1 :]
        else:
            share = share[len(batch) :]


def _death(status: int) -> str:
    if not os.WIFSIGNALED(status):
        return f"exit {os.waitstatus_to_exitcode(status)}"
    number = os.WTERMSIG(status)
    return "hang" if number == signal.SIGALRM else signal.Signals(number).name


def plan(made: list[Target], inputs: int, seed: int, first: int = 0) -> list[tuple[int, Target]]:
    """Return the numbers of inputs with the target of each, which the number and the seed decide."""
    weights = [target.share for target in made]
    chosen = (random.Random(f"{seed}:{n}").choices(made, weights)[0] for n in range(first, first + inputs))
    return list(zip(range(first, first + inputs), chosen, strict=True))


def fuzz(inputs: int, seed: int, jobs: int, folder: Path, keep: Path, first: int = 0) -> dict[str, Any]:
    """Read damaged inputs and return a summary with the failures; these are kept in the folder `keep`."""
    began = time.monotonic()
    made = targets(folder / "good")
    for target in made:  # what is to be damaged is good
        fresh = folder / "check" / target.name
        fresh.mkdir(parents=True)
        target.load(damaged_by_nothing(target, fresh))
    scratch = folder / "scratch"
    scratch.mkdir()
    todo = plan(made, inputs, seed, first)
    shares = [list(islice(todo, job, None, jobs)) for job in range(jobs)]
    found = list(_side_by_side(shares, seed, scratch))
    by_number = dict(todo)
    bad = [outcome for outcome in found if outcome.kind not in ("read", "refused")]
    for outcome in bad:
        place = keep / f"{outcome.kind.replace(' ', '_')}_{outcome.target}_{outcome.number}"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        damaged(by_number[outcome.number], outcome.number, seed, place)
        (place / "told.txt").write_text(outcome.told, encoding="utf-8", errors="replace")
    counts = Counter(f"{outcome.target}: {outcome.kind}" for outcome in found)
    return {
        "inputs": len(found),
        "seconds": round(time.monotonic() - began, 1),
        "counts": dict(sorted(counts.items())),
        "failures": [asdict(outcome) for outcome in bad],
        "kept": str(keep),
    }


def damaged_by_nothing(target: Target, place: Path) -> Path:
    """Copy the good input."""
    path = place / target.path.name
    return Path(shutil.copytree(target.path, path) if target.path.is_dir() else shutil.copy(target.path, path))


def _side_by_side(shares: list[list[tuple[int, Target]]], seed: int, scratch: Path) -> Iterator[Outcome]:
    """Run each share in a process of its own, which forks those that read."""
    pipes: list[tuple[int, int]] = []
    for share in shares:
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            with os.fdopen(writing, "w") as out:
                for outcome in outcomes(share, seed, scratch):
                    print(json.dumps(asdict(outcome)), file=out, flush=True)
            os._exit(0)
        os.close(writing)
        pipes.append((reading, child))
    for reading, child in pipes:
        with os.fdopen(reading) as told:
            yield from [Outcome(**json.loads(line)) for line in told]
        os.waitpid(child, 0)


def main() -> int:
    """Run as the words say."""
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--inputs", type=int, default=20_000)
    words.add_argument("--seed", type=int, default=0)
    words.add_argument("--first", type=int, default=0, help="number of the first input")
    words.add_argument("--jobs", type=int, default=2)
    words.add_argument("--keep", type=Path, required=True, help="folder for what failed")
    given = words.parse_args()
    given.keep.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="laminar-fuzz-") as folder:
        result = fuzz(given.inputs, given.seed, given.jobs, Path(folder), given.keep, given.first)
    (given.keep / "summary.json").write_text(json.dumps(result, indent=2))
    print(f"{result['inputs']} inputs in {result['seconds']} s, {len(result['failures'])} failures in {given.keep}")
    return 1 if result["failures"] else 0


if __name__ == "__main__":
    sys.exit(main())
