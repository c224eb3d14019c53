"""An update of on-policy improvement: what it changes, what it holds on to, and that it is one function of tensors."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from laminar.train.methods.policy_gradient import PolicyGradient, losses
from laminar.train.update import adam
from laminar.train.update import learner as learners
from laminar.train.update.learner import Learner

from ...calls import SYNCS, Calls

RECIPES = ("dppo", "diwa", "pmpo", "reinflow", "fpo")
LEASHED = ("method.leash=0.1", "method.leash_until=0.5")
KINDS = [
    *((method, ()) for method in RECIPES),
    ("dppo", (*LEASHED, "method.leash_direction=policy", "method.progressive=0.5", "method.tuned_steps=2")),
    ("reinflow", (*LEASHED, "method.leash_direction=policy", "method.target_kl=null")),
    ("reinflow", (*LEASHED, "method.leash_direction=base")),
    ("fpo", (*LEASHED, "method.trust=clip", "method.average=0")),
    ("pmpo", (*LEASHED, "method.leash_direction=base", "method.average=0.9")),
]
each_kind = pytest.mark.parametrize(("method", "words"), KINDS, ids=lambda value: str(value))
each_recipe = pytest.mark.parametrize("method", RECIPES)


def batch_of(improver: PolicyGradient, step: int = 0) -> tuple[Any, Any, dict[str, float]]:
    """Return batch and draws of the first update of an iteration, and the rates of its losses."""
    improver.collect(step)
    assert improver.program is not None
    index, draws = improver.program.feed.draw()
    return improver.rollout.gather(index), draws, improver._shared(step)


@each_kind
def test_an_update_never_waits_for_the_device(build: Any, method: str, words: tuple[str, ...]) -> None:
    improver = build(*words, method=method)
    improver.collect(0)
    with Calls() as calls:
        improver.update(0)
    assert calls.count["mm"] + calls.count["addmm"] > 0, "nothing was counted"
    assert not SYNCS & set(calls.count)


@each_kind
@pytest.mark.parametrize("way", ["eager", "functional"])
def test_an_update_stays_on_its_device(
    build: Any, method: str, words: tuple[str, ...], way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On "meta", which refuses tensors of another device, and any branch on data too; those cannot be captured."""
    for module in (adam, learners):
        monkeypatch.setattr(module, "transformed", lambda: way == "functional")
    monkeypatch.setattr(adam, "_fused", lambda *_: None)  # knows no "meta"; its buffers are those of the formulas
    improver = build(*words, method=method)
    improver.collect(0)

    def away(leaf: Any) -> Any:
        return leaf.to("meta") if isinstance(leaf, Tensor) else leaf

    program = improver.program
    index, draws = program.feed.draw()
    state, batch, draws = tree_map(away, (program.state, program.feed.experience.gather(index), draws))
    improver.learner = Learner(improver.agent.to("meta"), improver.agent.part_of)
    improver.learner.bind(state)
    metrics = program.function(state, batch, draws, torch.zeros(5, device="meta"), True)
    assert all(value.device.type == "meta" for value in (*state.values(), *metrics.values()))


@each_kind
def test_at_the_first_update_of_an_iteration_every_ratio_is_one(
    build: Any, method: str, words: tuple[str, ...]
) -> None:
    """In the second iteration too, when the policy is another than the clone and the noise head's bound has fallen."""
    improver = build(*words, "method.lr=1e-3", "method.noise_hold=0", method=method)
    for step in (0, 1, 2, 3, 4):
        improver.collect(step)
        found = improver.update(step)
        if step in (0, 4):
            assert found["ratio"].item() == pytest.approx(1, abs=1e-5)
            assert found["approx_kl"].item() == pytest.approx(0, abs=1e-6)
    assert improver.figures()["kl_to_clone"] > 0


@pytest.mark.parametrize("method", ["dppo", "diwa", "reinflow", "pmpo"])
def test_the_gradient_of_the_first_update_is_that_of_the_scores(build: Any, method: str) -> None:
    """At ratio 1 nothing is clipped: d loss = -mean A d log pi (with its weights), by finite differences."""
    improver = build("method.leash=0", "method.entropy=0", method=method)
    batch, draws, rates = batch_of(improver)
    agent, loss = improver.agent.double(), losses.LOSSES[improver.config.objective]
    batch = {name: value.double() if value.is_floating_point() else value for name, value in batch.items()}
    weight = list(agent.tuned.parameters())[-2]
    weight.requires_grad_(True)
    value, _ = loss(agent, batch, draws, rates)
    (gradient,) = torch.autograd.grad(value, weight)
    weight.requires_grad_(False)
    direction = torch.randn(weight.shape, generator=torch.Generator().manual_seed(0)).double()
    ends = []
    for sign in (1, -1):
        moved = weight + sign * 1e-5 * direction
        kept, weight.data = weight.data, moved
        ends.append(loss(agent, batch, draws, rates)[0].item())
        weight.data = kept
    assert (gradient * direction).sum().item() == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-3, abs=1e-7)
    assert gradient.abs().sum() > 0


@each_recipe
def test_what_is_frozen_stays(build: Any, method: str) -> None:
    improver = build("method.leash=0.1", method=method)
    agent = improver.agent
    before = {name: value.clone() for name, value in agent.state_dict().items()}
    for step in range(4):
        improver.collect(step)
        improver.update(step)
    moved = {name.split(".")[0] for name, value in agent.state_dict().items() if not torch.equal(value, before[name])}
    own = {"reinflow": {"head"}, "fpo": {"averaged"}}
    assert moved == {"tuned", "value"} | own.get(method, set())


def test_the_value_function_alone_learns_at_first(build: Any) -> None:
    improver = build("method.value_warm_up=1")
    assert improver.program is not None
    state = improver.program.state
    for step in range(8):
        before = {part: state[part].clone() for part in ("tuned", "value")}
        improver.collect(step)
        improver.update(step)
        assert not torch.equal(state["value"], before["value"])
        assert torch.equal(state["tuned"], before["tuned"]) == (step < 4)
    assert state["tuned_step"].item() == 4


@pytest.mark.parametrize("method", ["dppo", "reinflow"])
def test_too_far_away_an_iteration_learns_no_further(build: Any, method: str) -> None:
    """Weights, moments and counter stay to the bit, values go on; the next iteration begins anew."""
    improver = build("method.target_kl=1e-5", "method.lr=0.01", method=method)
    assert improver.program is not None
    state, parts = improver.program.state, improver.agent.learned
    names = ["tuned_step", *(f"{part}{one}" for part in parts for one in ("", "_first", "_second"))]
    changed: list[bool] = []
    for step in range(8):
        before, values = {name: state[name].clone() for name in names}, state["value"].clone()
        improver.collect(step)
        found = improver.update(step)
        changed.append(any(not torch.equal(state[name], before[name]) for name in names))
        assert found["open"].item() == changed[-1]
        assert not torch.equal(state["value"], values)
    assert changed == [True, False, False, False] * 2


def test_the_leash_pulls_both_ways_apart(build: Any) -> None:
    """Towards the policy it is the KL at its own states, towards the base what its chains lose in likelihood."""
    found: dict[str, float] = {}
    for direction in ("policy", "base"):
        improver = build("method.leash=1", f"method.leash_direction={direction}")
        agent = improver.agent
        with torch.no_grad():
            for weight in agent.tuned.parameters():
                weight += 0.3 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(1))
        batch, draws, rates = batch_of(improver)
        _, metrics = losses.denoising(agent, batch, draws, rates)
        found[direction] = metrics["leash"].item()
        if direction == "policy":
            k = agent.base.process
            total = 0.0
            for x, step, cond in zip(batch["x"], batch["step"].tolist(), batch["cond"], strict=True):
                mine, _ = k.kernel(agent.tuned, x[None], step, cond[None])
                other, _ = k.kernel(agent.base.network, x[None], step, cond[None])
                normal, wanted = torch.distributions.Normal(mine, 0.1), torch.distributions.Normal(other, 0.1)
                total += torch.distributions.kl_divergence(normal, wanted)[0, :2].mean().item()
            assert found[direction] == pytest.approx(total / len(batch["x"]), rel=1e-3)
        else:
            assert set(draws) == {"leash"}
    assert found["policy"] != pytest.approx(found["base"], rel=1e-3)


@pytest.mark.parametrize(
    ("method", "direction"),
    [(one, way) for one in RECIPES for way in ("policy", "base") if (one, way) != ("fpo", "base")],  # it knows one
)
def test_a_strong_leash_brings_a_policy_back(build: Any, method: str, direction: str) -> None:
    words = ("method.leash=1000", f"method.leash_direction={direction}", "method.lr=3e-3", "method.target_kl=null")
    improver = build(*words, "method.iterations=12", "method.epochs=10", "method.average=0", method=method)
    agent, steps = improver.agent, improver.context.steps
    with torch.no_grad():
        for weight in agent.tuned.parameters():
            weight += 0.03 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(1))
    improver.collect(0)
    first = improver.figures()["kl_to_clone"].item()
    improver.update(0)
    for step in range(1, steps):
        improver.collect(step)
        improver.update(step)
    assert improver.figures()["kl_to_clone"].item() < 0.5 * first, first


def test_rates_of_an_iteration(build: Any) -> None:
    """The leash fades, the noise head's bound is held and then falls, tuned steps come one by one."""
    words = ("method.leash=0.2", "method.leash_until=0.5", "method.iterations=10", "steps=40", "method.progressive=0.6")
    improver = build(*words)
    shared = [improver._shared(step) for step in range(40)]
    assert all(shared[step] == shared[step - step % 4] for step in range(40)), "one for all updates of an iteration"
    assert [shared[4 * i]["leash"] for i in (0, 1, 5, 9)] == pytest.approx([0.2, 0.16, 0.0, 0.0])
    assert [shared[4 * i]["active"] for i in range(10)] == [1, 1, 2, 2, 3, 3, 3, 3, 3, 3]
    head = improver.config.noise_head
    assert shared[4 * 3]["high"] == pytest.approx(head.high)
    assert head.low + 0.3 * (head.high - head.low) < shared[36]["high"] < head.high
    lr = [improver._rates(step)[0][0] for step in (0, 20, 39)]
    assert lr[0] == pytest.approx(1e-4)
    assert lr[0] > lr[1] > lr[2] > 1e-5


def test_only_steps_whose_turn_it_is_learn(build: Any) -> None:
    improver = build("method.progressive=1")
    batch, draws, rates = batch_of(improver)
    assert rates["active"] == 1
    last = batch["step"] == 2
    batch["old"] = torch.where(last, batch["old"], torch.full_like(batch["old"], -3.0))
    loss, _ = losses.denoising(improver.agent, batch, draws, rates)
    assert loss.abs().item() < 5, "others would be far from their old scores"
    assert 0 < last.sum() < len(last)


def test_what_would_follow_a_cut_counts_or_not(build: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of two steps of a limit of ten: every fifth of a slot is cut off, and all that is seen is worth 7."""
    targets: dict[bool, Tensor] = {}
    for bootstrap in (True, False):
        words = (f"method.bootstrap={str(bootstrap).lower()}", "method.scale_rewards=false", "method.discount=0.5")
        improver = build(*words, arguments="limit=10&goal=100")
        monkeypatch.setattr(improver.agent, "values", lambda cond: torch.full((len(cond),), 7.0))
        improver.collect(0)
        targets[bootstrap] = improver.rollout["target"].view(-1, 2).clone()  # (T, B)
    assert targets[True][4] - targets[False][4] == pytest.approx([0.5**2 * 7.0] * 2, rel=1e-5)
