"""Receding horizon, temporal ensembling and history against brute force, slots reset at random."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from laminar.errors import LaminarError
from laminar.policies import GenerativePolicy
from laminar.policies.acting import History, RecedingHorizon, TemporalEnsemble


def chunk_at(step: int, horizon: int, slot: int = 0) -> torch.Tensor:
    """A chunk that tells when it was planned and which action it is: (H, 2)."""
    return torch.tensor([[100.0 * slot + step, float(ahead)] for ahead in range(horizon)])


@pytest.mark.parametrize(("horizon", "execute"), [(1, 1), (2, 1), (2, 2), (4, 1), (4, 2), (4, 4)])
def test_receding_horizon_starts_at_the_current_action(horizon: int, execute: int) -> None:
    queue = RecedingHorizon(execute)
    for step in range(9):
        wants = queue.wants(1)
        assert bool(wants[0]) == (step % execute == 0)
        if wants[0]:
            queue.push(chunk_at(step, horizon)[None], wants)
        planned = step - step % execute
        assert queue.pop()[0].tolist() == [planned, step - planned]


def test_slots_are_independent_under_resets() -> None:
    """A slot that is reset plans at once; its neighbors go on with their chunks."""
    rng = np.random.default_rng(0)
    slots, horizon, execute = 3, 5, 3
    queue = RecedingHorizon(execute)
    planned = [None] * slots
    for step in range(40):
        mask = torch.tensor(rng.random(slots) < 0.2)
        queue.reset(mask)
        planned = [None if reset else start for reset, start in zip(mask.tolist(), planned, strict=True)]
        due = [start is None or step - start >= execute for start in planned]
        wants = queue.wants(slots)
        assert wants.tolist() == due
        if any(due):
            queue.push(torch.stack([chunk_at(step, horizon, s) for s in range(slots) if due[s]]), wants)
            planned = [step if is_due else start for is_due, start in zip(due, planned, strict=True)]
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
        mask = torch.tensor(rng.random(slots) < 0.15)
        ensemble.reset(mask)
        history = [[] if reset else past for reset, past in zip(mask.tolist(), history, strict=True)]
        assert ensemble.wants(slots).all()
        chunks = torch.tensor(rng.normal(size=(slots, horizon, 2)))
        ensemble.push(chunks, torch.ones(slots, dtype=torch.bool))
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
    history.reset(torch.tensor([False, True]))
    window = history.push({"x": torch.tensor([[3.0], [30.0]])})["x"]
    assert window[..., 0].tolist() == [[1, 2, 3], [30, 30, 30]]
    history.reset()
    assert history.push({"x": torch.tensor([[4.0]])})["x"][..., 0].tolist() == [[4, 4, 4]]


def test_act_executes_the_chunk_that_sample_gives(make_policy: Callable[..., GenerativePolicy]) -> None:
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


def test_ensembling_policy_acts(make_policy: Callable[..., GenerativePolicy]) -> None:
    policy = make_policy("flow", chunk=4, ensemble=0.01)
    for _ in range(6):
        assert policy.act(torch.zeros(3, 3)).shape == (3, 2)


def test_act_refuses_bad_observations(make_policy: Callable[..., GenerativePolicy]) -> None:
    policy = make_policy("flow")
    with pytest.raises(LaminarError, match="'observation' is not finite"):
        policy.act(torch.tensor([[0.0, float("nan"), 0.0]]))
    with pytest.raises(LaminarError, match=r"'observation'.*shape"):
        policy.act(torch.zeros(1, 4))
    with pytest.raises(LaminarError, match=r"missing \['observation'\], extra \['state'\]"):
        policy.act({"state": torch.zeros(1, 3)})
    with pytest.raises(LaminarError, match="needs 2 axes"):
        policy.act(torch.zeros(3))


def test_act_refuses_another_number_of_robots(make_policy: Callable[..., GenerativePolicy]) -> None:
    policy = make_policy("flow", history=2)
    policy.act(torch.zeros(2, 3))
    with pytest.raises(LaminarError, match=r"of 3 robots, the last one was of 2; call reset\(\)"):
        policy.act(torch.zeros(3, 3))
    policy.reset()
    assert policy.act(torch.zeros(3, 3)).shape == (3, 2)


def test_sample_checks_the_history(make_policy: Callable[..., GenerativePolicy]) -> None:
    policy = make_policy("flow", history=2)
    with pytest.raises(LaminarError, match="expected a history of 2"):
        policy.sample(torch.zeros(5, 3, 3))


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"chunk": 2, "execute": 3}, "policy.execute=3 is more than policy.chunk=2"), ({"history": 0}, "policy.history")],
)
def test_bad_policy_settings(make_policy: Callable[..., GenerativePolicy], settings: dict, message: str) -> None:
    with pytest.raises(LaminarError, match=message):
        make_policy("flow", **settings)
