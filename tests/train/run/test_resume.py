"""A run that was stopped, in whatever way, ends bit-equal to one that was not."""

from __future__ import annotations

import os
import random
import shlex
import shutil
import signal
import sys
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from laminar.cli import main
from laminar.policies import load_policy
from laminar.policies.storage import checkpoints
from laminar.train.methods.bc import BehaviorCloning
from laminar.train.run.checkpoint import save_checkpoint
from laminar.train.run.logs import read_rows

STEPS = 40
SETTINGS = [
    *("network.width=16", "method.batch_size=8", "method.warmup=5", "log_every=10", "checkpoint_every=16"),
    f"steps={STEPS}",
]


def command(data: Path, out: Path, *more: str) -> list[str]:
    return ["train", f"data.path={data}", f"out={out}", *SETTINGS, *more]


def final_files(run: Path, steps: int = STEPS) -> list[bytes]:
    """Return the weights and the training state after the last update."""
    folder = run / "checkpoints" / f"step_{steps:08d}"
    return [(folder / name).read_bytes() for name in ("model.safetensors", "train.safetensors")]


@pytest.fixture(scope="module")
def reference(demonstrations: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an uninterrupted run."""
    run = tmp_path_factory.mktemp("reference") / "run"
    assert main(command(demonstrations, run)) == 0
    return run


def at_update(monkeypatch: pytest.MonkeyPatch, step: int, act: Callable[[BehaviorCloning], None]) -> None:
    """Do something within the run, before an update."""
    update = BehaviorCloning.update

    def patched(self: BehaviorCloning, now: int) -> Any:
        if now == step:
            act(self)
        return update(self, now)

    monkeypatch.setattr(BehaviorCloning, "update", patched)


def test_the_last_two_checkpoints_are_kept(reference: Path) -> None:
    assert [folder.name for folder in checkpoints(reference)] == ["step_00000032", "step_00000040"]


def test_the_same_command_gives_the_same_weights(reference: Path, demonstrations: Path, tmp_path: Path) -> None:
    assert main(command(demonstrations, tmp_path / "run")) == 0
    assert final_files(tmp_path / "run") == final_files(reference)


def test_another_seed_gives_other_weights(reference: Path, demonstrations: Path, tmp_path: Path) -> None:
    assert main(command(demonstrations, tmp_path / "run", "seed=1")) == 0
    assert final_files(tmp_path / "run") != final_files(reference)


@pytest.mark.parametrize(
    "words",
    [
        *(["policy=meanflow"], ["policy=flow"], ["policy=diffusion"]),
        ["policy=meanflow", "policy.chunk=4", "method.prefix=2"],
    ],
    ids=" ".join,
)
def test_resuming_a_checkpoint_is_exact(words: list[str], demonstrations: Path, tmp_path: Path) -> None:
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    assert main(command(demonstrations, whole, *words)) == 0
    shutil.copytree(whole, resumed)
    shutil.rmtree(checkpoints(resumed)[-1])
    assert main(command(demonstrations, resumed, *words, "resume=true")) == 0
    assert final_files(resumed) == final_files(whole)
    steps = [row["step"] for row in read_rows(resumed / "metrics.jsonl")]
    assert steps == [10, 20, 30, 40]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("step", [0, 13, STEPS - 1])
def test_a_signal_writes_a_checkpoint_and_tells_how_to_resume(
    number: signal.Signals,
    step: int,
    reference: Path,
    demonstrations: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = command(demonstrations, tmp_path / "run")
    monkeypatch.setattr(sys, "argv", ["laminar", *words])
    before = signal.getsignal(number)
    with monkeypatch.context() as patch:
        at_update(patch, step, lambda _: os.kill(os.getpid(), number))
        assert main() == (0 if step == STEPS - 1 else 128 + number)
    assert signal.getsignal(number) == before
    printed = capsys.readouterr().out.strip().splitlines()
    if step == STEPS - 1:  # it had just finished
        assert printed[-1] == f"trained policy in {tmp_path / 'run'}"
    else:
        assert f"stopped after update {step + 1} of {STEPS}" in printed[-2]
        assert [folder.name for folder in checkpoints(tmp_path / "run")] == [f"step_{step + 1:08d}"]
        program, *resume = shlex.split(printed[-1])
        assert (program, resume) == (
            "laminar",
            ["train", *(word for word in words if word[:4] == "out="), "resume=true"],
        )
        assert main(resume) == 0
    assert final_files(tmp_path / "run") == final_files(reference)


def test_a_second_signal_stops_at_once(demonstrations: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def insist(_: BehaviorCloning) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    at_update(monkeypatch, 20, insist)
    assert main(command(demonstrations, tmp_path / "run")) == 130
    assert [folder.name for folder in checkpoints(tmp_path / "run")] == ["step_00000016"]


def test_sigterm_to_a_real_process(
    reference: Path, demonstrations: Path, tmp_path: Path, launch: Callable[..., BaseProcess]
) -> None:
    words = command(demonstrations, tmp_path / "run", "steps=1000000")
    process = launch(words, tmp_path / "output")
    wait_for(lambda: bool(checkpoints(tmp_path / "run")), process)
    os.kill(process.pid or 0, signal.SIGTERM)
    process.join(30)
    output = (tmp_path / "output").read_text()
    assert process.exitcode == 143, output
    assert shlex.join(["laminar", "train", *(word for word in words if word[:4] == "out="), "resume=true"]) in output
    newest = checkpoints(tmp_path / "run")[-1]
    assert f"stopped after update {int(newest.name.removeprefix('step_'))} of 1000000" in output


def wait_for(condition: Callable[[], bool], process: BaseProcess, seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert process.is_alive(), f"ended early with {process.exitcode}"
        assert time.monotonic() < end, "took too long"
        time.sleep(0.01)


def kill_and_resume(
    kills: int,
    steps: int,
    demonstrations: Path,
    tmp_path: Path,
    launch: Callable[..., BaseProcess],
    numbers: Any,
) -> None:
    """Kill a run at random moments, many of which fall into a write, and let it end."""
    settings = [f"steps={steps}", "checkpoint_every=3", "log_every=1"]
    assert main(command(demonstrations, tmp_path / "whole", *settings)) == 0
    words = command(demonstrations, tmp_path / "killed", *settings, "resume=true")
    rows = tmp_path / "killed" / "metrics.jsonl"
    moments = random.Random(0)
    updates = sorted(moments.sample(range(1, steps * 9 // 10), kills - 1))
    # The first one before much is learned; a run takes seconds, so none of the moments is after its end.
    for update in [0, *updates]:
        process = launch(words, tmp_path / "output")
        wait_for(lambda update=update: update == 0 or len(read_rows(rows)) >= update, process)
        process.join(moments.uniform(0.0, 0.01 if update else 0.5))
        os.kill(process.pid or 0, signal.SIGKILL)
        process.join()
        assert process.exitcode == -signal.SIGKILL, (tmp_path / "output").read_text()
    last = launch(words, tmp_path / "output")
    last.join(60)
    assert last.exitcode == 0, (tmp_path / "output").read_text()
    assert final_files(tmp_path / "killed", steps) == final_files(tmp_path / "whole", steps)
    assert numbers(tmp_path / "killed") == numbers(tmp_path / "whole")
    assert not list((tmp_path / "killed" / "checkpoints").glob(".*")), "leftovers of a killed write"


def test_kill_twice(demonstrations: Path, tmp_path: Path, launch: Callable[..., BaseProcess], numbers: Any) -> None:
    kill_and_resume(2, 300, demonstrations, tmp_path, launch, numbers)


@pytest.mark.slow
def test_kill_ten_times(demonstrations: Path, tmp_path: Path, launch: Callable[..., BaseProcess], numbers: Any) -> None:
    kill_and_resume(10, 500, demonstrations, tmp_path, launch, numbers)


def test_the_next_checkpoint_removes_what_a_kill_left(reference: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(reference, tmp_path / "run"))
    policy = load_policy(run)
    for name in (".step_00000050.writing", ".step_00000040.previous"):
        policy.save(run / "checkpoints" / name)
    improver: Any = SimpleNamespace(
        product=lambda: policy, state=lambda: {"generator": torch.zeros(3)}, replay=None, world=None, actor=None
    )
    save_checkpoint(run, 48, improver)
    found = sorted(path.name for path in (run / "checkpoints").iterdir())
    assert found == ["step_00000040", "step_00000048"]


def test_checkpoints_at_multiples_are_kept(
    demonstrations: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    words = command(demonstrations, run, "steps=20", "checkpoint_every=2", "keep_every=6")
    assert main(words) == 0
    found = [path.name for path in sorted((run / "checkpoints").iterdir())]
    assert found == [f"step_{step:08d}" for step in (6, 12, 18, 20)]
    assert load_policy(run).checkpoint_hash() == load_policy(run / "checkpoints" / "step_00000020").checkpoint_hash()
    assert load_policy(run / "checkpoints" / "step_00000006").checkpoint_hash() != load_policy(run).checkpoint_hash()
    assert main([*words[:-1], "keep_every=7", "resume=true"]) == 2
    assert "keep_every=7 is no multiple of checkpoint_every=2" in capsys.readouterr().err


def test_a_run_is_not_overwritten(reference: Path, demonstrations: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = final_files(reference)
    assert main(command(demonstrations, reference)) == 2
    assert f"{reference} already holds a run: it is finished; start a new one" in capsys.readouterr().err
    assert main(command(demonstrations, reference, "resume=true", "method.lr=0.5")) == 2
    message = capsys.readouterr().err
    assert "method.lr was 0.001 and is now 0.5" in message
    assert final_files(reference) == before


def test_resume_needs_the_same_number_of_processes(
    reference: Path, demonstrations: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Path(shutil.copytree(reference, tmp_path / "run"))
    settings = (run / "run.json").read_text()
    (run / "run.json").write_text(settings.replace('"processes": 1', '"processes": 2'))
    assert main(command(demonstrations, run, "resume=true")) == 2
    assert "processes was 2 and is now 1" in capsys.readouterr().err


def test_resuming_a_finished_run_changes_nothing(
    reference: Path, demonstrations: Path, tmp_path: Path, numbers: Any
) -> None:
    run = Path(shutil.copytree(reference, tmp_path / "run"))
    assert main(command(demonstrations, run, "resume=true")) == 0
    assert final_files(run) == final_files(reference)
    assert numbers(run) == numbers(reference)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("missing", "tensor 'online_first' is missing"),
        ("extra", "unexpected tensor 'momentum'"),
        ("shape", "tensor 'online_first' has shape (3,)"),
        ("type", "tensor 'online_first' has shape"),
        ("cut", "is damaged"),
        ("absent", "is missing"),
    ],
)
def test_damaged_training_state(
    damage: str,
    message: str,
    reference: Path,
    demonstrations: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = Path(shutil.copytree(reference, tmp_path / "run"))
    path = checkpoints(run)[-1] / "train.safetensors"
    state = load_file(path)
    if damage == "missing":
        del state["online_first"]
    elif damage == "extra":
        state["momentum"] = torch.zeros(3)
    elif damage == "shape":
        state["online_first"] = torch.zeros(3)
    elif damage == "type":
        state["online_first"] = state["online_first"].double()
    save_file(state, path)
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:100])
    elif damage == "absent":
        path.unlink()
    assert main(command(demonstrations, run, "resume=true")) == 2
    error = capsys.readouterr().err
    assert str(path) in error
    assert message in error
    assert error.count("\n") == 1


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_last_checkpoint(
    demonstrations: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def spoil(bc: BehaviorCloning) -> None:
        assert bc.program is not None
        bc.program.state["online"].fill_(torch.nan)

    at_update(monkeypatch, 20, spoil)
    # rows are further apart than checkpoints: the bad weights must not reach a checkpoint all the same
    assert main(command(demonstrations, tmp_path / "run", "log_every=40")) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert "loss is nan at update 21" in error
    kept = checkpoints(tmp_path / "run")
    assert [folder.name for folder in kept] == ["step_00000016"]
    assert str(kept[0]) in error
    assert all(value.isfinite().all() for value in load_policy(kept[0]).state_dict().values())


def test_a_full_disk_keeps_the_last_checkpoint(
    demonstrations: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fill_disk(_: BehaviorCloning) -> None:
        def full(*_: Any, **__: Any) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("laminar.train.run.checkpoint.write_tensors", full)

    at_update(monkeypatch, 20, fill_disk)
    assert main(command(demonstrations, tmp_path / "run")) == 2
    assert "step_00000032: No space left on device" in capsys.readouterr().err
    assert [folder.name for folder in (tmp_path / "run" / "checkpoints").iterdir()] == ["step_00000016"]
    load_policy(tmp_path / "run")
