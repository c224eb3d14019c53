"""Every way to run an update computes the same, and what a CUDA graph must not hold is not there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

from laminar.cli import main
from laminar.configs.compose import options
from laminar.data.episodes import Episodes
from laminar.errors import LaminarError
from laminar.train.methods.bc import BehaviorCloning
from laminar.train.methods.bc import Config as BCConfig
from laminar.train.methods.q_learning import QLearning
from laminar.train.methods.q_learning.update import Rates
from laminar.train.update import runners as runtimes
from laminar.train.update.group import Group
from laminar.train.update.runners import Captured, float32_products, matmul_precision, runner
from laminar.train.update.stacked import stacked

METHODS = [method for method in options("method") if method not in ("bc", "ctm", "reflow")]  # all by Q-learning
# every ATen operator whose result the host must wait for: a number, or a size that depends on values
SYNCS = {"_local_scalar_dense", "item", "is_nonzero", "nonzero", "masked_select", "equal", "unique", "_unique2"}

Learner = Callable[..., QLearning]


class Calls(TorchDispatchMode):
    """Counts the ATen calls of a block."""

    def __init__(self) -> None:
        super().__init__()
        self.count: Counter[str] = Counter()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        self.count[func.overloadpacket.__name__] += 1
        return func(*args, **(kwargs or {}))


def same_state(one: QLearning, other: QLearning) -> None:
    for name, value in (one.state() | one.product().state_dict()).items():
        assert torch.equal(value, (other.state() | other.product().state_dict())[name]), name


@pytest.mark.parametrize("method", METHODS)
def test_an_update_never_waits_for_the_device(method: str, learner: Learner) -> None:
    q = learner(method)
    with Calls() as calls:
        q.update(0)
    assert calls.count["mm"] + calls.count["addmm"] > 0, "nothing was counted"
    assert not SYNCS & set(calls.count)


@pytest.mark.parametrize("method", METHODS)
def test_an_update_stays_on_its_device(method: str, learner: Learner) -> None:
    """Tensors of another device cannot be captured; "meta" refuses them, and any branch on data too."""
    q = learner(method)

    def away(leaf: Any) -> Any:
        return leaf.to("meta") if isinstance(leaf, Tensor) else leaf

    index, draws = q.program.feed.draw()
    inputs = tree_map(away, (q.program.state, q.program.feed.gather(index), draws))
    q.agent.to("meta")
    state, metrics = q.program.function(*inputs, torch.zeros(len(Rates._fields), device="meta"), True)
    assert all(value.device.type == "meta" for value in (*state.values(), *metrics.values()))


def test_the_runner_is_the_plain_update(learner: Learner) -> None:
    one, other = learner("ofql"), learner("ofql")
    step = runner(one.program)
    for number in range(3):
        assert step(number).keys() == other.update(number).keys()
    same_state(one, other)


class FakeCuda:
    """Stands in for `torch.cuda`: a capture takes no effect, and a replay repeats what was captured."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, q: QLearning) -> None:
        self.captured, self.replays, self.registered = 0, 0, []
        self._program, self._launch, self._recording = q.program, Captured.launch, False
        names = {"Stream": lambda _: SimpleNamespace(wait_stream=id), "current_stream": lambda _: SimpleNamespace()}
        names["current_stream"] = names["Stream"]
        names |= {"stream": lambda _: nullcontext(), "CUDAGraph": self._graph, "graph": self._capture}
        for name, value in names.items():
            monkeypatch.setattr(runtimes.torch.cuda, name, value)
        monkeypatch.setattr(Captured, "launch", lambda captured, acts: self._record(captured, acts))

    def _graph(self) -> Any:
        self.graph = SimpleNamespace(register_generator_state=self.registered.append)
        return self.graph

    @contextmanager
    def _capture(self, graph: Any) -> Iterator[None]:
        state = {name: value.clone() for name, value in self._program.state.items()}
        generator = self._program.generators[0].get_state()
        self._recording, self.captured = True, self.captured + 1
        yield
        self._recording = False
        for name, value in state.items():
            self._program.state[name].copy_(value)
        self._program.generators[0].set_state(generator)

    def _record(self, captured: Captured, acts: tuple[bool, ...]) -> tuple[list[str], Tensor]:
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
    cuda = FakeCuda(monkeypatch, q)
    captured = Captured(q.program, q.program.advance, updates)
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


def test_a_graph_needs_a_cuda_device(learner: Learner) -> None:
    with pytest.raises(LaminarError, match="a CUDA graph needs a CUDA device, the update is on cpu"):
        learner("ofql", captured=True)
    with pytest.raises(LaminarError, match=r"updates_per_launch=3 needs a captured update; use runtime=cuda_graph"):
        learner("ofql", updates_per_launch=3)


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


def test_cloning_is_not_captured(learner: Learner, rewarded: Episodes) -> None:
    q = learner("ofql")
    q.context.captured = True
    with pytest.raises(LaminarError, match="method=bc cannot be captured in a CUDA graph; use runtime=cuda"):
        BehaviorCloning(q.product(), rewarded, BCConfig(), q.context)


def test_one_process_only(learner: Learner) -> None:
    with pytest.raises(LaminarError, match="ofql runs in one process"):
        learner("ofql", processes=Group(0, 2))


def test_the_precision_holds_for_updates_alone(
    rewarded_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, set[str]] = {"update": set(), "policy": set()}

    def watch(name: str, method: Callable[..., Any]) -> None:
        def spy(self: QLearning, *args: Any) -> Any:
            seen[name].add(torch.get_float32_matmul_precision())
            return method(self, *args)

        monkeypatch.setattr(QLearning, name, spy)

    watch("update", QLearning.update)
    watch("policy", QLearning.policy)  # asked for by evaluations and checkpoints
    words = ["method=ofql", "network.width=16", "method.critic.width=16", "steps=3", "runtime.matmul=medium"]
    assert main(["train", f"data.path={rewarded_file}", f"out={tmp_path / 'run'}", *words]) == 0
    assert seen == {"update": {"medium"}, "policy": {"highest"}}
    assert torch.get_float32_matmul_precision() == "highest"


@pytest.mark.parametrize(("error", "expected"), [(1e-7, "medium"), (1e-3, "highest")])
def test_auto_takes_the_fast_products_that_stay_exact(
    error: float, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    multiply = Tensor.__matmul__

    def rounded(a: Tensor, b: Tensor) -> Tensor:
        found = multiply(a, b)
        return found * (1 + error) if torch.get_float32_matmul_precision() == "medium" else found

    monkeypatch.setattr(Tensor, "__matmul__", rounded)
    runtimes._medium_is_exact.cache_clear()
    try:
        assert float32_products("auto", "cpu") == expected
    finally:
        runtimes._medium_is_exact.cache_clear()
    assert float32_products("auto", "cuda:1") == "highest", "a GPU would round"
    assert float32_products("high", "cpu") == "high"


def test_the_precision_is_restored_after_an_error() -> None:
    def fail() -> None:
        with matmul_precision("medium"):
            raise ZeroDivisionError(torch.get_float32_matmul_precision())

    with pytest.raises(ZeroDivisionError, match="medium"):
        fail()
    assert torch.get_float32_matmul_precision() == "highest"


@pytest.mark.parametrize("method", ["bc", "ofql"])
def test_autocast_runs_products_in_bfloat16(
    method: str, rewarded_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[set[torch.dtype]] = []
    linear = torch.nn.functional.linear

    def spy(*args: Any) -> Tensor:
        value = linear(*args)
        seen[-1].add(value.dtype)
        return value

    monkeypatch.setattr(torch.nn.functional, "linear", spy)
    for run, autocast in enumerate(("false", "true")):
        seen.append(set())
        words = [f"method={method}", "network.width=16", "steps=2", f"runtime.autocast={autocast}"]
        assert main(["train", f"data.path={rewarded_file}", f"out={tmp_path / str(run)}", *words]) == 0
    assert seen[0] == {torch.float32}
    assert torch.bfloat16 in seen[1]


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
def test_stacked_seeds_are_captured_together_on_the_gpu(learner: Learner) -> None:
    together, alone = ([learner("ofql", seed=seed, device="cuda") for seed in (0, 1, 2)] for _ in range(2))
    update = runner(stacked(together), captured=True, updates_per_launch=2)
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
