"""`laminar train out=RUN resume=true`: the run brings its settings."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from laminar.cli import main
from laminar.policies.storage import checkpoints

CASES = {
    "cloning": ["policy=diffusion", "network=unet1d", "network.widths=[8,16]", "network.groups=4", "policy.chunk=4"],
    "q_learning": ["method=td3bc", "method.critic.width=16", "network.width=16", "method.lr=1e-4"],
    "planner": [
        *("method=planning", "policy=trajectory_diffuser", "policy.horizon=6", "policy.chunk=4", "policy.execute=2"),
        *("network.width=16", "policy.draft.width=16", "policy.draft.depth=1", "policy.critic.width=16"),
    ],
    "seeds": ["method=ofql", "network.width=16", "method.critic.width=16", "seeds=[3,0,11]"],
}
ALWAYS = ["steps=8", "checkpoint_every=4", "log_every=4", "method.batch_size=8", "runtime.matmul=high"]


def runs_in(folder: Path) -> list[Path]:
    return sorted(path.parent for path in folder.rglob("run.json"))


def cut(whole: Path, folder: Path) -> Path:
    """Copy a run without its last checkpoint."""
    shutil.copytree(whole, folder)
    for run in runs_in(folder):
        shutil.rmtree(checkpoints(run)[-1])
    return folder


@pytest.mark.parametrize("case", CASES)
def test_it_ends_as_if_it_had_not_stopped(case: str, rewarded_file: Path, tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    assert main(["train", f"data.path={rewarded_file}", f"out={whole}", *CASES[case], *ALWAYS]) == 0
    resumed = cut(whole, tmp_path / "resumed")
    assert main(["train", f"out={resumed}", "resume=true"]) == 0
    assert len(runs_in(whole)) == (3 if case == "seeds" else 1)
    for one, other in zip(runs_in(whole), runs_in(resumed), strict=True):
        files = [
            checkpoints(run)[-1] / name for run in (one, other) for name in ("model.safetensors", "train.safetensors")
        ]
        first, state, again, state_again = (file.read_bytes() for file in files)
        assert (first, state) == (again, state_again)
        stored, now = (json.loads((run / "run.json").read_text()) for run in (one, other))
        assert now == stored | {"out": str(other), "resume": True}


def test_what_is_given_must_be_as_it_was(
    rewarded_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, data = tmp_path / "whole", f"data.path={rewarded_file}"
    assert main(["train", data, f"out={whole}", "policy=flow", "network.width=8", *ALWAYS]) == 0
    words = ["train", f"out={cut(whole, tmp_path / 'one')}", "resume=true"]
    for wrong, message in (
        ("network.width=9", "network.width was 8 and is now 9; leave it out"),
        ("policy=diffusion", "policy.process."),
        ("steps=9", "steps was 8 and is now 9; rates follow a schedule"),
        ("policy.process.flow_ratio=0.1", "the run has no policy.process.flow_ratio; leave it out"),
    ):
        capsys.readouterr()
        assert main([*words, wrong]) == 2
        assert message in capsys.readouterr().err
    assert main([*words, "network.width=8", data, "policy=flow"]) == 0
    assert main([*words, "wandb=false"]) == 0, "a finished run stays finished"


def test_moved_data_are_named(rewarded_file: Path, tmp_path: Path) -> None:
    """They are recognized by their content."""
    data = shutil.copy(rewarded_file, tmp_path / "before.hdf5")
    whole = tmp_path / "whole"
    assert main(["train", f"data.path={data}", f"out={whole}", "network.width=8", *ALWAYS]) == 0
    words = ["train", f"out={cut(whole, tmp_path / 'one')}", "resume=true"]
    moved = shutil.move(data, tmp_path / "after.hdf5")
    assert main(words) == 2
    assert main([*words, f"data.path={moved}"]) == 0
