"""Damaged files of every format, policy, export and run are read or refused in one line: some, and with `slow` many."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def fuzz() -> ModuleType:
    """Return the fuzzer, imported as it imports what lies beside it."""
    sys.path.insert(0, str(HERE))
    try:
        import run
    finally:
        sys.path.remove(str(HERE))
    return run


def assert_no_failure(inputs: int, seed: int, keep: Path) -> None:
    """Run the fuzzer in a process of its own: it forks, limits memory, and may be killed."""
    words = [str(HERE / "run.py"), "--inputs", str(inputs), "--seed", str(seed), "--keep", str(keep)]
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True)
    assert (keep / "summary.json").is_file(), done.stderr
    summary = json.loads((keep / "summary.json").read_text())
    assert summary["inputs"] == inputs
    told = [f"{bad['kind']} of {bad['target']} {bad['number']}: {bad['told'][-300:]}" for bad in summary["failures"]]
    assert not told, f"{len(told)} of {inputs} in {keep}, such as\n" + "\n".join(told[:5])
    for target in {name.partition(":")[0] for name in summary["counts"]}:
        assert summary["counts"].get(f"{target}: refused"), f"no damage of {target} was found"


@pytest.mark.timeout(400)
def test_some_damaged_files(tmp_path: Path) -> None:
    assert_no_failure(300, 1, tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_twenty_thousand_damaged_files(tmp_path: Path) -> None:
    assert_no_failure(20_000, 0, tmp_path)


# the fuzzer itself


def bad_loads() -> dict[str, object]:
    def lines(path: Path) -> None:
        raise LaminarError("")

    def forever(path: Path) -> None:
        while True:
            pass

    def memory(path: Path) -> None:
        try:
            bytearray(3 << 30)
        except MemoryError as error:
            raise LaminarError("refused, but only here") from error

    def crash(path: Path) -> None:
        os.kill(os.getpid(), 11)

    def bug(path: Path) -> None:
        raise ValueError("not foreseen")

    def leave(path: Path) -> None:
        os._exit(3)

    def refuse(path: Path) -> None:
        raise LaminarError("one line")

    from laminar.errors import LaminarError

    expected = {"not one line": lines, "hang": forever, "memory": memory, "SIGSEGV": crash, "traceback": bug}
    return expected | {"exit 3": leave, "refused": refuse, "read": lambda path: path.read_bytes()}


def test_every_kind_of_failure_is_seen(fuzz: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzz, "SECONDS", 1)
    (tmp_path / "good").write_bytes(bytes(100))
    loads = bad_loads()
    share = [(n, fuzz.Target(kind, tmp_path / "good", load)) for n, (kind, load) in enumerate(loads.items())]
    found = list(fuzz.outcomes(share, 0, tmp_path))
    assert [(outcome.number, outcome.target) for outcome in found] == [(n, target.name) for n, target in share]
    assert [outcome.kind for outcome in found] == list(loads)


def test_a_number_is_always_the_same_input(fuzz: ModuleType, tmp_path: Path) -> None:
    good = tmp_path / "good"
    good.write_bytes(random.Random(0).randbytes(1000))
    target = fuzz.Target("any", good, Path.read_bytes)
    seen: list[bytes] = []
    for number in (*range(50), *range(50)):
        place = tmp_path / f"{number}_{len(seen)}"
        place.mkdir()
        seen.append(fuzz.damaged(target, number, 0, place).read_bytes())
    assert seen[:50] == seen[50:]
    assert len(set(seen[:50])) > 45
    assert sum(one != good.read_bytes() for one in seen[:50]) > 45
