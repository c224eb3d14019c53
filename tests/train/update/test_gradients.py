"""The two ways of an update to its gradients agree."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from laminar.train.methods.q_learning import QLearning
from laminar.train.update import adam
from laminar.train.update import learner as learners


@pytest.mark.parametrize("method", ["dql", "ofql", "fql", "iql"])
def test_the_tape_and_torch_func_find_the_same_gradients(
    method: str, learner: Callable[..., QLearning], monkeypatch: pytest.MonkeyPatch
) -> None:
    tape, transformed = learner(method), learner(method)
    tape.update(0)
    for module in (adam, learners):
        monkeypatch.setattr(module, "transformed", lambda: True)
    transformed.update(0)
    theirs = transformed.state()
    for name, value in tape.state().items():
        if name.endswith("_first"):  # after one update a tenth of the gradient
            assert value.norm() > 0, name
            torch.testing.assert_close(value, theirs[name], rtol=1e-4, atol=1e-6, msg=name)
