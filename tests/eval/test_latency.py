"""Latency: what is counted, what is timed and in which order, and what the figures say."""

from __future__ import annotations

import gc
import json
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from laminar.data.episodes import Episodes
from laminar.data.spec import Feature, Spec
from laminar.errors import LaminarError
from laminar.eval.latency import measure as latency
from laminar.eval.latency.measure import Candidate, Case, Latencies, Timing, measure_latency, time_calls
from laminar.eval.latency.report import duration, figures, summary, write_latency_report
from laminar.eval.latency.roofline import Probe, Work, work_of
from laminar.policies import NETWORKS, PROCESSES, GenerativePolicy, PolicyConfig
from laminar.policies.guided import Acting
from laminar.policies.processes.solver_schedules import SolverSchedule, SolverStep
from laminar.policies.runtimes import RUNTIMES
from laminar.policies.runtimes.agreement import DRAWS
from laminar.policies.runtimes.program import SamplingProgram

OWN_NETWORKS = {
    "mlp": {"width": 32, "depth": 2},
    "unet1d": {"widths": [16, 32], "groups": 4, "time_width": 16},
    "transformer": {"width": 32, "depth": 2, "heads": 2, "time_width": 16},
}
FLOAT = 4  # bytes


def make_policy(
    process: str = "meanflow",
    network: str = "mlp",
    rate_hz: float | None = None,
    limit: float | None = 1.0,
    **settings: int,
) -> GenerativePolicy:
    """Build an untrained policy for a 3-d state and 2-d actions."""
    low, high = ((-limit,) * 2, (limit,) * 2) if limit else (None, None)
    rng = np.random.default_rng(0)
    zeros = np.zeros(40, bool)
    episodes = Episodes(
        observation={"observation": rng.normal(5.0, 3.0, (40, 3)).astype(np.float32)},
        final_observation={"observation": np.zeros((1, 3), np.float32)},
        action=rng.uniform(-1, 1, (40, 2)).astype(np.float32),
        reward=np.zeros(40, np.float32),
        terminated=zeros,
        truncated=zeros,
        ends=np.array([40]),
        spec=Spec({"observation": Feature((3,))}, Feature((2,)), low, high, rate_hz=rate_hz),
    )
    torch.manual_seed(0)
    config = PolicyConfig(process=PROCESSES.config_class(process)(), **settings)
    return GenerativePolicy.build(config, NETWORKS.config_class(network)(**OWN_NETWORKS[network]), episodes).eval()


class Other:
    """Stands in for an accelerated policy: notes its calls, and adds an error to what the policy says."""

    def __init__(self, name: str, policy: GenerativePolicy, log: list[str], error: float = 0.0) -> None:
        self.name, self.policy, self.log, self.error = name, policy, log, error
        self.build_seconds = 2.5
        self.chunks: list[torch.Tensor] = []

    def sample(self, observation, noise=None, generator=None):
        self.log.append(self.name)
        self.chunks.append(self.policy.sample(observation, noise, generator) + self.error)
        return self.chunks[-1]

    def act(self, observation):
        return self.policy.act(observation)

    def reset(self) -> None:
        self.policy.reset()


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Replace the runtimes by "eager", "other" and "wrong", and one that cannot be used; return who was called when."""
    calls: list[str] = []
    made: list[Other] = []

    def accelerate(policy, runtime, batch, steps):
        made.append(Other(runtime, policy, calls, error=0.5 if runtime == "wrong" else 0.0))
        return made[-1]

    reason = {"broken": "it is out of order"}
    monkeypatch.setattr(RUNTIMES, "names", lambda: ["broken", "eager", "other", "wrong"])
    monkeypatch.setattr(latency, "suitable", lambda _: ("broken", "eager", "other", "wrong"))
    monkeypatch.setattr(latency, "unavailable", lambda name, _: reason.get(name))
    monkeypatch.setattr(latency, "accelerate", accelerate)
    return calls


# work


def per_call(width: int = 32) -> tuple[int, int]:
    """Bytes and FLOPs of one call of the MLP's body: 2 numbers of the chunk, two hidden layers, 2 outputs."""
    table = width  # what the time adds to the first layer, computed beforehand
    weights = 2 * width + (width * width + width) + (width * 2 + 2)
    return (table + weights) * FLOAT, 2 * (2 * width + width * width + 2 * width)


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_work_of_an_mlp_is_counted_by_hand(steps: int) -> None:
    policy = make_policy()
    program = SamplingProgram(policy, steps)
    work = work_of(program, program.example(1))
    once = work_of(SamplingProgram(policy, 1), program.example(1))
    weight_bytes, flops = per_call()
    observed = 2 * 3 * 32  # the projection of the observation, once a chunk
    assert work.flops == steps * flops + observed
    assert work.weight_bytes - once.weight_bytes == pytest.approx((steps - 1) * weight_bytes, abs=16 * steps)
    assert work.distinct_bytes <= work.weight_bytes
    assert work.distinct_bytes < sum(weight.numel() for weight in policy.parameters()) * FLOAT + 2_000


def test_work_grows_with_the_batch_and_reading_does_not() -> None:
    program = SamplingProgram(make_policy(), 3)
    one, many = (work_of(program, program.example(batch)) for batch in (1, 16))
    assert many.flops == 16 * one.flops
    assert many.weight_bytes == one.weight_bytes


@pytest.mark.parametrize("network", OWN_NETWORKS)
def test_flops_are_those_of_pytorchs_counter(network: str) -> None:
    program = SamplingProgram(make_policy("flow", network, chunk=4), 3)
    inputs = program.example(2)
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        program(*inputs)
    # with the times as inputs, nothing can be computed beforehand
    everything = work_of(lambda *given: program(*given[:-1]), [*inputs, program.times])
    assert everything.flops == counter.get_total_flops() > 0
    assert work_of(program, inputs).flops < everything.flops


def test_the_floor_is_the_longer_of_reading_and_computing() -> None:
    work = Work(weight_bytes=2_000, distinct_bytes=1_000, flops=10_000)
    assert work.seconds(bandwidth=1e9, rate=1e9) == pytest.approx(10e-6)
    assert work.seconds(bandwidth=1e8, rate=1e9) == pytest.approx(20e-6)


# timing


def test_what_prepares_a_call_is_not_timed() -> None:
    order: list[str] = []
    found = time_calls(lambda: order.append("call"), 3, lambda: (order.append("prepare"), time.sleep(0.02)))
    assert order == ["prepare", "call"] * 3
    assert found.shape == (3, 3)
    assert float(np.median(found[:, 0])) < 20_000
    slept = time_calls(lambda: time.sleep(0.02), 2)
    assert (slept[:, 0] >= 20_000).all(), "wall time"
    assert (slept[:, 1] < 20_000).all(), "CPU time: sleeping costs none"


def test_candidates_take_turns_in_rotated_order(log: list[str]) -> None:
    found = measure_latency(make_policy(), ["eager", "other", "wrong"], calls=40)
    assert [len(timing.wall) for _, timing in found.rows] == [40] * 6
    before = 1 + DRAWS  # the first call, and the comparison with eager
    assert log[: 2 * before] == ["other"] * before + ["wrong"] * before
    # eager and whole decisions leave no mark; of the six candidates, "other" is the third and "wrong" the fifth
    rounds = [log[start : start + 12] for start in range(2 * before, len(log), 12)]
    assert [turn[0] for turn in rounds] == ["other"] * 3 + ["wrong"] * 2 + ["other"] * 5
    for turn in rounds:
        assert turn == [turn[0]] * 6 + [turn[-1]] * 6, "four timed calls after two that are not"
        assert turn[0] != turn[-1]


def test_every_call_has_its_own_noise(log: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Other] = []

    def accelerate(policy, runtime, batch, steps):
        made.append(Other(runtime, policy, []))
        return made[-1]

    monkeypatch.setattr(latency, "accelerate", accelerate)
    measure_latency(make_policy(limit=None), ["other"], calls=20)
    chunks = torch.cat(made[0].chunks).flatten(1)
    assert len(chunks) > 20
    assert len(torch.unique(chunks, dim=0)) == len(chunks)


def test_measuring_leaves_no_trace() -> None:
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    measure_latency(make_policy(), ["eager"], calls=1, threads=threads + 1)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads
    assert gc.get_freeze_count() == 0


def test_a_decision_is_timed_when_it_plans() -> None:
    policy = make_policy(chunk=4, execute=4)
    planned: list[int] = []
    sample = policy.sample
    policy.sample = lambda *args, **more: (planned.append(1), sample(*args, **more))[1]  # type: ignore[method-assign]
    found = measure_latency(policy, ["eager"], calls=20)
    assert [candidate.case.what for candidate, _ in found.rows] == ["sample", "act"]
    turns = 2 * (20 + 2 * 10)  # timed and untimed, samples and decisions
    assert len(planned) == turns + 1, "every decision planned; one more to build"


# figures


def measured(medians: dict[str, list[float]], rate_hz: float | None = None, **about: bool) -> Latencies:
    """Return made-up times: for each runtime one call a round, as long on the CPU as on the wall."""
    rows: list[tuple[Candidate, Timing]] = []
    for name, values in medians.items():
        agrees = about.get(name, True)
        costs = (1.5, 0.002, 0.0, agrees, 1, Work(1_000, 1_000, 100))
        parts = [np.array([[value, value, 0.0], [3 * value, value, 1.0]]) for value in values]
        rows.append((Candidate(Case(name, None, 1), lambda: None, None, *costs), Timing(parts)))
    kernel = [np.array([[2.0, 2.0, 0.0], [1.0, 1.0, 0.0]])]
    kernels = [(Probe(f"{unit} kernel", lambda: None, 1e3, unit), Timing(kernel)) for unit in ("bytes", "flops")]
    where = latency.machine() | {"load_average": [0.5, 0.6]}
    where["threads"] = 1
    return Latencies(make_policy(), rows, kernels, {"pt2": "no compiler"}, where, 2 * len(values), rate_hz)


def test_ratios_are_taken_within_a_round() -> None:
    # The machine is 10 times slower in the second round; the ratio of 4 survives, that of medians would not.
    rows = figures(measured({"eager": [4.0, 40.0, 4.0], "onnx": [1.0, 10.0, 1.0]}))["rows"]
    assert rows[0]["against_eager"]["cpu"] == pytest.approx([1.0, 1.0, 1.0])
    assert rows[1]["against_eager"] == {"wall": pytest.approx([4.0] * 3), "cpu": pytest.approx([4.0] * 3)}
    assert figures(measured({"onnx": [1.0]}))["rows"][0]["against_eager"] is None


def test_the_figures_of_a_row() -> None:
    row = figures(measured({"eager": [100.0, 100.0, 200.0]}, rate_hz=5_000.0))["rows"][0]
    assert row["wall_us"] == {"p50": 250.0, "p90": 450.0, "p99": 585.0, "max": 600.0, "min": 100.0} | {
        name: row["wall_us"][name] for name in ("mean", "std")
    }
    assert row["cpu_us"]["max"] == 200.0
    assert (row["undisturbed_share"], row["undisturbed_us"]["max"]) == (0.5, 200.0)
    assert row["jitter"] == pytest.approx(585 / 250)
    assert row["rate_hz"] == pytest.approx(1e6 / 585)
    assert row["holds_rate"] is False
    assert row["late_share"] == pytest.approx(3 / 6), "200 µs are just in time"
    assert row["floor_us"] == pytest.approx(1.0), "1000 bytes at the fastest call of the kernel"
    assert row["times_floor"] == pytest.approx(100.0), "by CPU time: waiting for others is not the policy's"


def test_the_tables_say_what_is_wrong() -> None:
    text = summary(figures(measured({"eager": [4.0], "onnx": [1.0]}, rate_hz=100.0, onnx=False)))
    assert "DIFFERS from eager by more than rounding: onnx (steps 1, batch 1)" in text
    assert "left out: pt2: no compiler" in text
    assert "2 calls are few for a p99" in text
    assert "interrupted up to 50 %" in text
    assert "holds 100 Hz" in text
    fine = summary(figures(measured({"eager": [4.0], "onnx": [1.0]})))
    assert "DIFFERS" not in fine
    assert "holds" not in fine


def test_a_wrong_runtime_is_found_out(log: list[str]) -> None:
    found = measure_latency(make_policy(), calls=5)
    assert found.left_out == {"broken": "it is out of order"}
    agrees = {candidate.case.runtime: candidate.agrees for candidate, _ in found.rows}
    assert agrees == {"eager": True, "other": True, "wrong": False}
    differences = {candidate.case.runtime: candidate.difference for candidate, _ in found.rows}
    assert differences == {
        "eager": 0.0,
        "other": 0.0,
        "wrong": pytest.approx(0.5 / min(make_policy().action_scale.tolist())),
    }
    assert [candidate.build_seconds for candidate, _ in found.rows] == [0.0, 0.0, 2.5, 2.5, 2.5, 2.5]


def test_the_report(tmp_path: Path) -> None:
    policy = make_policy("flow", rate_hz=50.0)
    policy.schedules["quick"] = SolverSchedule(
        (SolverStep(1.0, prediction="velocity"), SolverStep(0.5, prediction="velocity"))
    )
    found = measure_latency(policy, ["eager"], [None, "quick"], [1, 2], calls=20)
    page = write_latency_report(tmp_path / "bench", found, "runs/door")
    assert page.with_suffix(".md").read_text().startswith("# Latency of runs/door\n")
    assert (tmp_path / "bench" / "latency.png").stat().st_size > 10_000
    stored = json.loads((tmp_path / "bench" / "bench.json").read_text())
    shape = [(row["runtime"], row["steps"], row["batch"], row["what"]) for row in stored["rows"]]
    assert shape == [
        ("eager", None, 1, "sample"),
        ("eager", None, 1, "act"),
        ("eager", None, 2, "sample"),
        ("eager", "quick", 1, "sample"),
        ("eager", "quick", 2, "sample"),
    ]
    assert [row["network_calls"] for row in stored["rows"]] == [10, 10, 10, 2, 2]
    assert (stored["spec_rate_hz"], stored["rate_hz"]) == (50.0, 50.0)
    assert stored["machine"].keys() >= {"cpu", "cores", "threads", "torch", "load_average"}
    assert stored["checkpoint"] == policy.checkpoint_hash()
    for row in stored["rows"]:
        wall = row["wall_us"]
        assert 0 < wall["min"] <= wall["p50"] <= wall["p90"] <= wall["p99"] <= wall["max"]
        assert len(row["round_medians_us"]) == stored["rounds"] == 10


def test_durations() -> None:
    assert [duration(value) for value in (45.0, 1_200.0, 3e6)] == ["45 µs", "1.2 ms", "3 s"]


# mistakes


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"runtimes": ["eagre"]}, "no runtime is called 'eagre'.*did you mean 'eager'"),
        ({"runtimes": ["broken"]}, "runtime broken cannot run here: it is out of order"),
        ({"runtimes": []}, "leaves nothing to measure"),
        ({"steps": [0]}, "steps must be a whole number of at least 1, got 0"),
        ({"steps": ["quick"]}, "no schedule 'quick' .known: none"),
        ({"batches": [1, 0]}, "batch must be a whole number of at least 1, got 0"),
        ({"batches": [1.5]}, "batch must be a whole number of at least 1, got 1.5"),
        ({"batches": []}, r"batch=\[\] leaves nothing to measure"),
        ({"calls": 0}, "calls must be a whole number"),
        ({"acting": Acting(5)}, "candidates=5 need a critic"),
        ({"threads": 0}, "threads must be a whole number"),
        ({"rate_hz": 0.0}, "rate_hz must be above 0"),
        ({"rate_hz": float("nan")}, "rate_hz must be above 0"),
    ],
)
def test_mistakes(settings: dict, message: str, log: list[str]) -> None:
    with pytest.raises(LaminarError, match=message):
        measure_latency(make_policy(), **settings)
    assert not log, "nothing was measured"


@pytest.mark.gpu
def test_a_gpu() -> None:
    found = measure_latency(make_policy().cuda(), ["eager", "cuda_graph"], calls=50)
    rows = figures(found)["rows"]
    assert [row["runtime"] for row in rows] == ["eager", "eager", "cuda_graph", "cuda_graph"]
    assert all(row["agrees"] and row["times_floor"] > 1 for row in rows)
