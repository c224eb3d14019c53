"""What newcomers type, and the words that they need to hear."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from laminar.cli import main


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Record demonstrations and train a policy; RUN is finished."""
    folder = tmp_path_factory.mktemp("messages")
    data, run = folder / "maze.hdf5", folder / "pen"
    assert main(["collect", "task=pointmaze", "episodes=2", f"out={data}"]) == 0
    assert main(["train", f"data.path={data}", f"out={run}", "steps=2", "network.width=8"]) == 0
    return {"DATA": str(data), "RUN": str(run), "OUT": str(folder / "out")}


MESSAGES: list[tuple[str, list[str]]] = [
    # a path alone
    ("eval RUN", ["is not key=value", "policy.path=RUN"]),
    ("eval runs/pen", ["policy.path=runs/pen"]),
    ("export RUN", ["policy.path=RUN"]),
    ("train DATA", ["data.path=DATA"]),
    ("collect demos.hdf5", ["out=demos.hdf5"]),
    # a setting without the group that it is in
    ("train lr=3e-4", ["unknown setting 'lr'", "did you mean 'method.lr'"]),
    ("train width=3", ["'network.width'"]),
    ("train path=x", ["'data.path' or 'world.path' or 'init.path'"]),
    ("eval path=x", ["'policy.path'"]),
    # a setting of another choice
    ("train policy.process.solver=ddim", ["diffusion, dql, flow, flow_planner, trajectory_diffuser or veteran"]),
    (
        "train method.discount=0.9",
        ["method=diwa, dppo, dql, dsrl, dsrl_sac, fpo, fql, ifql, iql, ofql, pmpo, qc, rebrac, reinflow, residual or"],
    ),
    # numbers
    ("train steps=1e4", ["steps must be a whole number", "steps=10000"]),
    ("train steps=1.5", ["steps must be a whole number, at least 1, got 1.5"]),
    ("bench policy.path=RUN candidates=1e1", ["a whole number", "candidates=10"]),
    ("eval policy.path=RUN task=pointmaze episodes=0", ["episodes must be at least 1, got 0"]),
    # dashes
    ("train --data.path=x", ["without dashes, data.path=x"]),
    ("train --steps 100", ["without dashes, steps=100"]),
    ("compare RUN RUN --env.id=x", ["without dashes, env.id=x"]),
    ("train --resume", ["without dashes, resume=…"]),
    # environments
    ("eval policy.path=RUN env.id=mybot/Reach-v0", ["unknown environment", "module:id, mybot:mybot/Reach-v0"]),
    ("eval policy.path=RUN env.id=laminar/PointMaz-v0", ["did you mean 'laminar/PointMaze-v0'?"]),
    ("eval policy.path=RUN env.id=Pendulum-v9", ["did you mean 'Pendulum-v1'?"]),
    # going on
    ("train resume=true", ["nothing to resume, no run is named", "takes the other settings from the run"]),
    ("train out=OUT resume=true", ["there is no run in OUT", "takes the other settings from the run"]),
    ("train out=RUN resume=true steps=4", ["steps was 2 and is now 4", "init=RUN"]),
    ("train out=RUN resume=true method.lr=1", ["method.lr was 0.001 and is now 1.0", "leave it out"]),
    ("train out=RUN resume=true network=unet1d", ["network.", "leave it out"]),
    ("train data.path=DATA out=RUN", ["already holds a run", "it is finished", "init=RUN"]),
]


@pytest.mark.parametrize(("words", "wanted"), MESSAGES, ids=[words for words, _ in MESSAGES])
def test_the_line_has_the_remedy(
    words: str, wanted: list[str], places: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    for name, place in places.items():
        words = words.replace(name, place)
        wanted = [text.replace(name, place) for text in wanted]
    capsys.readouterr()
    assert main(words.split()) == 2
    printed = capsys.readouterr()
    assert (printed.out, printed.err.count("\n")) == ("", 1), printed.err
    for text in wanted:
        assert text in printed.err
    assert not Path(places["OUT"]).exists()


@pytest.mark.parametrize("words", [["inspect", "DATA"], ["train", "--help"], ["--help"]])
def test_a_reader_that_goes_is_no_mistake(words: list[str], places: dict[str, str]) -> None:
    """As in `laminar inspect FILE | head -1`."""
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "laminar.cli", *(places.get(word, word) for word in words)]
    with os.fdopen(write, "wb") as stream:
        done = subprocess.run(command, stdout=stream, stderr=subprocess.PIPE, timeout=100)
    assert (done.returncode, done.stderr) == (141, b"")


def test_a_full_disk_is_one() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full, which is always full")
    with open("/dev/full", "wb") as stream:
        command = [sys.executable, "-m", "laminar.cli", "--help"]
        done = subprocess.run(command, stdout=stream, stderr=subprocess.PIPE, text=True, timeout=100)
    assert "laminar: [Errno 28] No space left on device" in done.stderr
    assert done.returncode != 0
