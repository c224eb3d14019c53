"""Evaluation of what a robot will run: `policy.runtime=` of laminar eval."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from laminar.cli import main
from laminar.errors import LaminarError
from laminar.eval.results.chain_result import Chain, ChainResult, load_chain_result
from laminar.eval.results.result import Result, load_result
from laminar.eval.rollouts.episodes import evaluate
from laminar.policies import PolicyConfig
from laminar.policies.guided import Acting
from laminar.policies.module import PolicyModule
from laminar.policies.runtimes.prepared import Prepared

ENV = "Hopper-v4"  # an untrained policy falls after some ten steps


@pytest.fixture
def policy(made_up_policy: Callable[..., PolicyModule]) -> PolicyModule:
    return made_up_policy(PolicyConfig(history=2, chunk=4, execute=3))


@pytest.mark.parametrize("acting", [None, Acting(4, "argmax")], ids=["sample", "candidates"])
def test_the_same_episodes(policy: PolicyModule, acting: Acting | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seven seeds in three slots: chunks end at different times, and fewer slots plan than there are."""
    eager = evaluate(policy, ENV, range(7), num_envs=3, acting=acting)
    rows: list[int] = []
    run = Prepared.run

    def counted(self: Prepared, windows: Any, batch: int, *rest: Any) -> torch.Tensor:
        rows.append(batch)
        return run(self, windows, batch, *rest)

    monkeypatch.setattr(Prepared, "run", counted)
    fast = evaluate(policy, ENV, range(7), num_envs=3, acting=acting, runtime="onnx")
    assert (eager.runtime, fast.runtime) == ("eager", "onnx")
    assert set(rows) == {1, 2, 3}
    assert fast.acting == eager.acting
    assert fast.checkpoint == eager.checkpoint
    assert [episode.length for episode in fast.episodes] == [episode.length for episode in eager.episodes]
    np.testing.assert_allclose(fast.returns, eager.returns, rtol=1e-3)


def test_records_tell_the_runtime(policy: PolicyModule, tmp_path: Path) -> None:
    result = evaluate(policy, ENV, range(2), runtime="onnx")
    stored = load_result(result.save(tmp_path))
    assert stored.runtime == "onnx"
    assert Result.from_json({k: v for k, v in result.to_json().items() if k != "runtime"}).runtime == "eager"


def test_records_of_chains_tell_it(tmp_path: Path) -> None:
    result = ChainResult(ENV, "none", [Chain(0, ("open_drawer",), 0, [3])], runtime="onnx")
    assert load_chain_result(result.save(tmp_path)).runtime == "onnx"


def test_the_command(policy: PolicyModule, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["eval", f"policy.path={policy.save(tmp_path / 'policy')}", f"env.id={ENV}", "episodes=2"]
    out = tmp_path / "out"
    assert main([*words, f"out={out}", "policy.runtime=onnx", "processes=2", "video_episodes=0"]) == 0
    assert json.loads((out / "eval.json").read_text())["runtime"] == "onnx"
    assert "- runtime: onnx" in (out / "report.md").read_text()
    capsys.readouterr()
    assert main([*words, "policy.runtime=onx"]) == 2
    assert "no runtime is called 'onx'" in capsys.readouterr().err


def test_a_policy_of_another_kind(noise_policy: Any) -> None:
    with pytest.raises(
        LaminarError, match=r"NoisePolicy is no policy with a sampling loop; leave policy\.runtime=onnx out"
    ):
        evaluate(noise_policy(ENV), ENV, [0], runtime="onnx")
