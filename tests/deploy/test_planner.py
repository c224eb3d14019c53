"""The policy's thread: one answer at a time, the newest question first, and its errors come out."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from laminar.deploy.planner import Planner, Request, continuing
from laminar.errors import LaminarError
from laminar.policies import GenerativePolicy
from laminar.policies.acting import Actor
from laminar.policies.continuing import continued, prefix_weights
from laminar.policies.prefix import prefix_for
from laminar.policies.runtimes.accelerate import accelerate


def request(start: float = 0.0, planned: Any = (), delay: int = 0) -> Request:
    return Request({}, start, 1, np.asarray(planned, float).reshape(-1, 2), delay)  # type: ignore[arg-type]


def test_answers_carry_when_they_were_asked_for() -> None:
    planner = Planner(lambda asked: np.full((4, 2), asked.start))
    planner.ask(request(3.0))
    planner.wait(5.0)
    (chunk,) = planner.take()
    assert (chunk.start, chunk.epoch, chunk.actions[0, 0]) == (3.0, 1, 3.0)
    assert planner.take() == []
    assert len(planner.latencies) == 1
    assert planner.usual >= 0
    planner.close()


def test_a_question_that_nobody_has_begun_is_replaced() -> None:
    gate, busy = threading.Event(), threading.Event()

    def slow(asked: Request) -> Any:
        busy.set()
        assert gate.wait(5.0)
        return np.full((1, 2), asked.start)

    planner = Planner(slow)
    planner.ask(request(1.0))
    assert busy.wait(5.0)
    planner.ask(request(2.0))
    planner.ask(request(3.0))
    assert not planner.idle
    gate.set()
    planner.wait(5.0)
    assert [chunk.start for chunk in planner.take()] == [1.0, 3.0]
    planner.close()


def test_waiting_has_an_end() -> None:
    gate = threading.Event()
    planner = Planner(lambda asked: np.full((1, 2), float(gate.wait(5.0))))
    planner.ask(request())
    planner.wait(0.01)
    assert not planner.idle
    gate.set()
    planner.close()


def test_what_a_policy_raises_comes_out_once_and_it_goes_on() -> None:
    def broken(asked: Request) -> Any:
        if asked.start < 1.0:
            raise LaminarError("the policy is out of sorts")
        return np.zeros((1, 2))

    planner = Planner(broken)
    planner.ask(request(0.0))
    planner.wait(5.0)
    with pytest.raises(LaminarError, match="out of sorts"):
        planner.take()
    planner.ask(request(1.0))
    planner.wait(5.0)
    assert len(planner.take()) == 1
    planner.close()


@pytest.mark.parametrize(("left", "delay", "held", "bridged"), [(3, 6, 3, 3), (6, 1, 4, 1), (6, 5, 5, 5)])
def test_a_chunk_is_held_to_what_is_planned_and_to_half_its_length(
    make_policy: Callable[..., GenerativePolicy], left: int, delay: int, held: int, bridged: int
) -> None:
    """Less is left where a chunk takes longer than its share; what is not planned has no weight."""
    policy = make_policy("flow", chunk=8, execute=2)
    actor = Actor(policy)
    shown = {key: np.zeros((1, *one.shape), one.dtype) for key, one in policy.spec.observation.items()}
    windows, planned = actor.observe(shown), np.full((left, policy.spec.action_dim), 0.5)
    noise = torch.randn(1, *policy.noise_shape, generator=torch.Generator().manual_seed(0))
    found = continuing(actor)(Request(windows, 0.0, 1, planned, delay, noise))
    weights = prefix_weights(8, bridged, execute=8 - held)
    wanted = continued(policy, windows, torch.from_numpy(planned[None]), weights, noise)
    np.testing.assert_array_equal(found, wanted[0].double().numpy())


@pytest.mark.parametrize("fast", [False, True])
@pytest.mark.parametrize(
    ("left", "delay", "begun"), [(6, 2, 2), (6, 3, 3), (6, 5, 3), (1, 3, 1), (6, 1, 2), (6, 0, 2), (0, 2, 0)], ids=str
)
def test_a_trained_prefix_is_given_what_is_planned(
    make_policy: Callable[..., GenerativePolicy], left: int, delay: int, begun: int, fast: bool
) -> None:
    """A chunk that takes longer than was trained begins with as many as were: it is late, and of use (elsewhere the arm
    was left without). One that comes in time goes on from two, and the first of all from none."""
    policy = make_policy("meanflow", prefix=3, chunk=8, execute=2)
    actor = Actor(accelerate(policy, "eager") if fast else policy)
    shown = {key: np.zeros((1, *one.shape), one.dtype) for key, one in policy.spec.observation.items()}
    windows, planned = actor.observe(shown), np.linspace(-0.3, 0.4, 2 * left).reshape(left, 2)
    noise = torch.randn(1, *policy.noise_shape, generator=torch.Generator().manual_seed(0))
    found = continuing(actor)(Request(windows, 0.0, 1, planned if left else np.array([]), delay, noise))
    prefix = prefix_for(policy, planned[None], begun)
    wanted = policy.sample(windows, noise, prefix=prefix)[0].double().detach().numpy()
    np.testing.assert_array_equal(found, wanted)
    np.testing.assert_array_equal(found[:begun], planned[:begun].astype(np.float32))
    assert not np.allclose(found[begun], planned[min(begun, left - 1)] if left else 0.0)


def test_a_slow_first_call_is_not_remembered_forever() -> None:
    """Elsewhere the latency of warming up was kept in a running maximum."""
    slow = [True]
    wait = threading.Event()

    def sample(asked: Request) -> Any:
        if slow[0]:
            wait.wait(0.2)
        return np.zeros((1, 2))

    planner = Planner(sample)
    for _ in range(3):
        planner.ask(request())
        planner.wait(5.0)
        slow[0] = False
    planner.forget()
    assert planner.usual < 0.1
    assert planner.latencies == []
    planner.close()
