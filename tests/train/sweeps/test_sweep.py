"""A sweep as a whole: what is finished stays, what was stopped or failed is started again by the same call."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from laminar.errors import LaminarError, Stopped
from laminar.train.config import RuntimeConfig, TrainConfig
from laminar.train.sweeps.config import StopConfig, SweepConfig
from laminar.train.sweeps.launchers import LAUNCHERS
from laminar.train.sweeps.launchers.joblib import shares
from laminar.train.sweeps.plan import plan
from laminar.train.sweeps.state import end_early
from laminar.train.sweeps.sweep import sweep

pytestmark = pytest.mark.usefixtures("stub")


def go(out: Path, *values: str, device: str = "cpu", measure: list[str] | None = None, **settings: object) -> str:
    config = SweepConfig(launcher=LAUNCHERS.config_class("joblib")(cpus=2), out=str(out), **settings)  # pyright: ignore
    runs = [TrainConfig(steps=1, runtime=RuntimeConfig(device=device)) for _ in values]
    return sweep(config, plan([[("x", value)] for value in values]), runs, measure or [])


def starts(out: Path, value: str) -> int:
    return len((out / f"x={value}/starts.txt").read_text().splitlines())


def test_what_is_finished_stays(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = go(tmp_path, "1", "killed")
    assert "| x=1 | finished | 0 |" in text
    assert (tmp_path / "runs.md").read_text() == text
    assert (starts(tmp_path, "1"), starts(tmp_path, "killed")) == (1, 2)
    assert "x=killed: finished" in capsys.readouterr().err
    go(tmp_path, "1", "killed", "2")
    assert (starts(tmp_path, "1"), starts(tmp_path, "2")) == (1, 1)
    assert "1 run by launcher=joblib, 2 of before are kept" in capsys.readouterr().err


def test_failed_runs_are_told_and_the_others_go_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for count in (1, 2):
        with pytest.raises(LaminarError, match="1 of 3 runs failed, see above; the same command starts them again"):
            go(tmp_path, "fails", "1", "2")
        assert [starts(tmp_path, value) for value in ("fails", "1", "2")] == [count, 1, 1]
        found = capsys.readouterr()
        assert "x=fails failed: no data in x.hdf5" in found.err
        assert "| x=fails | failed: no data in x.hdf5 |" in found.out


def test_an_interrupt_stops_the_runs_and_the_same_call_goes_on(
    tmp_path: Path, until: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    before = signal.getsignal(signal.SIGINT)

    def interrupt() -> None:
        until((tmp_path / "x=waits/waits").exists)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(Stopped, match="the same command goes on") as stopped:
        go(tmp_path, "1", "2", "waits", "3", "4", cpus=2.0)  # one after the other
    thread.join()
    assert stopped.value.number == signal.SIGINT
    assert (tmp_path / "x=waits/saved").exists()
    assert not (tmp_path / "x=4/starts.txt").exists()
    assert "stopping: the runs write their checkpoints" in capsys.readouterr().err
    assert go(tmp_path, "1", "2", "waits", "3", "4").count("finished") == 5
    assert (starts(tmp_path, "1"), starts(tmp_path, "waits")) == (1, 2)
    assert signal.getsignal(signal.SIGINT) is before


def test_runs_are_measured_after_they_are_trained(tmp_path: Path) -> None:
    go(tmp_path, "1", "2", measure=["episodes=3"])
    lines = (tmp_path / "x=1/starts.txt").read_text().splitlines()
    run = tmp_path / "x=1"
    assert lines == [f"train x=1 out={run}", f"eval policy.path={run} episodes=3 out={run}/eval"]
    (run / "eval").mkdir()
    (run / "eval/eval.json").write_text('{"interrupted": {"finished": 1}}')
    go(tmp_path, "1", "2", measure=["episodes=3"])
    assert starts(tmp_path, "1") == 3
    (run / "eval/eval.json").write_text('{"interrupted": null}')
    go(tmp_path, "1", "2", measure=["episodes=3"])
    assert starts(tmp_path, "1") == 3


def test_what_a_rule_ended_is_not_started_again(tmp_path: Path) -> None:
    (tmp_path / "x=1").mkdir()
    end_early(tmp_path / "x=1", "asha at update 3, loss 2")
    text = go(tmp_path, "1", "2")
    assert "| x=1 | ended early by asha at update 3, loss 2 |" in text
    assert not (tmp_path / "x=1/starts.txt").exists()


def test_two_do_not_run_one_sweep(tmp_path: Path, until: Callable[..., None]) -> None:
    thread = threading.Thread(target=go, args=(tmp_path, "waits", "1"))
    thread.start()
    until((tmp_path / "x=waits/waits").exists)
    with pytest.raises(LaminarError, match="another process runs the sweep"):
        go(tmp_path, "waits", "1")
    (tmp_path / ".stop").touch()
    thread.join(60)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"stop": StopConfig("asha")}, "stop=asha is a rule of Ray Tune; give launcher=ray"),
        ({"device": "cuda"}, "the runs are on a GPU, and gpus=0 gives them none"),
        ({"cpus": 3.0}, "cpus=3 of a run are more than the 2 here"),
        ({"gpus": 9.0}, "gpus=9 of a run, and there are"),
    ],
)
def test_what_does_not_fit_is_one_line(tmp_path: Path, settings: dict[str, object], told: str) -> None:
    with pytest.raises(LaminarError, match=told):
        go(tmp_path / "s", "1", **settings)  # pyright: ignore


def test_gpus_are_shared() -> None:
    assert shares("01", 0.5) == ["0", "1", "0", "1"]
    assert shares("0123", 2) == ["0,1", "2,3"]
    assert shares("012", 1) == ["0", "1", "2"]
    assert shares("0", 0.7) == ["0"]
    with pytest.raises(LaminarError, match="a part of one GPU, or whole ones"):
        shares("01", 1.5)
