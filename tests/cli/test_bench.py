"""`laminar bench`: from a saved policy to a table, a page, a picture and a file; mistakes are one line."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from laminar.cli import main
from laminar.configs.compose import compose
from laminar.data.episodes import Episodes
from laminar.data.spec import Feature, Spec
from laminar.policies import NETWORKS, PROCESSES, GenerativePolicy, PolicyConfig


@pytest.fixture(scope="module")
def policy_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a saved, untrained mean flow of two network calls for a 3-d state and 2-d actions, at 20 Hz."""
    rng = np.random.default_rng(0)
    zeros = np.zeros(20, bool)
    episodes = Episodes(
        observation={"observation": rng.normal(size=(20, 3)).astype(np.float32)},
        final_observation={"observation": np.zeros((1, 3), np.float32)},
        action=rng.uniform(-1, 1, (20, 2)).astype(np.float32),
        reward=np.zeros(20, np.float32),
        terminated=zeros,
        truncated=zeros,
        ends=np.array([20]),
        spec=Spec({"observation": Feature((3,))}, Feature((2,)), (-1.0,) * 2, (1.0,) * 2, rate_hz=20.0),
    )
    config = PolicyConfig(process=PROCESSES.config_class("meanflow")(steps=2))
    policy = GenerativePolicy.build(config, NETWORKS.config_class("mlp")(width=16, depth=1), episodes)
    return policy.save(tmp_path_factory.mktemp("policies") / "small")


def test_bench(policy_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "bench"
    words = ["bench", f"policy.path={policy_folder}", "runtimes=[eager]", "steps=[null,1]", "batch=[1,3]"]
    assert main([*words, "calls=20", "rate_hz=0.001", f"out={out}"]) == 0
    printed = capsys.readouterr().out
    table = [line for line in printed.splitlines() if line.startswith("| eager")]
    assert len(table) == 5 + 4, "four cases and one decision; what the four cost to build"
    assert "holds 0.001 Hz" in printed
    assert f"report in {out / 'report.html'}" in printed
    assert {path.name for path in out.iterdir()} == {"bench.json", "latency.png", "report.md", "report.html"}
    stored = json.loads((out / "bench.json").read_text())
    assert stored["policy"] == str(policy_folder)
    assert [row["network_calls"] for row in stored["rows"]] == [2, 2, 2, 1, 1]
    assert all(row["holds_rate"] for row in stored["rows"])
    assert (stored["spec_rate_hz"], stored["calls"]) == (20.0, 20)


def test_single_values_need_no_list(policy_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["bench", f"policy.path={policy_folder}", "runtimes=eager", "steps=3", "batch=2", "calls=5"]
    assert main(words) == 0
    printed = capsys.readouterr().out
    assert "| eager | 3 | 2 |" in re.sub(" +", " ", printed)
    assert "holds 20 Hz" in printed, "the rate of the Spec"
    assert "report in" not in printed


def test_onnx_beside_eager(policy_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    words = ["bench", f"policy.path={policy_folder}", "runtimes=[onnx,eager]", "calls=20", f"out={tmp_path}"]
    assert main(words) == 0
    rows = json.loads((tmp_path / "bench.json").read_text())["rows"]
    assert [row["runtime"] for row in rows] == ["onnx", "onnx", "eager", "eager"]
    assert all(row["agrees"] and row["max_difference"] < 1e-5 for row in rows)
    assert rows[0]["build_seconds"] > 0
    assert rows[0]["against_eager"] is not None
    assert rows[0]["weight_bytes"] == rows[2]["weight_bytes"]


@pytest.mark.slow
def test_all_runtimes_that_suit_the_device(policy_folder: Path, tmp_path: Path) -> None:
    assert main(["bench", f"policy.path={policy_folder}", "calls=20", f"out={tmp_path}"]) == 0
    stored = json.loads((tmp_path / "bench.json").read_text())
    measured = [row["runtime"] for row in stored["rows"] if row["what"] == "sample"]
    assert measured[0] == "eager"
    assert not set(measured) & set(stored["left_out"])
    assert all(row["agrees"] for row in stored["rows"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("", "laminar bench needs policy.path=FOLDER"),
        ("policy.path=NOWHERE", "no policy in"),
        ("polcy.path=POLICY", "did you mean 'policy.path'?"),
        ("policy.path=POLICY runtime=eager", "unknown setting 'runtime' for laminar bench; did you mean 'runtimes'?"),
        ("policy.path=POLICY runtimes=onx", "no runtime is called 'onx'"),
        ("policy.path=POLICY runtimes=[eager,onx]", "did you mean 'onnx'?"),
        ("policy.path=POLICY runtimes=cuda_graph", "runtime cuda_graph cannot run here: "),
        ("policy.path=POLICY batch=0", "batch must be a whole number of at least 1, got 0"),
        ("policy.path=POLICY calls=0", "calls must be at least 1, got 0"),
        ("policy.path=POLICY calls=many", "calls is many, which is no number"),
        ("policy.path=POLICY steps=[1,0]", "steps must be a whole number of at least 1, got 0"),
        ("policy.path=POLICY steps=fast", "the policy has no schedule 'fast'"),
        ("policy.path=POLICY candidates=50", "candidates=50 need a critic to choose"),
        ("policy.path=POLICY rate_hz=0", "rate_hz must be above 0"),
        ("policy.path=POLICY device=tpu", "device=tpu is no device"),
        ("policy.path=POLICY device=meta", "device=meta is not supported"),
        ("policy.path=POLICY out=FILE", "is a file; laminar bench writes a folder"),
    ],
)
def test_mistakes(
    words: str, message: str, policy_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = {"POLICY": policy_folder, "NOWHERE": tmp_path / "nowhere", "FILE": policy_folder / "config.json"}
    for name, place in places.items():
        words = words.replace(name, str(place))
    assert main(["bench", *words.split()]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("laminar: ")
    assert printed.err.count("\n") == 1
    assert message in printed.err
    assert not list(tmp_path.iterdir()), "nothing is created on error"


def test_the_defaults() -> None:
    config = compose("bench", [])
    assert (config.runtimes, config.steps, config.batch, config.calls, config.threads) == (None, None, 1, 2000, 1)
