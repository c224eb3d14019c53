"""Parts of a module as flat buffers, and one step of descent on some of them, against torch's usual way."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from laminar.train.update import adam as adam_module
from laminar.train.update import learner as learner_module
from laminar.train.update.flat import Layout
from laminar.train.update.group import Group
from laminar.train.update.learner import Learner, average
from laminar.train.update.program import State


class Toy(nn.Module):
    """Two parts that learn, a slow copy of one, and a constant."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.actor = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
        self.critic = nn.Linear(2, 1)
        self.slow = deepcopy(self.actor)
        self.teacher = nn.Linear(3, 2)


def loss(toy: Toy, x: Tensor, weight: float = 1.0) -> tuple[Tensor, dict[str, Tensor]]:
    """Return what depends on every part."""
    action = toy.actor(x)
    value = weight * (action - toy.teacher(x) - toy.slow(x)).square().mean() + toy.critic(action).mean()
    return value, {"loss": value.detach()}


def part_of(name: str) -> str | None:
    part = name.split(".")[0]
    return None if part == "teacher" else part


LEARNED = ("actor", "critic")
X = torch.randn(8, 3, generator=torch.Generator().manual_seed(1))


def build(group: Group | None = None) -> tuple[Toy, Learner, State]:
    toy = Toy()
    learner = Learner(toy, part_of, group)
    state = learner.start(LEARNED)
    state["count"] = torch.zeros(())
    learner.bind(state)
    return toy, learner, state


@pytest.fixture(params=[False, True], ids=["eager", "functional"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Take both ways to the gradients: by the tape, and by `torch.func` as compilers and stacked seeds do."""
    if request.param:
        for module in (adam_module, learner_module):
            monkeypatch.setattr(module, "transformed", lambda: True)
    return request.param


def written_back(before: State, after: State) -> State:
    """Copy what an update put in the place of tensors into those, as a program does."""
    for name, value in after.items():
        if value is not before[name]:
            before[name].copy_(value)
    return before


def descend(learner: Learner, state: State, parts: list[str], *more: Any, **settings: Any) -> dict[str, Tensor]:
    after = dict(state)
    metrics = learner.descend(after, parts, loss, (X, *more), 0.01, "count", **settings)
    written_back(state, after)
    return metrics


def flat(module: nn.Module) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in module.parameters()])


def test_a_layout_keeps_names_shapes_and_order() -> None:
    parameters = dict(Toy().actor.named_parameters())
    layout = Layout(parameters)
    values = layout.flatten([parameter.detach() for parameter in parameters.values()])
    assert values.shape == (layout.size,) == (3 * 4 + 4 + 4 * 2 + 2,)
    views = layout.views(values)
    assert list(views) == layout.names == list(parameters)
    for name, view in views.items():
        assert torch.equal(view, parameters[name])
        assert view.untyped_storage().data_ptr() == values.untyped_storage().data_ptr()
    values.requires_grad_(True)
    layout.views(values)["0.bias"].sum().backward()
    assert values.grad is not None
    assert values.grad.sum() == 4


def test_a_bound_module_computes_the_same_and_keeps_its_names() -> None:
    plain, (bound, _, _) = Toy(), build()
    assert torch.equal(loss(plain, X)[0], loss(bound, X)[0])
    assert list(bound.state_dict()) == list(plain.state_dict())


def test_parameters_are_views_of_the_state() -> None:
    toy, learner, state = build()
    assert set(learner.layouts) == {"actor", "critic", "slow"}, "a part of None is no part"
    assert set(state) == {*learner.layouts, "actor_first", "actor_second", "critic_first", "critic_second", "count"}
    state["actor"].fill_(2.0)
    assert all(bool((parameter == 2.0).all()) for parameter in toy.actor.parameters())
    ones = {name: torch.ones_like(value) for name, value in toy.state_dict().items()}
    toy.load_state_dict(ones)
    assert bool((state["actor"] == 1.0).all()), "loading weights must not tear the views off"
    assert bool((state["slow"] == 1.0).all())


def test_a_module_follows_a_state_that_moves() -> None:
    toy, learner, state = build()
    elsewhere = {name: value.clone() for name, value in state.items()}
    learner.bind(elsewhere)
    descend(learner, elsewhere, ["actor"])
    assert torch.equal(flat(toy.actor), elsewhere["actor"])
    assert not torch.equal(state["actor"], elsewhere["actor"])


def usual(parts: list[str], steps: int, max_norm: float | None, weight_decay: float) -> tuple[Toy, list[Tensor]]:
    """Train with torch's own optimizer and clipping, tensor by tensor."""
    toy = Toy()
    parameters = [p for part in parts for p in getattr(toy, part).parameters()]
    settings: dict[str, Any] = {"foreach": False, "fused": False, "weight_decay": weight_decay}
    optimizer = torch.optim.AdamW(parameters, lr=0.01, **settings)
    norms: list[Tensor] = []
    for _ in range(steps):
        toy.zero_grad()
        loss(toy, X)[0].backward()
        norms.append(nn.utils.clip_grad_norm_(parameters, torch.inf if max_norm is None else max_norm).detach())
        optimizer.step()
    return toy, norms


@pytest.mark.parametrize("parts", [["actor"], ["critic"], ["actor", "critic"]])
@pytest.mark.parametrize(("max_norm", "decay"), [(None, 0.0), (0.01, 0.1), (1e6, 0.1)])
@pytest.mark.usefixtures("way")
def test_descent_is_adamw_of_every_tensor(parts: list[str], max_norm: float | None, decay: float) -> None:
    """The gradient is clipped over all parts that learn together, and the norm before that is told."""
    expected, norms = usual(parts, 5, max_norm, decay)
    toy, learner, state = build()
    for norm in norms:
        metrics = descend(learner, state, parts, max_grad_norm=max_norm, weight_decay=decay)
        torch.testing.assert_close(metrics["grad_norm"], norm, rtol=1e-4, atol=1e-6)
        assert not any(value.requires_grad for value in metrics.values())
    if max_norm == 0.01:
        assert min(norms) > 0.01, "or clipping had nothing to do"
    for name, value in toy.named_parameters():
        torch.testing.assert_close(value.detach(), expected.get_parameter(name).detach(), rtol=1e-4, atol=1e-6)
    assert state["count"] == 5


@pytest.mark.usefixtures("way")
def test_what_does_not_learn_stays_and_has_no_gradient() -> None:
    toy, learner, state = build()
    before = {name: value.clone() for name, value in toy.named_parameters()}
    descend(learner, state, ["critic"])
    moved = {name.split(".")[0] for name, value in toy.named_parameters() if not torch.equal(value, before[name])}
    assert moved == {"critic"}
    assert not state["actor_first"].any()


def test_the_tape_records_the_parts_that_learn_alone() -> None:
    """Also after other parts have learned: a critic's update would else pay for the actor's backward pass."""
    toy, learner, state = build()
    for part in ("actor", "critic", "actor"):
        descend(learner, state, [part])
        recorded = {name.split(".")[0] for name, value in toy.named_parameters() if value.requires_grad}
        assert recorded == {part}


@pytest.mark.usefixtures("way")
def test_a_weight_that_the_loss_leaves_out_has_a_gradient_of_zeros() -> None:
    _, learner, state = build()

    def actor_alone(toy: Toy, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        value = toy.actor(x).square().mean()
        return value, {"loss": value.detach()}

    (actor, critic), _ = learner.gradients(state, ["actor", "critic"], actor_alone, (X,))
    assert actor.any()
    assert critic.shape == state["critic"].shape
    assert not critic.any()


def test_both_ways_find_the_same_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    _, learner, state = build()
    tape, metrics = learner.gradients(state, LEARNED, loss, (X, 0.5))
    monkeypatch.setattr(learner_module, "transformed", lambda: True)
    functional, others = learner.gradients(state, LEARNED, loss, (X, 0.5))
    for one, other in zip(tape, functional, strict=True):
        assert one.any()
        torch.testing.assert_close(one, other)
    torch.testing.assert_close(metrics, others)


def test_gradients_are_averaged_over_processes_before_they_are_clipped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each clipped by itself would not be the clipped gradient of the whole batch."""
    seen: list[Tensor] = []

    def double(self: Group, value: Tensor) -> None:
        seen.append(value.clone())
        value.mul_(2)

    monkeypatch.setattr(Group, "average", double)
    _, alone, alone_state = build()
    _, learner, state = build(Group(0, 2))
    norm = descend(alone, alone_state, ["actor", "critic"], max_grad_norm=0.01)["grad_norm"]
    doubled = descend(learner, state, ["actor", "critic"], max_grad_norm=0.01)["grad_norm"]
    assert len(seen) == 1, "one sum over processes an update, whatever the number of parts"
    torch.testing.assert_close(doubled, 2 * norm)
    torch.testing.assert_close(state["actor_first"], alone_state["actor_first"])


@pytest.mark.usefixtures("way")
def test_a_slow_copy_follows() -> None:
    toy, learner, state = build()
    descend(learner, state, ["actor"])
    expected = 0.75 * state["slow"] + 0.25 * state["actor"]
    after = dict(state)
    average(after, "slow", "actor", 0.25)
    written_back(state, after)
    torch.testing.assert_close(flat(toy.slow), expected)


@pytest.mark.parametrize("autocast", [False, True])
def test_autocast_is_of_products_alone(autocast: bool) -> None:
    seen: list[torch.dtype] = []
    toy = Toy()
    learner = Learner(toy, part_of, autocast=autocast)
    state = learner.start(LEARNED) | {"count": torch.zeros(())}
    learner.bind(state)

    def watched(toy: Toy, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        action = toy.actor(x)
        seen.append(action.dtype)
        value = action.float().square().mean()
        return value, {"loss": value.detach()}

    learner.descend(state, ["actor"], watched, (X,), 0.01, "count")
    assert seen == [torch.bfloat16 if autocast else torch.float32]
    assert all(value.dtype == torch.float32 for value in state.values())
