"""Worlds over worker processes: the same to the bit, errors told, nothing left over."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from laminar.data.spec import Spec
from laminar.envs.slots import Slots
from laminar.envs.workers import WorkerSlots
from laminar.errors import LaminarError

SpecOf = Callable[[str], Spec]
Trouble = Callable[[WorkerSlots, str], None]
EndedAlike = Callable[..., int]
ENV_ID = "user/Count-v0"


def shared_blocks(pid: int) -> list[str]:
    """Return the files that a process shares for writing with others; " (deleted)" ends those without a name."""
    lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    return [line.split(maxsplit=5)[5] for line in lines if line.split()[1] == "rw-s"]


def alive(pid: int) -> bool:
    """Tell whether a process works; one that waits for its parent to notice its end does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def gone(pids: list[int], seconds: float = 20.0) -> bool:
    """Wait until no process of `pids` works."""
    end = time.monotonic() + seconds
    while any(alive(pid) for pid in pids) and time.monotonic() < end:
        time.sleep(0.02)
    return not any(alive(pid) for pid in pids)


def pids(world: WorkerSlots) -> list[int]:
    return [process.pid or 0 for process in world._crew.processes]


def test_workers_are_equal_to_slots_to_the_bit(spec_of: SpecOf, ended_alike: EndedAlike) -> None:
    """Hopper falls after some ten steps of noise, so chunks end early and slots are reset all the time."""
    spec = spec_of("Hopper-v4")
    here, there = Slots("Hopper-v4", spec, 5), WorkerSlots("Hopper-v4", spec, 5, processes=3)
    assert ended_alike(here, there, rounds=40) > 5
    here.close(), there.close()


@pytest.mark.parametrize(
    ("trouble", "message"),
    [
        ("error", f"environment '{ENV_ID}?trouble=error' raised ValueError in step() at counter_suite.py:"),
        ("refusal", "the counter refuses"),
        ("death", f"worker 1 of '{ENV_ID}?trouble=death' (slots 1 to 2) died with exit code 7;"),
    ],
)
def test_trouble_in_a_worker_is_told_here_in_one_line(
    registered: ModuleType, spec_of: SpecOf, told_of_trouble: Trouble, trouble: str, message: str
) -> None:
    env_id = f"{ENV_ID}?trouble={trouble}"
    world = WorkerSlots(env_id, spec_of(env_id), 3, processes=2)
    working = pids(world)
    told_of_trouble(world, message)
    assert gone(working)
    with pytest.raises(LaminarError, match="is closed; make a new one"):
        world.reset({0: 0})


def test_a_worker_that_is_killed_is_noticed(registered: ModuleType, spec_of: SpecOf) -> None:
    world = WorkerSlots(ENV_ID, spec_of(ENV_ID), 2, processes=2)
    working = pids(world)
    os.kill(working[0], signal.SIGKILL)
    assert gone(working[:1])
    with pytest.raises(LaminarError, match=r"worker 0 .*\(slots 0 to 0\) died with exit code -9"):
        world.reset({0: 0, 1: 1})
    assert gone(working)


@pytest.mark.parametrize("how", ["closed", "forgotten"])
def test_nothing_is_left_over(registered: ModuleType, spec_of: SpecOf, how: str) -> None:
    threads = os.environ.get("OMP_NUM_THREADS")
    world = WorkerSlots(ENV_ID, spec_of(ENV_ID), 2, processes=1)
    working = pids(world)
    assert all(alive(pid) for pid in working)
    (block,) = shared_blocks(working[0])
    assert block.endswith(" (deleted)"), "it has no name that could be left"
    environment = Path(f"/proc/{working[0]}/environ").read_bytes().split(b"\0")
    assert b"OMP_NUM_THREADS=1" in environment
    assert os.environ.get("OMP_NUM_THREADS") == threads
    if how == "closed":
        world.close()
    else:
        del world
        gc.collect()
    assert gone(working)


_SCRIPT = """
import signal, sys, time
import numpy as np
from laminar.envs import env_spec, make_env
from laminar.envs.workers import WorkerSlots

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job would ignore it
    spec = env_spec(make_env("Hopper-v4"))
    world = WorkerSlots("Hopper-v4", spec, 2, processes=2)
    print(*[process.pid for process in world._crew.processes], flush=True)
    while True:
        world.reset({0: 0, 1: 1})
        world.step(np.zeros((2, 5, 3)))
"""


@pytest.mark.parametrize(("sent", "whom"), [(signal.SIGINT, "group"), (signal.SIGKILL, "parent")])
def test_nothing_is_left_after_the_end_of_the_program(tmp_path: Path, sent: signal.Signals, whom: str) -> None:
    """Ctrl-C goes to all processes at once, a kill only to the parent."""
    script = tmp_path / "script.py"
    script.write_text(_SCRIPT)
    program = subprocess.Popen(
        [sys.executable, str(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert program.stdout is not None
    working = [int(pid) for pid in program.stdout.readline().split()]
    assert len(working) == 2
    assert [block.endswith(" (deleted)") for block in shared_blocks(working[0])] == [True]
    time.sleep(0.2)
    (os.killpg if whom == "group" else os.kill)(program.pid, sent)
    _, errors = program.communicate(timeout=30)
    assert gone(working)
    if sent == signal.SIGINT:
        assert errors.count("Traceback") == 1, "of the program alone"
        assert "KeyboardInterrupt" in errors
