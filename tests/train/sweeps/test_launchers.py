"""Launchers that need an extra: jobs come back from Ray and from submitit, whatever happens to a worker."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from laminar.cli import main
from laminar.cluster import cluster
from laminar.errors import LaminarError
from laminar.train.sweeps.config import StopConfig
from laminar.train.sweeps.job import Ended, Job, Share
from laminar.train.sweeps.launchers import LAUNCHERS
from laminar.train.sweeps.launchers.launcher import Launcher
from laminar.train.sweeps.process import STOPPED

# not importorskip: what keeps a cluster on the loopback is read when Ray is imported
needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason="needs the extra ray")
SMALL = ("network.width=16", "method.batch_size=8", "log_every=4", "checkpoint_every=8")


def launcher(name: str, share: Share | None = None, rule: StopConfig | None = None, **settings: Any) -> Launcher:
    config = LAUNCHERS.config_class(name)(**settings)
    return LAUNCHERS.member_class(name)(config, share or Share(), rule or StopConfig())


def parent_of(word: str) -> int:
    """Return the process that started the one with a word in its command."""
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdecimal() and word in (entry / "cmdline").read_bytes().decode().split("\0"):
                return int((entry / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    return 0


# Ray


@needs_ray
def test_a_cluster_of_ray(job: Callable[..., Job], capfd: pytest.CaptureFixture[str]) -> None:
    home = Path.home() / ".ray"
    before = home.exists() and (home / "auth_token").stat().st_mtime_ns
    jobs = [job(name, "--version") for name in "abc"]
    found = list(launcher("ray", cpus=2).launch(jobs))
    assert sorted((one.name, one.code) for one in found) == [("a", 0), ("b", 0), ("c", 0)]
    assert jobs[0].log.read_text().startswith("laminar ")
    assert (home.exists() and (home / "auth_token").stat().st_mtime_ns) == before
    assert capfd.readouterr().err == ""
    with cluster(cpus=2) as ray:  # in the same process again, now with what is looked at while it is there
        listening = (
            subprocess.run(["ss", "-ltnpH"], capture_output=True, text=True).stdout if shutil.which("ss") else ""
        )
        places = [line.split()[3] for line in listening.splitlines() if "ray" in line or "gcs" in line]
        assert all("127.0.0.1" in place for place in places), places
        with pytest.raises(LaminarError, match="no machine of the Ray cluster has cpus=3 gpus=0"):
            next(launcher("ray", Share(3.0)).launch(jobs))
        Path(jobs[0].stop).touch()
        assert [one.code for one in launcher("ray").launch(jobs[:2])] == [STOPPED, STOPPED]
        assert ray.is_initialized()  # one that was there is left as it is
    assert not ray.is_initialized()


@needs_ray
@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://nobody.invalid:1"])
def test_no_cluster_answers(address: str) -> None:
    with pytest.raises(LaminarError, match=f"no Ray cluster answers at {address}: "), cluster(address):
        pass


@needs_ray
def test_nothing_is_left_of_a_cluster_that_did_not_start(
    monkeypatch: pytest.MonkeyPatch, until: Callable[..., None]
) -> None:
    import ray

    parts: list[subprocess.Popen[bytes]] = []

    def init(_temp_dir: str, **_: object) -> None:
        parts.append(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", _temp_dir]))
        started = Path(f"/proc/{parts[-1].pid}/cmdline")  # which is empty while the program is being loaded
        until(lambda: _temp_dir.encode() in started.read_bytes())
        raise RuntimeError("too busy\nto start")

    monkeypatch.setattr(ray, "init", init)
    with pytest.raises(LaminarError, match=r"Ray does not start on this machine: too busy$"), cluster():
        pass
    assert [part.wait(60) for part in parts] == [-signal.SIGKILL] * 3


@needs_ray
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_sweeps_by_ray_and_by_joblib_are_equal_and_a_lost_worker_costs_nothing(
    demonstrations: Path, tmp_path: Path, numbers: Callable[[Path], object], until: Callable[..., None]
) -> None:
    words = ["train", "-m", "method=bc,ofql", "seed=0,1", f"data.path={demonstrations}", *SMALL, "steps=400"]
    victim = tmp_path / "ray/method=bc,seed=0"

    def kill() -> None:
        until(lambda: any((victim / "checkpoints").glob("step_*")), 600)
        os.kill(parent_of(str(victim)), signal.SIGKILL)

    thread = threading.Thread(target=kill)
    thread.start()
    assert main([*words, "launcher=ray", "launcher.cpus=2", f"out={tmp_path / 'ray'}"]) == 0
    thread.join()
    assert "resumed after update" in (victim / "log.txt").read_text()
    assert main([*words, "launcher.cpus=2", f"out={tmp_path / 'joblib'}"]) == 0
    runs = sorted((tmp_path / "joblib").glob("method=*"))
    assert len(runs) == 4
    for run in runs:
        assert numbers(run) == numbers(tmp_path / "ray" / run.name)


@needs_ray
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_rule_ends_runs_early(demonstrations: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [f"data.path={demonstrations}", *SMALL, "steps=2000", "launcher=ray", "launcher.cpus=2", f"out={tmp_path}"]
    words += ["method=bc", "method.lr=1e-2,1e-7,1e-8,1e-9", "stop=asha", "stop.grace=8", "stop.reduction=2"]
    assert main(["train", "-m", *words]) == 0
    text = (tmp_path / "runs.md").read_text()
    assert "ended early by asha at update" in text
    assert "| method.lr=0.01 | finished | 2,000 |" in text
    assert not (tmp_path / ".tune").exists()
    capsys.readouterr()
    assert main(["train", "-m", *words]) == 0  # nothing is left to do
    assert capsys.readouterr().err.startswith("0 runs by launcher=ray, 4 of before are kept")


# SLURM


def by_submitit(jobs: Sequence[Job], share: Share | None = None) -> list[Ended]:
    pytest.importorskip("submitit")
    return list(launcher("slurm", share, cluster="local").launch(jobs))


def test_jobs_of_submitit(job: Callable[..., Job]) -> None:
    jobs = [job(name, "--version") for name in "abc"]
    found = by_submitit(jobs)
    assert sorted((one.name, one.code) for one in found) == [("a", 0), ("b", 0), ("c", 0)]
    assert len(list((Path(jobs[0].stop).parent / ".slurm").glob("*_submitted.pkl"))) == 3


def test_runs_share_the_gpu_of_a_job(job: Callable[..., Job]) -> None:
    jobs = [job(name, "--version") for name in "abc"]
    assert sorted(one.name for one in by_submitit(jobs, Share(1.0, 0.5))) == ["a", "b", "c"]
    assert len(list((Path(jobs[0].stop).parent / ".slurm").glob("*_submitted.pkl"))) == 2


def test_the_script_for_slurm(job: Callable[..., Job], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An `sbatch` that only says that it has taken the script, which is then looked at."""
    pytest.importorskip("submitit")
    for name, text in (("sbatch", 'cp "$1" "$(dirname "$0")/script"; echo Submitted batch job 7'), ("sacct", "exit 1")):
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    (tmp_path / "srun").symlink_to(tmp_path / "sbatch")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    one = launcher("slurm", Share(2.0, 0.5), partition="long", time=90, mem=4.0, jobs=3, qos="low")
    monkeypatch.setattr("laminar.train.sweeps.launchers.slurm._ended", lambda one, jobs: [one])
    monkeypatch.setattr("submitit.SlurmJob.done", lambda self: True)
    assert len(list(one.launch([job(name, "--version") for name in "abcde"]))) == 3
    script = (tmp_path / "script").read_text()
    wanted = ("partition=long", "time=90", "mem=8GB", "cpus-per-task=4", "gpus-per-node=1", "array=0-2%3", "qos=low")
    assert [line for line in wanted if f"#SBATCH --{line}\n" not in script] == []
    assert "#SBATCH --signal=USR2@120\n" in script


def test_without_slurm_it_says_so(job: Callable[..., Job], monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("submitit")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(LaminarError, match=r"launcher\.cluster=local tries it without SLURM"):
        next(iter(launcher("slurm").launch([job("a", "--version")])))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_preempted_job_goes_on(
    demonstrations: Path, job: Callable[..., Job], numbers: Callable[[Path], object], until: Callable[..., None]
) -> None:
    pytest.importorskip("submitit")
    words = f"train method=bc data.path={demonstrations} {' '.join(SMALL)} steps=2000"
    whole, cut = (job(name, "") for name in ("whole", "cut"))
    whole, cut = (replace(one, commands=(tuple(f"{words} out={one.folder}".split()),)) for one in (whole, cut))

    def preempt() -> None:
        until(lambda: any((Path(cut.folder) / "checkpoints").glob("step_*")), 600)
        os.kill(parent_of(cut.folder), signal.SIGUSR2)

    thread = threading.Thread(target=preempt)
    thread.start()
    assert [one.code for one in by_submitit([whole, cut])] == [0, 0]
    thread.join()
    assert "stopped after update" in cut.log.read_text()
    assert "resumed after update" in cut.log.read_text()
    assert numbers(Path(whole.folder)) == numbers(Path(cut.folder))
