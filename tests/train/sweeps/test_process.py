"""A run's processes: killed ones go on, failed ones are told, and none outlives whoever started it."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from laminar.errors import LaminarError
from laminar.train.sweeps.followed import LOCK, held
from laminar.train.sweeps.job import Job
from laminar.train.sweeps.process import STOPPED, run

STUB = Path(__file__).with_name("stub.py")
pytestmark = pytest.mark.usefixtures("stub")


def starts(job: Job) -> list[str]:
    return (Path(job.folder) / "starts.txt").read_text().splitlines()


def test_commands_run_one_after_the_other(job: Callable[..., Job]) -> None:
    one = job("a", "train x=1", "eval y=2")
    ended = run(one)
    assert (ended.name, ended.code, ended.told) == ("a", 0, "")
    assert ended.seconds is not None
    assert starts(one) == ["train x=1", "eval y=2"]


def test_what_is_killed_goes_on_where_it_was(job: Callable[..., Job]) -> None:
    one = job("a", "train killed")
    Path(one.folder).mkdir()
    (Path(one.folder) / "run.json").touch()
    assert run(one).code == 0
    assert starts(one) == ["train killed resume=true"] * 2


def test_a_run_that_did_not_begin_is_not_resumed(job: Callable[..., Job]) -> None:
    one = job("a", "train killed")
    assert run(one).code == 0
    assert starts(one) == ["train killed"] * 2  # it came to nothing that could be resumed


def test_it_is_not_tried_for_ever(job: Callable[..., Job]) -> None:
    one = job("a", "train always-killed", "eval", tries=2)
    ended = run(one)
    assert (ended.code, ended.told) == (-9, "killed by SIGKILL")
    assert len(starts(one)) == 2


@pytest.mark.parametrize(
    ("word", "code", "told"), [("fails", 2, "no data in x.hdf5"), ("breaks", 1, "ValueError: of a bug")]
)
def test_a_failure_is_told_in_its_own_words(job: Callable[..., Job], word: str, code: int, told: str) -> None:
    one = job("a", f"train {word}", "eval")
    ended = run(one)
    assert (ended.code, ended.told) == (code, told)
    assert len(starts(one)) == 1
    assert told in one.log.read_text()


def test_the_file_stops_what_runs_and_what_waits(job: Callable[..., Job], until: Callable[..., None]) -> None:
    one, found = job("a", "train waits", "eval"), list[int]()
    thread = threading.Thread(target=lambda: found.append(run(one).code))
    thread.start()
    until((Path(one.folder) / "waits").exists)
    Path(one.stop).touch()
    thread.join(60)
    assert found == [STOPPED]
    assert (Path(one.folder) / "saved").exists()
    assert len(starts(one)) == 1
    later = job("b", "train x=1")
    assert run(later).code == STOPPED
    assert not Path(later.folder).exists()


def test_a_process_ends_with_the_one_that_started_it(tmp_path: Path, until: Callable[..., None]) -> None:
    command = [sys.executable, str(STUB), str(tmp_path), "train", "waits"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE)
    until((tmp_path / "waits").exists)
    assert process.stdin is not None
    process.stdin.close()  # as a kill of the other side does
    assert process.wait(60) == STOPPED
    assert (tmp_path / "saved").exists()


def test_no_two_processes_have_a_run(tmp_path: Path, until: Callable[..., None]) -> None:
    first = subprocess.Popen([sys.executable, str(STUB), str(tmp_path), "train", "waits"], stdin=subprocess.PIPE)
    until((tmp_path / "waits").exists)
    with pytest.raises(LaminarError, match="in use"), held(tmp_path / LOCK, "in use", patience=0.0):
        pass
    second = subprocess.Popen([sys.executable, str(STUB), str(tmp_path), "train", "x=1"], stdin=subprocess.PIPE)
    first.terminate()
    assert first.wait(60) == STOPPED
    assert second.wait(60) == 0  # it waited
    assert (tmp_path / "starts.txt").read_text().splitlines() == ["train waits", "train x=1"]
    for process in (first, second):
        assert process.stdin is not None
        process.stdin.close()


def test_a_run_of_somebody_else_is_told(job: Callable[..., Job]) -> None:
    one = job("a", "train impatient")
    Path(one.folder).mkdir()
    with held(Path(one.folder) / LOCK, ""):
        ended = run(one)
    assert (ended.code, ended.told) == (2, f"another process works in {one.folder}; let it end, or choose another out=")
