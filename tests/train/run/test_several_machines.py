"""Training on several machines: two agents of torchrun, as on two nodes, over the loopback."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from laminar.policies.storage import checkpoints

_SETTINGS = ["network.width=16", "method.critic.width=16", "method.batch_size=8", "log_every=50"]
_LENGTHS = ["checkpoint_every=200", "steps=600"]


def start_nodes(out: Path, data: Path, folder: Path, *more: str) -> list[subprocess.Popen[bytes]]:
    """Start both agents, with the command of docs/clusters.md but for `--local-addr`."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    meet = ["--rdzv-backend", "c10d", "--rdzv-endpoint", f"127.0.0.1:{port}", "--local-addr", "127.0.0.1", *more]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1", *meet]
    train = ["-m", "laminar.cli", "train", "method=ofql", f"data.path={data}", f"out={out}", *_SETTINGS, *_LENGTHS]
    environment = os.environ | {"GLOO_SOCKET_IFNAME": "lo"}
    agents: list[subprocess.Popen[bytes]] = []
    for node in range(2):
        with (folder / f"{out.name}{node}.log").open("wb") as log:
            command = [*torchrun, "--node-rank", str(node), *train]
            agents.append(subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True))
    return agents


def told(folder: Path) -> str:
    return "\n".join(path.read_text() for path in sorted(folder.glob("*.log")))


def end_well(agents: list[subprocess.Popen[bytes]], folder: Path) -> None:
    try:
        assert [agent.wait(240) for agent in agents] == [0, 0], told(folder)
    finally:
        for agent in agents:
            if agent.poll() is None:
                os.killpg(agent.pid, signal.SIGKILL)


def worker_of(agent: subprocess.Popen[bytes]) -> int:
    """Return the process that trains, a child of its agent."""
    (child,) = Path(f"/proc/{agent.pid}/task/{agent.pid}/children").read_text().split()
    return int(child)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_killed_process_costs_no_update(rewarded_file: Path, tmp_path: Path, numbers: Any) -> None:
    """The group starts anew from the last checkpoint, and ends to the bit where an undisturbed one does."""
    calm, killed = tmp_path / "calm", tmp_path / "killed"
    end_well(start_nodes(calm, rewarded_file, tmp_path), tmp_path)
    agents = start_nodes(killed, rewarded_file, tmp_path, "--max-restarts", "3")
    end = time.monotonic() + 240
    while not checkpoints(killed):
        assert all(agent.poll() is None for agent in agents), told(tmp_path)
        assert time.monotonic() < end
        time.sleep(0.002)
    os.kill(worker_of(agents[1]), signal.SIGKILL)
    end_well(agents, tmp_path)
    assert "resumed after update" in told(tmp_path), "it was killed in time"
    assert "another process of the group is gone" in told(tmp_path)
    assert "Traceback" not in (tmp_path / "killed0.log").read_text().partition("elastic")[0]
    assert numbers(killed) == numbers(calm)
    one, other = (load_file(checkpoints(run)[-1] / "train.safetensors") for run in (calm, killed))
    assert all(one[name].equal(other[name]) for name in one)
