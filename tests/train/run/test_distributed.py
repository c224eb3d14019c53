"""Two processes with batch B are one process with batch 2 B."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from laminar.cli import main
from laminar.policies.storage import checkpoints
from laminar.train.update.group import Group

Launch = Callable[..., BaseProcess]


def command(data: Path, out: Path, *more: str) -> list[str]:
    settings = ["network.width=16", "method.warmup=5", "log_every=5", "checkpoint_every=20", "steps=20"]
    return ["train", f"data.path={data}", f"out={out}", *settings, *more]


def launch_two(launch: Launch, words: list[str], folder: Path) -> list[BaseProcess]:
    """Start both processes of a group as torchrun would."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    group = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "GLOO_SOCKET_IFNAME": "lo"}
    ranks = [{"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(2)]
    return [launch(words, folder / f"output{rank['RANK']}", group | rank) for rank in ranks]


def outputs(folder: Path) -> list[str]:
    return [(folder / f"output{rank}").read_text() for rank in range(2)]


def run_two(launch: Launch, words: list[str], folder: Path) -> None:
    """Let both processes of a group end well."""
    pair = launch_two(launch, words, folder)
    for process in pair:
        process.join(60)
    assert [process.exitcode for process in pair] == [0, 0], outputs(folder)


def assert_same_training(one: Path, two: Path, numbers: Any) -> None:
    """Compare losses and weights to the rounding of a sum in another order."""
    rows, others = numbers(one), numbers(two)
    assert [row["step"] for row in rows] == [row["step"] for row in others] == [5, 10, 15, 20]
    for row, other in zip(rows, others, strict=True):
        assert other == pytest.approx(row, rel=1e-4)
    weights, other_weights = (load_file(checkpoints(run)[-1] / "model.safetensors") for run in (one, two))
    for name, value in weights.items():
        torch.testing.assert_close(other_weights[name], value, rtol=1e-3, atol=1e-5, msg=name)


# mean flow's rows with r = t, 3 of 4, do not divide evenly between the processes
@pytest.mark.parametrize(
    ("policy", "batch"), [(["policy=flow"], 8), (["policy=meanflow", "policy.process.flow_ratio=0.75"], 2)]
)
def test_two_processes_are_one_with_a_doubled_batch(
    policy: list[str],
    batch: int,
    demonstrations: Path,
    tmp_path: Path,
    launch: Launch,
    numbers: Any,
) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    assert main(command(demonstrations, one, *policy, f"method.batch_size={2 * batch}")) == 0
    words = command(demonstrations, two, *policy, f"method.batch_size={batch}")
    run_two(launch, words, tmp_path)
    assert_same_training(one, two, numbers)
    assert outputs(tmp_path)[1] == "", "only the first process speaks"


def test_a_signal_to_one_process_stops_both(demonstrations: Path, tmp_path: Path, launch: Launch) -> None:
    words = command(demonstrations, tmp_path / "run", "steps=1000000", "method.batch_size=8")
    pair = launch_two(launch, words, tmp_path)
    end = time.monotonic() + 60
    while not checkpoints(tmp_path / "run"):
        assert all(process.is_alive() for process in pair), outputs(tmp_path)
        assert time.monotonic() < end
        time.sleep(0.02)
    os.kill(pair[1].pid or 0, signal.SIGTERM)
    for process in pair:
        process.join(60)
    assert [process.exitcode for process in pair] == [143, 143], outputs(tmp_path)
    assert "torchrun --nproc-per-node 2 -m laminar.cli train" in outputs(tmp_path)[0]


def test_bad_settings_stop_both_with_one_line_each(demonstrations: Path, tmp_path: Path, launch: Launch) -> None:
    pair = launch_two(launch, command(demonstrations, tmp_path / "run", "policy.chunk=99"), tmp_path)
    for process in pair:
        process.join(60)
    assert [process.exitcode for process in pair] == [2, 2]
    assert all("shorter than the chunk" in text and text.count("\n") == 1 for text in outputs(tmp_path))
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_torchrun(demonstrations: Path, tmp_path: Path, numbers: Any) -> None:
    words = command(demonstrations, tmp_path / "two", "method.batch_size=8")
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "laminar.cli"]
    done = subprocess.run([*launcher, *words], capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == f"trained policy in {tmp_path / 'two'}"
    assert main(command(demonstrations, tmp_path / "one", "method.batch_size=16")) == 0
    assert_same_training(tmp_path / "one", tmp_path / "two", numbers)


def improve(data: Path, out: Path, batch: int, *words: str) -> list[str]:
    lengths = ["log_every=5", "checkpoint_every=20", "steps=20"]
    return [
        "train",
        f"data.path={data}",
        f"out={out}",
        "network.width=16",
        *lengths,
        f"method.batch_size={batch}",
        *words,
    ]


# Several candidates a transition, a chain of inner draws and smoothing are shared out by transition. The critic's term
# is divided by nothing, by mean |Q| or by Q's slope over the whole batch, of which each process has a share.
Q_LEARNING = {
    "dql": ("method=dql", "method.q_scale=none", "method.backup_actions=3", "method.target_noise=0.2"),
    "dql, scaled": ("method=dql", "method.q_scale=policy"),
    "ofql": ("method=ofql", "policy=meanflow", "method.q_scale=data"),
    "fql": ("method=fql", "method.q_scale=slope", "method.max_grad_norm=0.5"),
    "iql": ("method=iql", "method.q_scale=none"),
}


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(words, marks=[] if name in ("dql", "ofql") else [pytest.mark.slow])
        for name, words in Q_LEARNING.items()
    ],
    ids=Q_LEARNING,
)
def test_q_learning_of_two_processes(
    words: tuple[str, ...],
    rewarded_file: Path,
    tmp_path: Path,
    launch: Launch,
    numbers: Any,
) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    words = (*words, "method.critic.width=16", "method.ema_start=5")
    assert main(improve(rewarded_file, one, 16, *words)) == 0
    run_two(launch, improve(rewarded_file, two, 8, *words), tmp_path)
    assert_same_training(one, two, numbers)


@pytest.mark.parametrize("words", [("method=reflow",), pytest.param(("method=ctm",), marks=pytest.mark.slow)])
def test_distillation_of_two_processes(
    words: tuple[str, ...],
    demonstrations: Path,
    tmp_path: Path,
    launch: Launch,
    numbers: Any,
) -> None:
    teacher = tmp_path / "teacher"
    assert (
        main(["train", "policy=flow", f"data.path={demonstrations}", f"out={teacher}", "network.width=16", "steps=2"])
        == 0
    )
    words = (*words, f"method.teacher={teacher}", "method.warmup=5")
    words = (*words, "method.pairs=200") if "method=reflow" in words else words
    one, two = tmp_path / "one", tmp_path / "two"
    assert main(improve(demonstrations, one, 16, *words)) == 0
    run_two(launch, improve(demonstrations, two, 8, *words), tmp_path)
    assert_same_training(one, two, numbers)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_the_shares_are_the_whole_batch(count: int) -> None:
    whole = torch.arange(12)
    shares = [Group(rank, count).share(whole) for rank in range(count)]
    assert {len(share) for share in shares} == {12 // count}
    assert torch.equal(torch.cat(shares).sort().values, whole)


def test_several_seeds_are_for_one_process(launch: Launch, demonstrations: Path, tmp_path: Path) -> None:
    words = [*command(demonstrations, tmp_path / "run"), "seeds=[0,1]"]
    for process in launch_two(launch, words, tmp_path):
        process.join(60)
        assert process.exitcode == 2
    assert all("seeds=[…] train together in one process" in output for output in outputs(tmp_path))
    assert not (tmp_path / "run").exists()


def test_two_processes_steer_as_one_from_recordings(
    rewarded_file: Path, tmp_path: Path, launch: Launch, numbers: Any
) -> None:
    assert main(command(rewarded_file, tmp_path / "clone")) == 0
    small = [f"method.{part}.{size}" for part in ("actor", "critic") for size in ("width=8", "depth=1")]
    words = ["train", "method=dsrl", f"init={tmp_path / 'clone'}", f"data.path={rewarded_file}", *small]
    words += ["method.actor_start=0", "log_every=5", "checkpoint_every=20", "steps=20"]
    one, two = tmp_path / "one", tmp_path / "two"
    assert main([*words, f"out={one}", "method.batch_size=16"]) == 0
    run_two(launch, [*words, f"out={two}", "method.batch_size=8"], tmp_path)
    assert_same_training(one, two, numbers)
