"""Every way to run an update computes the same, and what a CUDA graph must not hold is not there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from laminar import configs
from laminar.cli import main
from laminar.configs.compose import options
from laminar.data.episodes import Episodes
from laminar.errors import LaminarError
from laminar.policies import GenerativePolicy, PolicyConfig
from laminar.policies.networks.mlp import Config as MLPConfig
from laminar.train.config import RuntimeConfig
from laminar.train.improver import Context, Improver
from laminar.train.methods.bc import BehaviorCloning
from laminar.train.methods.bc import Config as BCConfig
from laminar.train.methods.q_learning import QLearning
from laminar.train.update import adam
from laminar.train.update import learner as learners
from laminar.train.update import runners as runtimes
from laminar.train.update.learner import Learner as UpdateLearner
from laminar.train.update.program import Feed, UpdateProgram
from laminar.train.update.runners import CapturedUpdate, runner
from laminar.train.update.stacked import rows, stacked

from ..calls import SYNCS, Calls

FOLDER = Path(configs.__file__).parent / "method"
METHODS = [method for method in options("method") if "q_learning_schema" in (FOLDER / f"{method}.yaml").read_text()]

Learner = Callable[..., QLearning]


@pytest.fixture
def cloner(rewarded: Episodes) -> Learner:
    """Return a function that builds a small cloning improver, as a run with that seed would."""

    def build(seed: int = 0, policy: PolicyConfig | None = None, **runtime: Any) -> BehaviorCloning:
        torch.manual_seed(seed)
        untrained = GenerativePolicy.build(policy or PolicyConfig(), MLPConfig(width=16), rewarded)
        settings = RuntimeConfig(**runtime)
        generator = torch.Generator(settings.device).manual_seed(seed)
        # both rates change, clipping bites, and the decay is large enough to see in a few updates
        config = BCConfig(batch_size=8, warmup=3, max_grad_norm=0.1, weight_decay=0.1)
        return BehaviorCloning(untrained, rewarded, config, Context(20, generator, settings))

    return build


def same_state(one: Improver, other: Improver) -> None:
    for name, value in (one.state() | one.product().state_dict()).items():
        assert torch.equal(value, (other.state() | other.product().state_dict())[name]), name


@pytest.mark.parametrize("method", METHODS)
def test_an_update_never_waits_for_the_device(method: str, learner: Learner) -> None:
    q = learner(method)
    with Calls() as calls:
        q.update(0)
    assert calls.count["mm"] + calls.count["addmm"] > 0, "nothing was counted"
    assert not SYNCS & set(calls.count)


def update_away(improver: Any, module: nn.Module) -> None:
    """Take one update on "meta", which refuses tensors of another device, and any branch on data too."""

    def away(leaf: Any) -> Any:
        return leaf.to("meta") if isinstance(leaf, Tensor) else leaf

    index, draws = improver.program.feed.draw()
    state, batch, draws = tree_map(
        away, (improver.program.state, improver.program.feed.experience.gather(index), draws)
    )
    improver.learner = UpdateLearner(module.to("meta"), lambda name: name.split(".")[0])
    improver.learner.bind(state)
    rates = torch.zeros(len(improver.program.rates(0)[0]), device="meta")
    metrics = improver.program.function(state, batch, draws, rates, True)
    assert all(value.device.type == "meta" for value in (*state.values(), *metrics.values()))


@pytest.fixture(params=["eager", "functional"])
def _both_ways(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the way of eager and captured updates, and that of compiled ones and stacked seeds."""
    for module in (adam, learners):
        monkeypatch.setattr(module, "transformed", lambda: request.param == "functional")
    monkeypatch.setattr(adam, "_fused", lambda *_: None)  # knows no "meta"; its buffers are those of the formulas


@pytest.mark.usefixtures("_both_ways")
@pytest.mark.parametrize("method", METHODS)
def test_an_update_stays_on_its_device(method: str, learner: Learner) -> None:
    """Tensors of another device cannot be captured."""
    q = learner(method)
    update_away(q, q.agent)


@pytest.mark.usefixtures("_both_ways")
def test_cloning_stays_on_its_device(cloner: Learner) -> None:
    bc = cloner()
    update_away(bc, bc.clone)


def test_the_runner_is_the_plain_update(learner: Learner) -> None:
    one, other = learner("ofql"), learner("ofql")
    step = runner(one.program, RuntimeConfig())
    for number in range(3):
        assert step(number).keys() == other.update(number).keys()
    same_state(one, other)


def round_rates(program: UpdateProgram) -> None:
    """Take rates as float32, which they are on their way to a device; eagerly they are Python's numbers."""
    rates = program.rates

    def rounded(step: int) -> tuple[list[float], bool]:
        numbers, variant = rates(step)
        return torch.tensor(numbers).tolist(), variant

    program.rates = rounded


class FakeCuda:
    """Stands in for `torch.cuda`: a capture takes no effect, and a replay repeats what was captured."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, program: UpdateProgram) -> None:
        self.captured, self.replays, self.registered = 0, 0, []
        self._program, self._launch, self._recording = program, CapturedUpdate.launch, False
        names = {"Stream": lambda _: SimpleNamespace(wait_stream=id)}
        names["current_stream"] = names["Stream"]
        names |= {"stream": lambda _: nullcontext(), "CUDAGraph": self._graph, "graph": self._capture}
        for name, value in names.items():
            monkeypatch.setattr(runtimes.torch.cuda, name, value)
        monkeypatch.setattr(CapturedUpdate, "launch", lambda captured, acts: self._record(captured, acts))

    def _graph(self) -> Any:
        self.graph = SimpleNamespace(register_generator_state=self.registered.append)
        return self.graph

    @contextmanager
    def _capture(self, graph: Any) -> Iterator[None]:
        state = {name: value.clone() for name, value in self._program.state.items()}
        generators = [generator.get_state() for generator in self._program.feed.generators]
        self._recording, self.captured = True, self.captured + 1
        yield
        self._recording = False
        for name, value in state.items():
            self._program.state[name].copy_(value)
        for generator, saved in zip(self._program.feed.generators, generators, strict=True):
            generator.set_state(saved)

    def _record(self, captured: CapturedUpdate, acts: tuple[bool, ...]) -> tuple[list[str], Tensor]:
        names, values = self._launch(captured, acts)
        if self._recording:

            def replay() -> None:
                self.replays += 1
                values.copy_(self._launch(captured, acts)[1])

            self.graph.replay = replay
        return names, values


@pytest.mark.parametrize(("method", "updates"), [("ofql", 1), ("ofql", 3), ("rebrac", 1), ("rebrac", 3)])
def test_what_is_around_a_captured_graph(
    method: str, updates: int, learner: Learner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Warm-ups leave no trace, rates are those of the update, patterns of delayed updates have graphs of their own."""
    words = ("method.final_lr=0.0", "method.ema_start=2")  # both rates change
    eager, q = learner(method, *words), learner(method, *words)
    round_rates(eager.program)
    cuda = FakeCuda(monkeypatch, q.program)
    captured = CapturedUpdate(q.program, q.program.advance, updates)
    kept: list[dict[str, Tensor]] = []
    for step in range(0, 6, updates):
        kept.append(captured(step))
        plain = [eager.update(step + index) for index in range(updates)]
        for name, value in kept[-1].items():
            expected = torch.stack([metrics[name] for metrics in plain if name in metrics]).mean(dim=0)
            torch.testing.assert_close(value, expected, msg=name)
        same_state(q, eager)
    assert not torch.equal(kept[0]["critic_loss"], kept[-1]["critic_loss"]), "a replay wrote over what was returned"
    assert cuda.captured == (2 if method == "rebrac" else 1)
    assert cuda.replays == 6 // updates
    assert cuda.registered == [q.context.generator] * cuda.captured


@pytest.mark.parametrize("updates", [1, 3])
def test_what_is_around_a_captured_graph_of_cloning(
    updates: int, cloner: Learner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The launch that is captured, run eagerly, takes the steps of plain updates to the bit."""
    eager, bc = cloner(), cloner()
    round_rates(eager.program)
    cuda = FakeCuda(monkeypatch, bc.program)
    captured = CapturedUpdate(bc.program, bc.program.advance, updates)
    for step in range(0, 6, updates):
        found = captured(step)
        plain = [eager.update(step + index) for index in range(updates)]
        for name, value in found.items():
            torch.testing.assert_close(value, torch.stack([metrics[name] for metrics in plain]).mean(dim=0), msg=name)
        same_state(bc, eager)
    assert (cuda.captured, cuda.replays) == (1, 6 // updates)
    assert cuda.registered == [bc.context.generator]


@pytest.mark.parametrize("policy", [PolicyConfig(), PolicyConfig(chunk=3, history=2)], ids=["step", "chunk"])
def test_compiled_cloning_is_eager_cloning(
    policy: PolicyConfig, cloner: Learner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one graph, checked without a compiler's cost: the graph takes the steps that the formulas do."""
    torch._dynamo.reset()
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    eager, compiled = cloner(policy=policy), cloner(policy=policy, compiled=True)
    before = eager.product().checkpoint_hash()
    for step in range(4):
        expected, found = eager.update(step), compiled.update(step)
        assert expected.keys() == found.keys()
        for name, value in expected.items():
            torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-6, msg=name)
    assert eager.product().checkpoint_hash() != before
    theirs = eager.state() | eager.product().state_dict()
    for name, value in (compiled.state() | compiled.product().state_dict()).items():
        torch.testing.assert_close(value, theirs[name], rtol=1e-4, atol=1e-6, msg=name)


@pytest.mark.slow
def test_cloning_through_the_compiler(cloner: Learner) -> None:
    torch._dynamo.reset()
    eager, compiled = cloner(), cloner(compiled=True)
    for step in range(4):
        eager.update(step)
        compiled.update(step)
    theirs = eager.state() | eager.product().state_dict()
    for name, value in (compiled.state() | compiled.product().state_dict()).items():
        torch.testing.assert_close(value, theirs[name], rtol=1e-4, atol=1e-5, msg=name)


def test_a_graph_needs_a_cuda_device(learner: Learner, cloner: Learner) -> None:
    for improver in (learner("ofql", captured=True), cloner(captured=True)):
        with pytest.raises(LaminarError, match="a CUDA graph needs a CUDA device, the update is on cpu"):
            improver.update(0)
    with pytest.raises(LaminarError, match=r"updates_per_launch=3 needs a captured update; use runtime=cuda_graph"):
        learner("ofql", updates_per_launch=3).update(0)


def test_reads_from_the_disk_are_not_captured(learner: Learner) -> None:
    feed = learner("ofql").program.feed
    program = UpdateProgram(
        {"weights": torch.zeros(1, device="meta")},  # no CPU: what comes first is the device
        lambda *_: {},
        Feed(feed.draw, SimpleNamespace(reads_disk=True), [*feed.generators, torch.Generator()]),
        lambda step: ((0.0,), True),
    )
    program.__class__ = type("OnCuda", (UpdateProgram,), {"device": torch.device("cuda")})
    with pytest.raises(LaminarError, match="images on disk cannot be read inside a CUDA graph; use runtime=cuda"):
        runner(program, RuntimeConfig(captured=True))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["runtime=cuda_graph"], "PyTorch finds no CUDA device; use runtime=eager"),
        (["runtime=cuda_graph", "runtime.device=cpu"], "a CUDA graph needs a CUDA device, runtime.device is cpu"),
        (["runtime.updates_per_launch=5"], "needs a captured update; use runtime=cuda_graph"),
        (["runtime.updates_per_launch=7"], "steps=10 is no multiple of runtime.updates_per_launch=7"),
        (["runtime.matmul=low"], "runtime.matmul must be auto, highest, high or medium, got low"),
    ],
)
def test_settings_of_a_runtime(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    lengths = ["steps=10", "log_every=10", "checkpoint_every=10"]
    if "runtime.updates_per_launch=7" in words:  # the one that needs a device to get so far
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        words = [*words, "runtime=cuda_graph"]
    assert main(["train", "method=ofql", "data.path=none.hdf5", f"out={tmp_path / 'run'}", *lengths, *words]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.gpu
@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("updates", [1, 3])
@pytest.mark.parametrize("method", METHODS)
def test_captured_is_eager_on_the_gpu(method: str, updates: int, compiled: bool, learner: Learner) -> None:
    settings = {"device": "cuda", "captured": True, "updates_per_launch": updates, "compiled": compiled}
    eager, captured = learner(method, device="cuda"), learner(method, **settings)
    for step in range(0, 6, updates):
        captured.update(step)
        for index in range(updates):
            eager.update(step + index)
    mine, theirs = (q.state() | q.product().state_dict() for q in (captured, eager))
    assert torch.equal(mine["generator"], theirs["generator"]), "a resume would draw other numbers"
    for name, value in mine.items():
        torch.testing.assert_close(value, theirs[name], rtol=2e-3, atol=2e-5, msg=name)


@pytest.mark.gpu
@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("updates", [1, 3])
def test_captured_cloning_is_eager_on_the_gpu(updates: int, compiled: bool, cloner: Learner) -> None:
    eager = cloner(device="cuda")
    captured = cloner(device="cuda", captured=True, updates_per_launch=updates, compiled=compiled)
    for step in range(0, 6, updates):
        captured.update(step)
        for index in range(updates):
            eager.update(step + index)
    mine, theirs = (bc.state() | bc.product().state_dict() for bc in (captured, eager))
    assert torch.equal(mine["generator"], theirs["generator"]), "a resume would draw other numbers"
    for name, value in mine.items():
        torch.testing.assert_close(value, theirs[name], rtol=2e-3, atol=2e-5, msg=name)


@pytest.mark.gpu
def test_stacked_seeds_are_captured_together_on_the_gpu(learner: Learner) -> None:
    together, alone = ([learner("ofql", seed=seed, device="cuda") for seed in (0, 1, 2)] for _ in range(2))
    program = stacked([q.program for q in together])
    for row, q in enumerate(together):
        q.move(rows(program.state, row))
    update = runner(program, RuntimeConfig(captured=True, updates_per_launch=2))
    for step in range(0, 6, 2):
        assert update(step)["loss"].shape == (3,)
    for replica, q in zip(together, alone, strict=True):
        for step in range(6):
            q.update(step)
        assert torch.equal(replica.state()["generator"], q.state()["generator"])
        theirs = q.product().state_dict()
        for name, value in replica.product().state_dict().items():
            torch.testing.assert_close(value, theirs[name], rtol=2e-3, atol=2e-5, msg=name)


@pytest.mark.gpu
def test_an_eager_update_never_waits_on_the_gpu(learner: Learner) -> None:
    q = learner("ofql", device="cuda")
    q.update(0)
    torch.cuda.set_sync_debug_mode("error")
    try:
        q.update(1)
    finally:
        torch.cuda.set_sync_debug_mode("default")
