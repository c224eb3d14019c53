"""Steering that is killed, at whatever moment, ends bit-equal to steering that was not."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from laminar.cli import main
from laminar.eval.results.run_record import read_rows
from laminar.policies.storage import checkpoints

WORDS = ("checkpoint_every=3", "log_every=1", "method.n_step=2", "method.patience=2")


def final(run: Path) -> dict[str, Any]:
    files = sorted(checkpoints(run)[-1].glob("*.safetensors"))
    return {f"{file.name}/{name}": value for file in files for name, value in load_file(file).items()}


def wait_for(condition: Callable[[], bool], process: BaseProcess, output: Path) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert process.is_alive(), output.read_text()
        assert time.monotonic() < end, "took too long"
        time.sleep(0.005)


def kill_and_resume(
    toy: Any, launch: Callable[..., BaseProcess], numbers: Any, kills: int, updates: int, *words: str
) -> None:
    more = [*WORDS, f"env.steps={20 + 2 * updates}", *words]
    assert main(toy.words(*more, out="whole")) == 0
    command, run, output = toy.words(*more, "resume=true", out="killed"), toy.folder / "killed", toy.folder / "output"
    moments = random.Random(0)
    suite = Path(str(toy.suite.__file__))
    # the first one before much is learned, the others at updates that the run comes to; many fall into a write
    for update in [0, *sorted(moments.sample(range(1, updates * 8 // 10), kills - 1))]:
        process = launch(command, output, suite=suite)
        wait_for(lambda update=update: len(read_rows(run / "metrics.jsonl")) >= update, process, output)
        process.join(moments.uniform(0.0, 0.02 if update else 1.0))
        os.kill(process.pid or 0, signal.SIGKILL)
        process.join()
        assert process.exitcode == -signal.SIGKILL, output.read_text()
    last = launch(command, output, suite=suite)
    last.join(120)
    assert last.exitcode == 0, output.read_text()
    whole, killed = final(toy.folder / "whole"), final(run)
    assert whole.keys() == killed.keys()
    for name, value in whole.items():
        np.testing.assert_array_equal(value, killed[name], err_msg=name)
    assert numbers(run) == numbers(toy.folder / "whole")
    assert not list((run / "checkpoints").glob(".*")), "leftovers of a killed write"


@pytest.mark.slow
def test_kill_twice(toy: Any, launch: Callable[..., BaseProcess], numbers: Any) -> None:
    kill_and_resume(toy, launch, numbers, 2, 100)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("words", [(), ("method.edit_scale=0.3", "method.candidates=3", "env.slots=2")], ids=" ".join)
def test_kill_ten_times(toy: Any, launch: Callable[..., BaseProcess], numbers: Any, words: tuple[str, ...]) -> None:
    kill_and_resume(toy, launch, numbers, 10, 400, *words)
