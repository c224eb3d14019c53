"""Precision of an update's products: float32 in torch's several ways, or bfloat16 inside the losses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from laminar.cli import main
from laminar.train.methods.q_learning import QLearning
from laminar.train.update import runners as runtimes
from laminar.train.update.runners import float32_products, matmul_precision


def test_the_precision_holds_for_updates_alone(
    rewarded_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, set[str]] = {"update": set(), "product": set()}

    def watch(name: str, method: Callable[..., Any]) -> None:
        def spy(self: QLearning, *args: Any) -> Any:
            seen[name].add(torch.get_float32_matmul_precision())
            return method(self, *args)

        monkeypatch.setattr(QLearning, name, spy)

    watch("update", QLearning.update)
    watch("product", QLearning.product)  # asked for by evaluations and checkpoints
    words = ["method=ofql", "network.width=16", "method.critic.width=16", "steps=3", "runtime.matmul=medium"]
    assert main(["train", f"data.path={rewarded_file}", f"out={tmp_path / 'run'}", *words]) == 0
    assert seen == {"update": {"medium"}, "product": {"highest"}}
    assert torch.get_float32_matmul_precision() == "highest"


@pytest.mark.parametrize(("error", "expected"), [(1e-7, "medium"), (1e-3, "highest")])
def test_auto_takes_the_fast_products_that_stay_exact(
    error: float, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    multiply = Tensor.__matmul__

    def rounded(a: Tensor, b: Tensor) -> Tensor:
        precision = torch.get_float32_matmul_precision()
        with matmul_precision("highest"):  # whatever this machine makes of "medium"
            found = multiply(a, b)
        return found * (1 + error) if precision == "medium" else found

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
