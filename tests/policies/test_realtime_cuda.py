"""Captured samplers on a GPU; the same mathematics is tested on the CPU in test_realtime.py."""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
import torch

from laminar.errors import LaminarError
from laminar.policies import NETWORKS, PROCESSES, GenerativePolicy
from laminar.policies.guided import Acting, Guided, new_critic
from laminar.policies.module import PolicyModule
from laminar.policies.networks.critics import CriticConfig
from laminar.policies.prefix import prefix_for
from laminar.policies.runtimes.accelerate import accelerate
from laminar.policies.runtimes.agreement import TOLERANCE
from laminar.policies.runtimes.fastest import disagreement
from laminar.policies.runtimes.program import SamplingProgram

pytestmark = pytest.mark.gpu
PAIRS = [(process, network) for process in PROCESSES.names() for network in NETWORKS.names()]
CAPTURED = ["cuda_graph", "compiled_cuda_graph"]
Make = Callable[..., GenerativePolicy]
Module = TypeVar("Module", bound=PolicyModule)


@pytest.fixture(autouse=True)
def exact_products() -> None:
    """TF32 would round captured and eager products alike, but not fused and plain ones."""
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False


def randomized(policy: Module) -> Module:
    with torch.no_grad():
        for weight in policy.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    return policy.eval()


def build(make_policy: Make, process: str = "flow", network: str = "mlp", **settings: object) -> GenerativePolicy:
    torch.manual_seed(0)
    return randomized(make_policy(process, network, history=2, chunk=4, **settings).to("cuda"))


def windows(count: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, 2, 3, generator=torch.Generator().manual_seed(seed)) * 3 + 5


@pytest.mark.parametrize("runtime", CAPTURED)
@pytest.mark.parametrize(("process", "network"), PAIRS)
def test_every_pair_agrees(make_policy: Make, process: str, network: str, runtime: str) -> None:
    policy = build(make_policy, process, network)
    fast = accelerate(policy, runtime, batch=(1, 3))
    assert max(disagreement(fast, seed) for seed in range(5)) <= TOLERANCE
    randomized(policy)  # in place: the next replay sees it
    assert disagreement(fast, 7) <= TOLERANCE


@pytest.mark.parametrize("runtime", CAPTURED)
@pytest.mark.parametrize("process", ["flow", "meanflow"])
def test_a_prefix_is_read_by_every_replay(make_policy: Make, process: str, runtime: str) -> None:
    policy = build(make_policy, process, prefix=2)
    fast = accelerate(policy, runtime)
    assert disagreement(fast) <= TOLERANCE
    planned = torch.rand(1, 2, 2)
    for length in (2, 0, 1):
        chunk = fast(windows(1), prefix=prefix_for(policy, planned, length)).cpu()
        assert torch.equal(chunk[:, :length], planned[:, :length])


@pytest.mark.parametrize("runtime", CAPTURED)
def test_ten_thousand_replays_later(make_policy: Make, runtime: str) -> None:
    policy = build(make_policy)
    fast = accelerate(policy, runtime)
    for seed in range(10_000):
        fast(windows(1, seed % 7))
    assert disagreement(fast) <= TOLERANCE


def test_no_allocation_and_no_sync_in_a_replay(make_policy: Make) -> None:
    policy = build(make_policy)
    fast = accelerate(policy, "cuda_graph")
    run = fast.loop(1).call
    run()
    torch.cuda.synchronize()
    gc.collect()
    before = torch.cuda.memory_stats()["allocation.all.allocated"]
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(1000):
            run()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert torch.cuda.memory_stats()["allocation.all.allocated"] == before


def test_device_observations_need_no_sync(make_policy: Make) -> None:
    fast = accelerate(build(make_policy), "cuda_graph")
    obs, noise = windows(1).cuda(), torch.randn(1, 4, 2, device="cuda")
    fast(obs, noise)
    torch.cuda.set_sync_debug_mode("error")
    try:
        chunk = fast(obs, noise)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert chunk.device.type == "cuda"


def test_host_observations_in_a_row(make_policy: Make) -> None:
    """The pinned buffer of one call is not overwritten while it is still being copied."""
    policy = build(make_policy)
    fast, noise = accelerate(policy, "cuda_graph"), torch.randn(1, 4, 2, device="cuda")
    chunks = [fast(windows(1, seed).numpy(), noise) for seed in range(50)]
    for seed, chunk in enumerate(chunks):
        wanted = policy.sample(windows(1, seed).cuda(), noise).detach()
        torch.testing.assert_close(chunk, wanted, rtol=1e-4, atol=1e-4)
    assert isinstance(fast.infer(windows(1).numpy()), np.ndarray)


def test_same_generator_draws_the_same(make_policy: Make) -> None:
    policy = build(make_policy, "diffusion", settings={"solver": "ddpm", "steps": 4})
    fast = accelerate(policy, "cuda_graph", batch=(1, 5))
    for count in (1, 3, 5):
        wanted = policy.sample(windows(count).cuda(), generator=torch.Generator("cuda").manual_seed(7)).detach()
        got = fast(windows(count), generator=torch.Generator("cuda").manual_seed(7))
        torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-4)


def test_two_captured_policies(make_policy: Make) -> None:
    pair = [build(make_policy, "flow"), randomized(build(make_policy, "meanflow"))]
    fast = [accelerate(policy, "cuda_graph") for policy in pair]
    for seed in range(20):
        assert disagreement(fast[seed % 2], seed) <= TOLERANCE


def test_guided(make_policy: Make) -> None:
    policy = build(make_policy)
    critic = new_critic(policy, CriticConfig(width=16, depth=1)).to("cuda")
    fast = accelerate(randomized(Guided(policy, critic, Acting(8))), "cuda_graph")
    assert max(disagreement(fast, seed) for seed in range(5)) <= TOLERANCE


def test_what_cannot_be_captured_says_so(make_policy: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = build(make_policy)
    body = policy.network.body
    monkeypatch.setattr(policy.network, "body", lambda x, condition: body(x, condition) * x.sum().item())
    with pytest.raises(LaminarError, match="cannot be captured in a CUDA graph"):
        accelerate(policy, "cuda_graph")
    torch.cuda.synchronize()  # and the device is still well
    monkeypatch.undo()
    fast = accelerate(policy, "cuda_graph")
    assert disagreement(fast) <= TOLERANCE
    assert fast(windows(1)).isfinite().all()  # PyTorch's own generator, too
    assert torch.cuda.current_stream() == torch.cuda.default_stream()


def test_pt2_on_the_device(make_policy: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    policy = build(make_policy)
    fast = accelerate(policy, "pt2")
    assert disagreement(fast) <= TOLERANCE
    randomized(policy)
    fast.refresh()
    assert disagreement(fast, 1) <= TOLERANCE


def test_program_is_one_launch(make_policy: Make) -> None:
    """PyTorch's operators of one chunk: a replay has none, and the program has one after the other."""
    policy = build(make_policy)
    fast, program = accelerate(policy, "cuda_graph"), SamplingProgram(policy)
    inputs = program.example(1)

    def operators(run: Callable[[], object]) -> int:
        run()
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
            run()
        return sum(event.count for event in profile.key_averages() if event.key.startswith("aten::"))

    assert operators(fast.loop(1).call) == 0
    with torch.no_grad():
        assert operators(lambda: program(*inputs)) > 20
