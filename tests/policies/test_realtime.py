"""Accelerated samplers give the numbers of `policy.sample`: every process x network, every runtime that is here."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
import torch
from torch import Tensor

from laminar.errors import LaminarError
from laminar.policies import NETWORKS, PROCESSES, GenerativePolicy, Policy
from laminar.policies.guided import Acting, Guided, guide, new_critic
from laminar.policies.module import PolicyModule
from laminar.policies.networks.critics import CriticConfig
from laminar.policies.processes.direct import Direct
from laminar.policies.runtimes import RUNTIMES, Inputs, fastest, pt2
from laminar.policies.runtimes import onnx as onnx_runtime
from laminar.policies.runtimes.accelerate import accelerate
from laminar.policies.runtimes.accelerated import CAPACITY, Accelerated, unavailable
from laminar.policies.runtimes.agreement import TOLERANCE, Agreement, Draw
from laminar.policies.runtimes.eager import BoundFunction
from laminar.policies.runtimes.fastest import disagreement
from laminar.policies.runtimes.program import SamplingProgram

HISTORY, CHUNK = 2, 4
NETWORKS, PROCESSES = NETWORKS.names(), PROCESSES.names()
PAIRS = [(process, network) for process in PROCESSES for network in NETWORKS]
QUICK = [("flow", network) for network in NETWORKS] + [(process, "mlp") for process in PROCESSES if process != "flow"]
BUILT = ["onnx", "pt2", "compile"]
needs_onnx = pytest.mark.skipif(
    onnx_runtime.missing(torch.device("cpu")) is not None, reason="laminar[export] is not installed"
)
Make = Callable[..., GenerativePolicy]
Module = TypeVar("Module", bound=PolicyModule)


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Packages of these tests stay out of the user's cache, and the user's out of these tests."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))


def randomized(policy: Module) -> Module:
    """Every weight random: as they are built, transformers ignore their condition, and critics are near zero."""
    with torch.no_grad():
        for weight in policy.parameters():
            weight.add_(0.1 * torch.randn(weight.shape))
    return policy.eval()


def build(make_policy: Make, process: str, network: str, **settings: object) -> GenerativePolicy:
    torch.manual_seed(0)
    return randomized(make_policy(process, network, history=HISTORY, chunk=CHUNK, execute=2, **settings))


def windows(count: int, seed: int = 0) -> Tensor:
    return torch.randn(count, HISTORY, 3, generator=torch.Generator().manual_seed(seed)) * 3 + 5


def noise_of(policy: PolicyModule, count: int, seed: int = 1) -> Tensor:
    return torch.randn(count, *policy.noise_shape, generator=torch.Generator().manual_seed(seed))


def normalized_gap(fast: Accelerated, policy: PolicyModule, seed: int, count: int = 1) -> float:
    obs, noise = windows(count, seed), noise_of(policy, count, seed + 1)
    with torch.no_grad():
        return float(((fast.sample(obs, noise) - policy.sample(obs, noise)) / policy.action_scale).abs().max())


@pytest.mark.parametrize(("process", "network"), PAIRS)
def test_conditions_and_body_are_forward(make_policy: Make, process: str, network: str) -> None:
    policy = build(make_policy, process, network)
    program = SamplingProgram(policy)
    inputs = program.example(3, torch.Generator().manual_seed(2))
    assert len(program.times) >= 1
    with torch.no_grad():
        torch.testing.assert_close(program(*inputs), program.reference(*inputs), rtol=1e-5, atol=1e-5)
        cond = policy.encode({"observation": windows(3)})
        x, times = noise_of(policy, 3), torch.rand(5, policy.process.n_times)
        for row, condition in zip(times, policy.network.conditions(times, cond), strict=True):
            wanted = policy.network(x, row.expand(3, -1), cond)
            torch.testing.assert_close(policy.network.body(x, condition), wanted, rtol=1e-5, atol=1e-5)


@needs_onnx
@pytest.mark.parametrize(
    ("process", "network"),
    [pytest.param(*pair, marks=[pytest.mark.slow] if pair == ("flow", "unet1d") else []) for pair in QUICK],
)
def test_onnx_agrees(make_policy: Make, process: str, network: str) -> None:
    policy = build(make_policy, process, network)
    fast = accelerate(policy, "onnx", batch=3)
    assert max(normalized_gap(fast, policy, seed, count=3) for seed in range(5)) <= TOLERANCE


@pytest.mark.skipif(pt2.missing(torch.device("cpu")) is not None, reason="no C++ compiler")
def test_pt2_agrees_also_after_weights_changed(
    make_policy: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    policy = build(make_policy, "meanflow", "mlp")
    fast = accelerate(policy, "pt2", batch=2)
    assert normalized_gap(fast, policy, 0) <= TOLERANCE
    before = fast(windows(1), noise_of(policy, 1))
    randomized(policy)
    assert normalized_gap(fast, policy, 1) <= TOLERANCE
    assert (fast(windows(1), noise_of(policy, 1)) - before).abs().max() > 1e-3
    packages = list(tmp_path.glob("laminar/pt2/*.pt2"))
    assert len(packages) == 1
    other = build(make_policy, "meanflow", "mlp")  # same code, other weights: the package serves both
    assert normalized_gap(accelerate(other, "pt2", batch=2), other, 2) <= TOLERANCE
    assert list(tmp_path.glob("laminar/pt2/*.pt2")) == packages
    assert normalized_gap(fast, policy, 3) <= TOLERANCE

    def compile_package(*_: object) -> None:
        raise LaminarError("it is built anew")

    packages[0].write_bytes(b"the disk was full")
    monkeypatch.setattr(pt2, "compile_package", compile_package)
    with pytest.raises(LaminarError, match="it is built anew"):
        accelerate(other, "pt2", batch=2)


def test_packages_are_told_apart(make_policy: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    def key(policy: GenerativePolicy, steps: int | None = None, batch: int = 1) -> str:
        program = SamplingProgram(policy, steps)
        return pt2._key(program, program.example(batch))

    policy = build(make_policy, "flow", "mlp")
    assert key(policy) == key(randomized(build(make_policy, "flow", "mlp")))  # other weights
    others = [
        key(policy, 3),
        key(policy, batch=2),
        key(guide(policy, Acting(noise_scale=0.5))),
        key(guide(policy, Acting(noise_scale=0.25))),
        key(build(make_policy, "flow", "mlp", observation_normalizer="minmax")),
        key(build(make_policy, "flow", "mlp", settings={"steps": 7})),
    ]
    monkeypatch.setattr(torch, "get_num_threads", lambda: 7)
    others.append(key(policy))
    monkeypatch.setattr(pt2, "_source", lambda: "a network that was changed")
    others.append(key(policy))
    monkeypatch.setattr(pt2, "machine", lambda: "abacus")
    others.append(key(policy))
    monkeypatch.undo()
    assert len({key(policy), *others}) == 1 + len(others)


def test_a_cache_that_cannot_be_written(make_policy: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr(pt2, "missing", lambda device: None)
    with pytest.raises(LaminarError, match=r"cannot keep its package in .*set XDG_CACHE_HOME"):
        accelerate(build(make_policy, "flow", "mlp"), "pt2")


@pytest.mark.parametrize("good", [(True, True), (False, True), (False, False)], ids=str)
def test_a_package_that_says_something_else_is_compiled_without_folding(
    make_policy: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, good: tuple[bool, bool]
) -> None:
    """What the compiler folds of small matrices was memory of others: any actions, without a word."""
    program, tried = SamplingProgram(build(make_policy, "flow", "mlp")), list[bool]()

    def compile_(_: SamplingProgram, inputs: Inputs, path: Path, folded: bool) -> None:
        tried.append(folded)
        path.write_text(str(folded))

    def compared(*_: object) -> Agreement:
        return Agreement((Draw(0.0 if good[len(tried) - 1] else float("inf"), 0.0),))

    monkeypatch.setattr(pt2, "_compile", compile_)
    monkeypatch.setattr(pt2, "agreement", compared)
    path = tmp_path / "package.pt2"
    if any(good):
        pt2.compile_package(program, program.example(1), path)
        assert path.read_text() == str(good[0])
    else:
        with pytest.raises(LaminarError, match=r"compiled the sampler to something else .*use runtime=onnx"):
            pt2.compile_package(program, program.example(1), path)
    assert tried == [True, False][: 1 if good[0] else 2]
    assert [*tmp_path.iterdir()] == ([path] if any(good) else [])


@pytest.mark.slow
@pytest.mark.timeout(400)  # a U-Net takes a minute to compile on an idle core
@pytest.mark.parametrize("runtime", BUILT)
@pytest.mark.parametrize(("process", "network"), PAIRS)
def test_every_pair_agrees(make_policy: Make, process: str, network: str, runtime: str) -> None:
    policy = build(make_policy, process, network)
    if unavailable(runtime, policy):
        pytest.skip(f"{runtime}: {unavailable(runtime, policy)}")
    fast = accelerate(policy, runtime, batch=2)
    assert max(normalized_gap(fast, policy, seed, 2) for seed in range(10)) <= TOLERANCE
    randomized(policy)
    assert normalized_gap(fast, policy, 11, 2) <= TOLERANCE


@pytest.mark.slow
@pytest.mark.parametrize("runtime", BUILT)
def test_ten_thousand_calls_later(make_policy: Make, runtime: str) -> None:
    policy = build(make_policy, "flow", "mlp")
    if unavailable(runtime, policy):
        pytest.skip(f"{runtime}: {unavailable(runtime, policy)}")
    fast = accelerate(policy, runtime)
    for seed in range(10_000):
        fast(windows(1), generator=torch.Generator().manual_seed(seed))
    assert normalized_gap(fast, policy, 5) <= TOLERANCE


def test_same_generator_draws_the_same(make_policy: Make) -> None:
    settings = {"solver": "ddpm", "steps": 4}
    policy = build(make_policy, "diffusion", "mlp", settings=settings)
    fast = accelerate(policy, "eager", batch=(1, 5))
    for count in (1, 3, 5):
        wanted = policy.sample(windows(count), generator=torch.Generator().manual_seed(7))
        got = fast(windows(count), generator=torch.Generator().manual_seed(7))
        torch.testing.assert_close(got, wanted.detach())


def with_critic(policy: GenerativePolicy, acting: Acting) -> Guided:
    return randomized(Guided(policy, new_critic(policy, CriticConfig(width=16, depth=1)), acting))


@needs_onnx
@pytest.mark.parametrize("selection", ["softmax", "argmax"])
def test_guided_policies(make_policy: Make, selection: str) -> None:
    policy = with_critic(build(make_policy, "meanflow", "mlp"), Acting(8, selection))
    fast = accelerate(policy, "onnx", batch=2)
    assert fast.noise_shape == policy.noise_shape == (8, CHUNK * 2 + 1)
    assert max(normalized_gap(fast, policy, seed, 2) for seed in range(5)) <= TOLERANCE


def test_an_accelerated_policy_is_not_guided_eagerly(make_policy: Make) -> None:
    policy = build(make_policy, "meanflow", "mlp")
    for acting, other in ((Acting(8), Acting(3)), (Acting(8), Acting()), (Acting(), Acting(3))):
        fast = accelerate(with_critic(policy, acting), "eager")
        with pytest.raises(LaminarError, match=r"told to act otherwise.*accelerate\(guide\(policy, acting\)\)"):
            guide(fast, other)
        assert guide(fast, acting) is fast


def test_padded_batches(make_policy: Make) -> None:
    policy = build(make_policy, "flow", "mlp")
    fast = accelerate(policy, "eager", batch=(2, 6))
    for count in (1, 2, 3, 6, 1):
        assert fast(windows(count)).shape == (count, CHUNK, 2)
        assert normalized_gap(fast, policy, count, count) <= TOLERANCE
    with pytest.raises(LaminarError, match=r"7 observations at once.*largest batch prepared is 6.*\[2, 6, 7\]"):
        fast(windows(7))


@needs_onnx
def test_two_policies_do_not_disturb_each_other(make_policy: Make) -> None:
    first, second = build(make_policy, "flow", "mlp"), randomized(build(make_policy, "meanflow", "mlp"))
    fast = [accelerate(policy, "onnx") for policy in (first, second)]
    kept = fast[0](windows(1), noise_of(first, 1))
    copy = kept.clone()
    for seed in range(4):
        assert normalized_gap(fast[seed % 2], (first, second)[seed % 2], seed) <= TOLERANCE
    assert torch.equal(kept, copy)  # a chunk is the caller's own


@needs_onnx
def test_changed_weights_are_seen(make_policy: Make) -> None:
    policy = build(make_policy, "flow", "mlp")
    fast = accelerate(policy, "onnx")
    randomized(policy)
    assert normalized_gap(fast, policy, 0) <= TOLERANCE
    policy.load_state_dict({name: value * 0.9 for name, value in policy.state_dict().items()})
    assert normalized_gap(fast, policy, 0) <= TOLERANCE
    policy.network.get_parameter("layers.0.weight").data.mul_(1.3)  # PyTorch counts no change
    fast.refresh()
    assert normalized_gap(fast, policy, 0) <= TOLERANCE


def test_acts_like_the_policy(make_policy: Make) -> None:
    policy = build(make_policy, "flow", "mlp")
    fast = accelerate(policy, "eager", batch=3)
    for step in range(5):
        obs, noise = windows(3, step)[:, 0], noise_of(policy, 3, step)
        torch.testing.assert_close(fast.act(obs, noise), policy.act(obs, noise))
        if step == 2:
            for each in (fast, policy):
                each.reset(torch.tensor([False, True, False]))


def test_is_the_same_policy(make_policy: Make) -> None:
    policy = build(make_policy, "flow", "mlp")
    fast = accelerate(policy, "eager")
    assert isinstance(fast, Policy)
    assert (fast.spec, fast.noise_shape, fast.device) == (policy.spec, policy.noise_shape, policy.device)
    assert fast.checkpoint_hash() == policy.checkpoint_hash()
    assert fast.source is policy
    assert accelerate(fast, "eager").source is policy


def test_least_recently_used_loop_makes_room(make_policy: Make) -> None:
    policy = build(make_policy, "flow", "mlp")
    fast = accelerate(policy, "eager")
    loops = {steps: fast.loop(1, steps) for steps in (None, *range(1, CAPACITY))}
    assert all(fast.loop(1, steps) is loop for steps, loop in loops.items())  # as many as are kept
    fast.loop(1)
    fast(windows(1), steps=20)
    assert fast.loop(1) is loops[None]
    assert fast.loop(1, 2) is loops[2]
    assert fast.loop(1, 1) is not loops[1]  # it was not used for longest
    torch.testing.assert_close(
        fast(windows(1), noise_of(policy, 1), steps=3), policy.sample(windows(1), noise_of(policy, 1), steps=3).detach()
    )


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "change",
    [
        lambda obs: obs.double(),
        lambda obs: obs.numpy(),
        lambda obs: obs.numpy().astype(np.float16).astype(np.float64),
        lambda obs: obs.tolist(),
        lambda obs: obs.transpose(0, 2).contiguous().transpose(0, 2),
        lambda obs: np.asfortranarray(obs.numpy()),
        lambda obs: obs.repeat_interleave(2, dim=2)[..., ::2],
        lambda obs: obs.numpy()[..., ::-1].copy()[..., ::-1],  # negative strides
        lambda obs: obs.numpy().astype(">f4"),  # another machine's order of bytes
        lambda obs: np.frombuffer(obs.numpy().tobytes(), np.float32).reshape(obs.shape),  # read-only
        lambda obs: obs.clone().requires_grad_(),
        lambda obs: {"observation": obs},
    ],
)
def test_other_types_and_layouts_are_converted(make_policy: Make, change: Callable) -> None:
    policy = build(make_policy, "flow", "mlp")
    fast = accelerate(policy, "eager", batch=2)
    obs = windows(2).half().float()
    wanted = policy.sample(obs, noise_of(policy, 2)).detach()
    torch.testing.assert_close(fast(change(obs), noise_of(policy, 2)), wanted)


def test_integers_are_converted(make_policy: Make) -> None:
    policy = build(make_policy, "flow", "mlp")
    fast, obs = accelerate(policy, "eager"), torch.tensor([[[4, 5, 6], [5, 6, 7]]])
    torch.testing.assert_close(fast(obs, noise_of(policy, 1)), policy.sample(obs.float(), noise_of(policy, 1)).detach())


@pytest.mark.parametrize(
    ("obs", "message"),
    [
        (torch.zeros(1, HISTORY, 4), r"'observation' should end in shape \(3,\), got \(1, 2, 4\)"),
        (torch.zeros(1, HISTORY, 1), r"'observation' should end in shape \(3,\), got \(1, 2, 1\)"),
        (torch.zeros(1, 3, 3), "expected a history of 2"),
        (torch.full((1, HISTORY, 3), torch.nan), r"'observation' is not finite at index \(0, 0, 0\)"),
        (torch.full((1, HISTORY, 3), torch.inf), "not finite"),
        ({"state": torch.zeros(1, HISTORY, 3)}, "missing"),
        ({}, r"the observation is empty; the policy needs \['observation'\]"),
        (None, "'observation' is no array of numbers"),
        ([[[1, 2, 3], [1, 2]]], "'observation' is no array of numbers"),
        (torch.zeros(1, HISTORY, 3, dtype=torch.complex64), "'observation' is complex"),
        (torch.zeros(1, HISTORY, 1, 3), "expected a history of 2"),
        (torch.zeros(1, HISTORY), "needs|history"),
        ({"observation": torch.zeros(1, HISTORY, 3), "camera": torch.zeros(1, HISTORY, 3)}, "camera"),
        (torch.zeros(2, HISTORY, 3), "2 observations at once"),
    ],
)
def test_bad_observations(make_policy: Make, obs: object, message: str) -> None:
    fast = accelerate(build(make_policy, "flow", "mlp"), "eager")
    with pytest.raises(LaminarError, match=message):
        fast(obs)


def test_huge_but_finite_observations(make_policy: Make) -> None:
    fast = accelerate(build(make_policy, "flow", "mlp"), "eager")
    assert fast(torch.full((1, HISTORY, 3), 3e38)).isfinite().all()  # their sum is not


def test_bad_settings(make_policy: Make) -> None:
    policy = build(make_policy, "flow", "mlp")
    with pytest.raises(LaminarError, match=r"no runtime is called 'onyx'.*did you mean 'onnx'"):
        accelerate(policy, "onyx")
    for batch in (0, [], 1.5, "2", [1, True]):
        with pytest.raises(LaminarError, match="batch must be a whole number of at least 1"):
            accelerate(policy, "eager", batch=batch)
    with pytest.raises(LaminarError, match="no schedule 'nfe3'"):
        accelerate(policy, "eager", steps="nfe3")
    with pytest.raises(LaminarError, match=r"steps is a whole number or a solver schedule, got 2.5"):
        accelerate(policy, "eager")(windows(1), steps=2.5)
    with pytest.raises(LaminarError, match="at least 1"):
        accelerate(policy, "eager", steps=0)
    with pytest.raises(LaminarError, match=r"noise has shape \(1, 4, 3\), expected \(1, 4, 2\)"):
        accelerate(policy, "eager")(windows(1), torch.zeros(1, 4, 3))


def test_inference_mode(make_policy: Make) -> None:
    """Built inside of it, used outside, and changed inside."""
    policy = build(make_policy, "flow", "mlp")
    with torch.inference_mode():
        fast = accelerate(policy, "eager")
        fast(windows(1))
    assert normalized_gap(fast, policy, 0) <= TOLERANCE
    version = fast.loop(1).version
    with torch.inference_mode():
        policy.network.get_parameter("layers.0.weight").mul_(1.5)
    fast(windows(1))
    assert fast.loop(1).version != version
    with torch.inference_mode():
        policy = build(make_policy, "flow", "mlp")
    assert normalized_gap(accelerate(policy, "eager"), policy, 0) <= TOLERANCE


@needs_onnx
def test_replaced_weights_are_taken_up_and_then_watched(make_policy: Make) -> None:
    policy = build(make_policy, "flow", "mlp")
    fast = accelerate(policy, "onnx")
    policy.load_state_dict({name: value * 0.9 for name, value in policy.state_dict().items()}, assign=True)
    fast.refresh()
    assert normalized_gap(fast, policy, 0) <= TOLERANCE
    randomized(policy)
    assert normalized_gap(fast, policy, 0) <= TOLERANCE


@needs_onnx
def test_a_copy_has_weights_and_loops_of_its_own(make_policy: Make) -> None:
    policy = build(make_policy, "flow", "mlp")
    fast = accelerate(policy, "onnx")
    fast.why = ["told"]
    other = copy.deepcopy(fast)
    assert (other.runtime, other.why) == ("onnx", ["told"])
    before = fast(windows(1), noise_of(policy, 1))
    randomized(other.source)
    assert torch.equal(fast(windows(1), noise_of(policy, 1)), before)
    assert normalized_gap(other, other.source, 0) <= TOLERANCE


def test_a_runtime_that_fails_says_so(make_policy: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    def build_it(program: SamplingProgram, inputs: Inputs) -> BoundFunction:
        raise KeyError("aten.strange\nand much more")

    monkeypatch.setattr(onnx_runtime, "build", build_it)
    monkeypatch.setattr(onnx_runtime, "missing", lambda device: None)
    policy = build(make_policy, "flow", "mlp")
    with pytest.raises(LaminarError, match=r"runtime=onnx could not build the sampler \(.*strange.*runtime=eager"):
        accelerate(policy, "onnx")
    fast = accelerate(policy)
    assert fast.runtime != "onnx"
    assert "could not build" in fast.why[0]


def test_weights_that_are_not_finite(make_policy: Make) -> None:
    policy = build(make_policy, "flow", "mlp")
    with torch.no_grad():
        policy.network.get_parameter("layers.0.weight").fill_(torch.nan)
    with pytest.raises(LaminarError, match="no runtime gives finite chunks"):
        accelerate(policy)


@pytest.mark.skipif(torch.cuda.is_available(), reason="here it can be used")
@pytest.mark.parametrize("runtime", ["cuda_graph", "compiled_cuda_graph"])
def test_no_silent_fallback(make_policy: Make, runtime: str) -> None:
    with pytest.raises(LaminarError, match=f"runtime={runtime} cannot be used: there is no CUDA device"):
        accelerate(build(make_policy, "flow", "mlp"), runtime)


def test_auto_drops_what_lies_and_what_fails(make_policy: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    class Module:
        def __init__(self, name: str) -> None:
            self.name = name

        def missing(self, device: torch.device) -> str | None:
            return None

        def build(self, program: SamplingProgram, inputs: Inputs) -> BoundFunction:
            if self.name == "onnx":  # wrong and at once
                return BoundFunction(lambda *_: torch.zeros(1, CHUNK, 2), inputs)
            if self.name == "pt2":
                raise LaminarError("the compiler is ill")
            return BoundFunction(program.reference, inputs)

    monkeypatch.setattr(RUNTIMES, "module", Module)
    monkeypatch.setattr(pt2, "is_built", lambda program, batch: True)
    fast = accelerate(build(make_policy, "flow", "mlp"))
    assert fast.runtime == "eager"
    assert [line.split(":")[0] for line in fast.why] == ["onnx", "pt2", "eager", "chosen"]
    assert "differs from eager" in fast.why[0]
    assert "the compiler is ill" in fast.why[1]


def test_auto_takes_the_faster(make_policy: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    class Module:
        def __init__(self, name: str) -> None:
            self.name = name

        def missing(self, device: torch.device) -> str | None:
            return None if self.name != "pt2" else "not today"

        def build(self, program: SamplingProgram, inputs: Inputs) -> BoundFunction:
            if self.name == "eager":
                return BoundFunction(program.reference, inputs)
            known = program.reference(*inputs)
            asked = [tensor.clone() for tensor in inputs]

            def remember(*now: Tensor) -> Tensor:  # recomputes only for other inputs
                same = all(torch.equal(a, b) for a, b in zip(now, asked, strict=True))
                return known if same else program.reference(*now)

            return BoundFunction(remember, inputs)

    monkeypatch.setattr(RUNTIMES, "module", Module)
    monkeypatch.setattr(fastest, "PATIENCE", 0.2)
    fine = Agreement((Draw(0.0, 0.0),))
    monkeypatch.setattr(fastest, "compare", lambda fast: fine)  # leaves the inputs as they were built
    fast = accelerate(build(make_policy, "flow", "mlp"))
    assert fast.runtime == "onnx"
    assert "not today" in "\n".join(fast.why)


def test_disagreement_is_measured(make_policy: Make) -> None:
    policy = build(make_policy, "flow", "mlp")
    if isinstance(policy.process, Direct):
        pytest.fail("a deterministic actor would not do here")
    fast = accelerate(policy, "eager", batch=(1, 3))
    assert disagreement(fast) == 0
    call = fast.loop(3).call
    fast.loop(3).call = lambda: call() + 0.5 * policy.action_scale
    assert disagreement(fast) == pytest.approx(0.5, rel=1e-4)
    fast.loop(3).call = lambda: call() * torch.nan
    assert disagreement(fast) == float("inf")
