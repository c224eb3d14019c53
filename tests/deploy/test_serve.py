"""`laminar serve`: a saved policy, from one process to another."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from laminar.cli import main
from laminar.deploy.client import PolicyClient
from laminar.policies import GenerativePolicy

# The background jobs of a shell ignore Ctrl-C, and so would what they start.
LISTENING = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from laminar.cli import main
sys.exit(main())
"""
START = (sys.executable, "-c", LISTENING, "serve", "port=0")


@pytest.fixture
def folder(make_policy: Callable[..., GenerativePolicy], tmp_path: Path) -> Path:
    return make_policy().save(tmp_path / "policy")


@pytest.fixture
def start(folder: Path) -> Iterator[Callable[..., tuple[subprocess.Popen[str], str]]]:
    """Return a function that starts a server and returns its process and url."""
    running: list[subprocess.Popen[str]] = []

    def started(*words: str, **variables: str) -> tuple[subprocess.Popen[str], str]:
        command = [*START, f"policy.path={folder}", *words]
        environment = {**os.environ, **variables}
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
        running.append(process)
        assert process.stderr is not None
        line = process.stderr.readline()
        found = re.fullmatch(rf"serving {re.escape(str(folder))} at (ws://127\.0\.0\.1:\d+); Ctrl-C ends it\n", line)
        assert found, line
        return process, found[1]

    yield started
    for process in running:
        process.kill()
        process.wait()


def test_from_process_to_process(
    start: Callable[..., tuple[subprocess.Popen[str], str]], make_policy: Callable[..., GenerativePolicy]
) -> None:
    process, url = start("policy.runtime=eager", "batch=3")
    policy = make_policy()
    with PolicyClient(url) as client:
        assert client.checkpoint_hash() == policy.checkpoint_hash()
        obs, noise = torch.randn(3, 3), torch.randn(3, *policy.noise_shape)
        torch.testing.assert_close(client.sample(obs, noise), policy.sample(obs, noise))
        assert client.metadata["batch"] == 3
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=20) == 130
    assert process.stderr is not None
    assert process.stderr.read() == "laminar: interrupted\n"


def test_a_token_that_no_list_of_processes_shows(start: Callable[..., tuple[subprocess.Popen[str], str]]) -> None:
    _, url = start(LAMINAR_TOKEN="opens")
    with pytest.raises(Exception, match="HTTP status 401"):
        PolicyClient(url)
    PolicyClient(url, "opens").close()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "laminar serve needs policy.path=FOLDER"),
        (("policy.path=nowhere",), "nowhere"),
        (("policy.path=POLICY", "host=0.0.0.0"), "host=0.0.0.0 can be reached by other machines: give token=SECRET"),
        (("policy.path=POLICY", "host=no.such.host", "token=x"), "cannot listen at no.such.host:8000"),
        (("policy.path=POLICY", "port=70000"), "port must be at least 0 and at most 65535, got 70000"),
        (("policy.path=POLICY", "candidates=4"), "critic"),
        (("policy.path=POLICY", "temperature=2"), "temperature does not apply to a single sample"),
        (("policy.path=POLICY", "policy.runtime=banana"), "banana"),
    ],
)
def test_mistakes(words: tuple[str, ...], told: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", *(word.replace("POLICY", str(folder)) for word in words)]) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1
