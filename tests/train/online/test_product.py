"""What training gives back need not be a policy: it is saved and resumed like one, and not evaluated."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

import laminar
from laminar.cli import main
from laminar.errors import LaminarError
from laminar.train.methods import METHODS


@pytest.fixture
def method() -> Iterator[None]:
    """Register the method for one test."""
    sys.path.insert(0, str(Path(__file__).parent))
    try:
        import averages

        laminar.register("method", averages)
        yield
    finally:
        METHODS._registered.pop("averages", None)
        sys.path.remove(str(Path(__file__).parent))


def words(data: Path, out: Path, *more: str) -> list[str]:
    run = [f"data.path={data}", f"out={out}", "steps=40", "checkpoint_every=20", "log_every=10"]
    return ["train", "method=averages", *run, *more]


@pytest.mark.usefixtures("method")
def test_it_is_trained_saved_and_resumed(demonstrations: Path, tmp_path: Path, numbers: Any) -> None:
    assert main(words(demonstrations, tmp_path / "whole")) == 0
    shutil.copytree(tmp_path / "whole", tmp_path / "cut")
    shutil.rmtree(tmp_path / "cut" / "checkpoints" / "step_00000040")
    assert main(words(demonstrations, tmp_path / "cut", "resume=true")) == 0
    whole, cut = (tmp_path / name / "checkpoints" / "step_00000040" for name in ("whole", "cut"))
    np.testing.assert_array_equal(*(load_file(one / "model.safetensors")["mean"] for one in (whole, cut)))
    assert numbers(tmp_path / "whole") == numbers(tmp_path / "cut")


@pytest.mark.usefixtures("method")
def test_it_is_not_evaluated(demonstrations: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    more = ("env.id=Hopper-v4", "evaluation.every=20")
    assert main(words(demonstrations, tmp_path / "run", *more)) == 2
    assert "method=averages trains no policy that could be evaluated" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("method")
def test_it_is_no_policy_to_load(demonstrations: Path, tmp_path: Path) -> None:
    assert main(words(demonstrations, tmp_path / "run")) == 0
    with pytest.raises(LaminarError, match=r"holds a 'averages', and no kind of policy is called so"):
        laminar.load_policy(tmp_path / "run")


@pytest.mark.usefixtures("method")
def test_it_trains_one_seed_at_a_time(demonstrations: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words(demonstrations, tmp_path / "run", "seeds=[0,1]")) == 2
    told = capsys.readouterr().err
    assert "learns in a way of its own, which cannot train seeds together: in place of seeds=[0, 1]" in told
    assert "seed=0 out=" in told
