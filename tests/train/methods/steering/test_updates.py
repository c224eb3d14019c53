"""An update of steering is one function of tensors: nothing waits for the device, nothing lies on another one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

from laminar.train.update import adam
from laminar.train.update import learner as learners
from laminar.train.update.learner import Learner

# ATen operators whose result the host must wait for: a number, or a size that depends on values
SYNCS = {"_local_scalar_dense", "item", "is_nonzero", "nonzero", "masked_select", "equal", "unique", "_unique2"}
KINDS = pytest.mark.parametrize(
    "words",
    [
        (),
        ("method.edit_scale=0.2", "method.candidates=4"),
        ("method.steer=false", "method.edit_scale=0.2", "method.n_step=3"),
        ("method.repeated=true", "method.entropy_backup=true", "method.prior=0.1", "method.critic.heads=4"),
    ],
    ids=" ".join,
)


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


@KINDS
def test_an_update_never_waits_for_the_device(build: Any, words: tuple[str, ...]) -> None:
    improver = build(*words)
    improver.collect(0)
    with Calls() as calls:
        improver.update(0)
    assert calls.count["mm"] + calls.count["addmm"] > 0, "nothing was counted"
    assert not SYNCS & set(calls.count)


@KINDS
@pytest.mark.parametrize("way", ["eager", "functional"])
def test_an_update_stays_on_its_device(
    build: Any, words: tuple[str, ...], way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On "meta", which refuses tensors of another device, and any branch on data too; those cannot be captured."""
    for module in (adam, learners):
        monkeypatch.setattr(module, "transformed", lambda: way == "functional")
    monkeypatch.setattr(adam, "_fused", lambda *_: None)  # knows no "meta"; its buffers are those of the formulas
    improver = build(*words)
    improver.collect(0)

    def away(leaf: Any) -> Any:
        return leaf.to("meta") if isinstance(leaf, Tensor) else leaf

    program = improver.program
    index, draws = program.feed.draw()
    state, batch, draws = tree_map(away, (program.state, program.feed.experience.gather(index), draws))
    improver.learner = Learner(improver.agent.to("meta"), improver.agent.part_of)
    improver.learner.bind(state)
    metrics = program.function(state, batch, draws, torch.zeros(1, device="meta"), True)
    assert all(value.device.type == "meta" for value in (*state.values(), *metrics.values()))
