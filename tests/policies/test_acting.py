"""Acting: history, receding horizon and ensembling against brute force, and what an actor tells of its decisions."""

import copy
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from laminar.data.spec import Spec
from laminar.errors import LaminarError
from laminar.policies import GenerativePolicy, Policy
from laminar.policies.acting import Actor, Decision, History, RecedingHorizon, TemporalEnsemble
from laminar.policies.export.exported import Exported
from laminar.policies.export.write import export
from laminar.policies.runtimes.accelerate import accelerate

MakePolicy = Callable[..., GenerativePolicy]


def observation(slots: int, step: int) -> torch.Tensor:
    return torch.randn(slots, 3, generator=torch.Generator().manual_seed(step))


def chunk_at(step: int, horizon: int, slot: int = 0) -> torch.Tensor:
    """A chunk that tells when it was planned and which action it is: (H, 2)."""
    return torch.tensor([[100.0 * slot + step, float(ahead)] for ahead in range(horizon)])


@pytest.mark.parametrize(("horizon", "execute"), [(1, 1), (2, 1), (2, 2), (4, 1), (4, 2), (4, 4)])
def test_receding_horizon_starts_at_the_current_action(horizon: int, execute: int) -> None:
    queue = RecedingHorizon(execute)
    for step in range(9):
        due = queue.due(1)
        assert due.tolist() == [step % execute == 0]
        if due[0]:
            queue.push(chunk_at(step, horizon)[None], due)
        planned = step - step % execute
        assert queue.pop()[0].tolist() == [planned, step - planned]


def test_slots_are_independent_under_resets() -> None:
    """A slot that is reset plans at once; its neighbors go on with their chunks."""
    rng = np.random.default_rng(0)
    slots, horizon, execute = 3, 5, 3
    queue = RecedingHorizon(execute)
    planned = [None] * slots
    for step in range(40):
        mask = rng.random(slots) < 0.2
        queue.reset(mask)
        planned = [None if reset else start for reset, start in zip(mask.tolist(), planned, strict=True)]
        wanted = [start is None or step - start >= execute for start in planned]
        due = queue.due(slots)
        assert due.tolist() == wanted
        if any(wanted):
            queue.push(torch.stack([chunk_at(step, horizon, s) for s in range(slots) if due[s]]), due)
            planned = [step if is_due else start for is_due, start in zip(wanted, planned, strict=True)]
        expected = [[100.0 * s + planned[s], step - planned[s]] for s in range(slots)]
        assert queue.pop().tolist() == expected


@pytest.mark.parametrize("decay", [0.0, 0.1, 1.0])
def test_temporal_ensemble_against_the_definition(decay: float) -> None:
    """Weights exp(-decay * i) over the predictions of this moment, i = 0 for the oldest (ACT, section 4)."""
    rng = np.random.default_rng(1)
    slots, horizon = 2, 4
    ensemble = TemporalEnsemble(decay)
    history: list[list[torch.Tensor]] = [[] for _ in range(slots)]
    for _ in range(20):
        mask = rng.random(slots) < 0.15
        ensemble.reset(mask)
        history = [[] if reset else past for reset, past in zip(mask.tolist(), history, strict=True)]
        assert ensemble.due(slots).all()
        chunks = torch.tensor(rng.normal(size=(slots, horizon, 2)))
        ensemble.push(chunks, np.ones(slots, bool))
        got = ensemble.pop()
        for slot in range(slots):
            history[slot] = [*history[slot], chunks[slot]][-horizon:]
            oldest_first = history[slot]
            votes = torch.stack([c[len(oldest_first) - 1 - i] for i, c in enumerate(oldest_first)])
            weights = torch.exp(-decay * torch.arange(len(votes), dtype=torch.float64))
            torch.testing.assert_close(got[slot], (weights[:, None] * votes).sum(0) / weights.sum())


def test_history_repeats_the_first_observation_of_each_episode() -> None:
    history = History(3)
    first = history.push({"x": torch.tensor([[1.0], [10.0]])})["x"]
    assert first[..., 0].tolist() == [[1, 1, 1], [10, 10, 10]]
    history.push({"x": torch.tensor([[2.0], [20.0]])})
    history.reset(np.array([False, True]))
    window = history.push({"x": torch.tensor([[3.0], [30.0]])})["x"]
    assert window[..., 0].tolist() == [[1, 2, 3], [30, 30, 30]]
    history.reset()
    assert history.push({"x": torch.tensor([[4.0]])})["x"][..., 0].tolist() == [[4, 4, 4]]


def test_act_executes_the_chunk_that_sample_gives(make_policy: MakePolicy) -> None:
    torch.manual_seed(0)
    policy = make_policy("meanflow", history=2, chunk=4, execute=3)
    noise = torch.randn(2, 4, 2, generator=torch.Generator().manual_seed(0))
    obs = [torch.randn(2, 3, generator=torch.Generator().manual_seed(s)) for s in range(4)]
    actions = [policy.act(o, noise=noise) for o in obs]
    first = policy.sample(torch.stack([obs[0], obs[0]], dim=1), noise)
    fourth = policy.sample(torch.stack([obs[2], obs[3]], dim=1), noise)
    torch.testing.assert_close(torch.stack(actions[:3], dim=1), first[:, :3])
    torch.testing.assert_close(actions[3], fourth[:, 0])
    policy.reset(torch.tensor([True, False]))
    again = policy.act(obs[0], noise=noise)
    torch.testing.assert_close(again[0], first[0, 0])
    torch.testing.assert_close(again[1], fourth[1, 1])


@pytest.mark.parametrize("kind", [np.bool_, np.int64, np.uint8, torch.bool, torch.int32, list])
def test_whole_numbers_and_truths_are_observations(make_policy: MakePolicy, kind: Any) -> None:
    policy = make_policy("meanflow", history=2)
    noise = torch.zeros(2, *(policy.noise_shape or ()))
    truths = [[True, False, True], [False, False, True]]
    given: Any = truths if kind is list else torch.tensor(truths)
    if kind is not list:
        given = given.to(kind) if isinstance(kind, torch.dtype) else given.numpy().astype(kind)
    acted = policy.act(given, noise)
    policy.reset()
    torch.testing.assert_close(torch.as_tensor(acted), policy.act(torch.tensor(truths).float(), noise))
    assert isinstance(acted, torch.Tensor) == isinstance(given, torch.Tensor), "as it was given"


def test_ensembling_policy_acts(make_policy: MakePolicy) -> None:
    policy = make_policy("flow", chunk=4, ensemble=0.01)
    for _ in range(6):
        assert policy.act(torch.zeros(3, 3)).shape == (3, 2)


@pytest.mark.parametrize(
    ("obs", "message"),
    [
        (
            torch.tensor([[0.0, 0.0, 0.0], [0.0, np.nan, 0.0]]),
            r"'observation' of robot 1 is not finite \(nan at \(1,\)\)",
        ),
        (torch.zeros(1, 4), r"'observation' has shape \(4,\), expected \(3,\)"),
        ({"state": torch.zeros(1, 3)}, r"'observation' is missing \(got \['state'\]\)"),
        ({"observatoin": torch.zeros(1, 3)}, "'observation' is missing .*did you mean 'observatoin'"),
        (
            {"observation": torch.zeros(1, 3), "camera": torch.zeros(1, 3)},
            r"has no observation 'camera' \(it has \['observation'\]\)",
        ),
        (torch.zeros(()), "needs 2 axes"),
        (torch.zeros(3), r"of 1 robots, the last one was of 2; call reset\(\)"),
        ({}, "the observation is empty"),
        (torch.zeros(3, 3), r"of 3 robots, the last one was of 2; call reset\(\)"),
    ],
)
@pytest.mark.parametrize("history", [1, 2])
def test_bad_observations_are_told_and_forgotten(
    make_policy: MakePolicy, obs: object, message: str, history: int
) -> None:
    policy = make_policy("flow", history=history, chunk=4, execute=2)
    spoiled, sane = Actor(policy), Actor(policy)
    for step in range(4):
        noise = torch.randn(2, 4, 2, generator=torch.Generator().manual_seed(step))
        assert torch.equal(spoiled.act(observation(2, step), noise), sane.act(observation(2, step), noise))
        with pytest.raises(LaminarError, match=message):
            spoiled.act(obs, noise)
        spoiled.reset(np.array([False, True]))
        sane.reset(np.array([False, True]))


def test_act_refuses_another_number_of_robots(make_policy: MakePolicy) -> None:
    policy = make_policy("flow", history=2)
    policy.act(torch.zeros(2, 3))
    with pytest.raises(LaminarError, match=r"of 3 robots, the last one was of 2; call reset\(\)"):
        policy.act(torch.zeros(3, 3))
    policy.reset()
    assert policy.act(torch.zeros(3, 3)).shape == (3, 2)


def test_sample_checks_the_history(make_policy: MakePolicy) -> None:
    policy = make_policy("flow", history=2)
    with pytest.raises(LaminarError, match="expected a history of 2"):
        policy.sample(torch.zeros(5, 3, 3))


@pytest.mark.parametrize("settings", [{"execute": 2}, {"execute": 3, "history": 3}, {"ensemble": 0.1, "history": 2}])
def test_a_decision_tells_all_that_its_chunk_was_made_of(make_policy: MakePolicy, settings: dict) -> None:
    """Slots, windows and noise against brute force, with resets of single slots; the chunk is theirs to the bit."""
    torch.manual_seed(0)
    policy = make_policy("meanflow", chunk=4, **settings).eval()
    rng, slots, length = np.random.default_rng(0), 3, policy.spec.history
    actor = Actor(policy, torch.Generator().manual_seed(5))
    seen: list[list[torch.Tensor]] = [[] for _ in range(slots)]
    left = [0] * slots
    for step in range(25):
        mask = rng.random(slots) < 0.2
        actor.reset(mask)
        obs = observation(slots, step)
        for slot in range(slots):
            past = [] if mask[slot] else seen[slot]
            seen[slot] = ([*past, obs[slot]] if past else [obs[slot]] * length)[-length:]
            left[slot] = 0 if mask[slot] or policy.spec.ensemble is not None else left[slot]
        decision = actor.decide(obs)
        due = [count == 0 for count in left]
        assert (decision is not None) == any(due)
        if decision is not None:
            assert decision.slots.tolist() == due
            windows = torch.stack([torch.stack(seen[slot]) for slot in range(slots) if due[slot]])
            assert torch.equal(decision.windows["observation"], windows)
            assert decision.noise is not None
            assert decision.noise.shape == (sum(due), 4, 2)
            with torch.no_grad():
                assert torch.equal(decision.chunk, policy.sample(windows, decision.noise))
            left = [policy.spec.execute if is_due else count for is_due, count in zip(due, left, strict=True)]
        assert actor.pop().shape == (slots, 2)
        left = [count - 1 for count in left]


@pytest.mark.parametrize("settings", [{"execute": 3, "history": 2}, {"ensemble": 0.1}])
def test_the_parts_give_the_actions_of_the_whole(make_policy: MakePolicy, settings: dict) -> None:
    """`plan` may run elsewhere: it changes nothing, however often it is asked."""
    torch.manual_seed(0)
    policy = make_policy("flow", chunk=4, **settings)
    whole, parts = Actor(policy), Actor(policy)
    rng = np.random.default_rng(1)
    for step in range(20):
        obs, noise = observation(2, step), torch.randn(2, 4, 2, generator=torch.Generator().manual_seed(step))
        mask = rng.random(2) < 0.2
        whole.reset(mask)
        parts.reset(mask)
        windows = parts.observe(obs.clone().requires_grad_())
        assert not windows["observation"].requires_grad, "a history must not grow a tape"
        slots = parts.due()
        if slots.any():
            plans = [parts.plan(windows, slots, noise) for _ in range(2)]
            assert torch.equal(plans[0].chunk, plans[1].chunk)
            assert not plans[0].chunk.requires_grad
            assert (parts.due() == slots).all()
            parts.take(plans[0])
        assert torch.equal(parts.pop(), whole.act(obs, noise))


def test_a_chunk_may_be_taken_later_than_it_was_planned(make_policy: MakePolicy) -> None:
    """While the next one is planned, the last one's actions beyond `execute` go on."""
    policy = make_policy("flow", chunk=4, execute=2)
    actor, noise = Actor(policy), torch.ones(1, 4, 2)
    first = actor.plan(actor.observe(observation(1, 0)), actor.due(), noise)
    actor.take(first)
    popped = [actor.pop(), actor.pop()]
    second = actor.plan(actor.observe(observation(1, 1)), actor.due(), noise)
    popped.append(actor.pop())
    actor.take(second)
    popped.append(actor.pop())
    wanted = torch.cat([first.chunk[:, :3], second.chunk[:, :1]], dim=1)
    assert torch.equal(torch.stack(popped, dim=1), wanted)


@pytest.mark.parametrize("history", [1, 3])
@pytest.mark.parametrize("kind", ["numpy", "tensor"])
def test_memory_that_its_owner_writes_to_again(make_policy: MakePolicy, history: int, kind: str) -> None:
    policy = make_policy("flow", history=history, chunk=4, execute=2)
    reused, fresh = Actor(policy), Actor(policy)
    buffer = np.zeros((2, 3), np.float32) if kind == "numpy" else torch.zeros(2, 3)
    kept: list[tuple[Decision, torch.Tensor, torch.Tensor]] = []
    for step in range(6):
        noise = torch.randn(2, 4, 2, generator=torch.Generator().manual_seed(step))
        buffer[:] = observation(2, step).numpy() if kind == "numpy" else observation(2, step)
        decision, wanted = reused.decide(buffer, noise), fresh.decide(observation(2, step), noise)
        buffer[:] = 1e6
        assert (decision is None) == (wanted is None)
        if decision is not None and wanted is not None:
            kept.append((decision, wanted.windows["observation"].clone(), wanted.chunk.clone()))
        actions = reused.pop()
        assert torch.equal(actions, fresh.pop())
        actions[:] = 1e6  # an action is its receiver's own
    for decision, windows, chunk in kept:
        assert torch.equal(decision.windows["observation"], windows)
        assert torch.equal(decision.chunk, chunk)


@pytest.mark.parametrize("mask", [np.array([True, False]), torch.tensor([True, False]), [True, False]], ids=type)
def test_a_mask_of_any_kind(make_policy: MakePolicy, mask: object) -> None:
    policy = make_policy("flow", history=2, chunk=4, execute=4)
    actor, noise = Actor(policy), torch.ones(2, 4, 2)
    actor.reset(mask)  # before anything is known of the slots
    actor.act(observation(2, 0), noise)
    actor.reset(mask)
    decision = actor.decide(observation(2, 1), noise)
    assert decision is not None
    assert decision.slots.tolist() == [True, False]
    assert torch.equal(decision.windows["observation"], observation(2, 1)[:1, None].expand(1, 2, 3))


@pytest.mark.parametrize("mask", [[True], np.ones(3, bool), np.array([0, 1]), torch.tensor([1.0, 0.0]), True])
def test_what_is_no_mask(make_policy: MakePolicy, mask: object) -> None:
    """Numbers of slots would be read as truth values, and other slots be reset than are meant."""
    actor = Actor(make_policy("flow"))
    actor.act(torch.zeros(2, 3))
    with pytest.raises(LaminarError, match=r"reset takes one True or False for each of the 2 slots, got shape"):
        actor.reset(mask)
    assert actor.act(torch.zeros(2, 3)).shape == (2, 2)


class Still:
    """A scripted baseline: it answers with the newest observation, three steps long."""

    noise_shape = None

    def __init__(self, spec: Spec) -> None:
        self.spec = replace(spec, history=2, chunk=3, execute=2)
        self.calls = 0

    def sample(self, obs: Mapping[str, torch.Tensor], noise: torch.Tensor | None = None) -> torch.Tensor:
        assert noise is None
        self.calls += 1
        return obs["observation"][:, -1:, :2].repeat(1, 3, 1)


def test_a_baseline_without_noise(make_policy: MakePolicy) -> None:
    baseline = Still(make_policy().spec)
    assert isinstance(baseline, Policy)
    actor = Actor(baseline)
    decision = actor.decide(observation(2, 0))
    assert decision is not None
    assert decision.noise is None
    assert actor.decide(observation(2, 1)) is None, "there is a chunk that nothing of was executed"
    actions = [actor.pop(), actor.pop(), actor.act(observation(2, 2))]
    assert torch.equal(torch.stack(actions), torch.stack([observation(2, step)[:, :2] for step in (0, 0, 2)]))
    assert baseline.calls == 2


def test_an_accelerated_policy_acts(make_policy: MakePolicy) -> None:
    policy = make_policy("meanflow", history=2, chunk=4, execute=3).eval()
    fast, plain = Actor(accelerate(policy, "eager", batch=(1, 3))), Actor(policy)
    for step in range(8):
        noise = torch.randn(3, 4, 2, generator=torch.Generator().manual_seed(step))
        for actor in (fast, plain):
            actor.reset(np.array([step == 4, False, False]))
        torch.testing.assert_close(fast.act(observation(3, step), noise), plain.act(observation(3, step), noise))


def test_an_exported_policy_acts(make_policy: MakePolicy, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    policy = make_policy("meanflow", history=2, chunk=4, execute=3).eval()
    exported, plain = Actor(Exported(export(policy, tmp_path / "onnx", batch=2))), Actor(policy)
    for step in range(8):
        noise = torch.randn(2, 4, 2, generator=torch.Generator().manual_seed(step))
        for actor in (exported, plain):
            if step == 4:
                actor.reset()
        torch.testing.assert_close(exported.act(observation(2, step), noise), plain.act(observation(2, step), noise))


def test_a_copy_acts_on_its_own(make_policy: MakePolicy) -> None:
    policy = make_policy("flow", chunk=4, execute=4)
    noise = torch.ones(2, 4, 2)
    first = policy.act(observation(2, 0), noise)
    twin = copy.deepcopy(policy)
    assert torch.equal(twin.act(observation(2, 0), noise), first), "it begins with a plan of its own"
    assert twin.act(observation(2, 1)).shape == (2, 2)
    assert torch.equal(policy.act(observation(2, 1)), policy.sample(observation(2, 0), noise).detach()[:, 1])
    assert copy.deepcopy(twin).act(torch.zeros(5, 3)).shape == (5, 2), "another number of robots"


def test_acting_in_and_out_of_inference_mode(make_policy: MakePolicy) -> None:
    for settings in ({"execute": 2}, {"ensemble": 0.1}):
        policy = make_policy("flow", history=2, chunk=4, **settings)
        for step in range(6):
            with torch.inference_mode(step % 3 == 0):
                assert policy.act(observation(2, step)).shape == (2, 2)
                policy.reset(np.array([step == 3, False]))


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"chunk": 2, "execute": 3}, "policy.execute=3 is more than policy.chunk=2"), ({"history": 0}, "policy.history")],
)
def test_bad_policy_settings(make_policy: MakePolicy, settings: dict, message: str) -> None:
    with pytest.raises(LaminarError, match=message):
        make_policy("flow", **settings)


@pytest.mark.parametrize("settings", [{"history": 3, "chunk": 4, "execute": 3}, {"chunk": 3, "ensemble": 0.1}])
def test_an_actor_goes_on_from_its_state(make_policy: MakePolicy, settings: dict) -> None:
    policy = make_policy("flow", "mlp", **settings).eval()
    first, second = (Actor(policy, torch.Generator().manual_seed(0)) for _ in range(2))
    for step in range(5):
        first.act(observation(2, step))
        first.reset(np.array([step == 3, False]))
    state = {name: value.clone() for name, value in first.state().items()}
    second.load_state(state)
    second.generator.set_state(first.generator.get_state())
    for step in range(5, 12):
        assert torch.equal(first.act(observation(2, step)), second.act(observation(2, step)))


@pytest.mark.parametrize("settings", [{"chunk": 4, "execute": 2}, {"chunk": 3, "ensemble": 0.1}])
def test_no_action_of_an_episode_that_is_over(make_policy: MakePolicy, settings: dict) -> None:
    actor = Actor(make_policy("flow", "mlp", **settings).eval())
    actor.act(observation(2, 0))
    actor.reset(np.array([True, False]))
    with pytest.raises(LaminarError, match="a slot has no action left"):
        actor.pop()


def test_a_chunk_lasts_while_the_next_one_is_late(make_policy: MakePolicy) -> None:
    actor = Actor(make_policy("flow", "mlp", chunk=4, execute=2).eval())
    decision = actor.decide(observation(1, 0))
    actions = [actor.pop() for _ in range(4)]
    assert torch.equal(torch.stack(actions, dim=1), decision.chunk)
    assert actor.due().all()
    with pytest.raises(LaminarError, match="a slot has no action left"):
        actor.pop()


def test_windows_are_given_away(make_policy: MakePolicy) -> None:
    """A learner may change what a decision was made from; the history stays as it was."""
    policy = make_policy("flow", "mlp", history=2).eval()
    first, second = Actor(policy), Actor(policy)
    for actor in (first, second):
        decision = actor.decide(observation(1, 0))
    decision.windows["observation"].zero_()
    assert torch.equal(
        first.observe(observation(1, 1))["observation"], second.observe(observation(1, 1))["observation"]
    )


def test_one_generator_for_all_that_a_policy_draws(make_policy: MakePolicy) -> None:
    policy = make_policy("diffusion", "mlp", {"solver": "ddpm", "steps": 3, "levels": 3}).eval()
    actions = [Actor(policy, torch.Generator().manual_seed(0)).act(observation(2, 0)) for _ in range(2)]
    assert torch.equal(*actions)
