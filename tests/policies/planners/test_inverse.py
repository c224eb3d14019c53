"""The inverse model: learned on a linear system, and the actions of plans inside of their limits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from laminar.data.episodes import Episodes
from laminar.data.plan_windows import PlanWindows
from laminar.data.spec import Feature, Spec
from laminar.policies.planners import Planner
from laminar.policies.planners.config import InverseConfig
from laminar.policies.planners.inverse import pairs, sees

Make = Callable[..., Planner]
PUSH = np.array([[0.5, 0.1], [-0.2, 0.4]], np.float32)


def linear(steps: int = 300) -> Episodes:
    """Return one episode of s' = s + B a; actions come in pairs, so that of two steps each is known."""
    rng = np.random.default_rng(0)
    action = np.repeat(rng.uniform(-1, 1, (steps // 2, 2)), 2, axis=0).astype(np.float32)
    state = np.concatenate((np.zeros((1, 2)), np.cumsum(action @ PUSH.T, axis=0))).astype(np.float32)
    return Episodes(
        observation={"observation": state[:-1]},
        final_observation={"observation": state[-1:]},
        action=action,
        reward=np.zeros(steps, np.float32),
        terminated=np.zeros(steps, bool),
        truncated=np.arange(steps) == steps - 1,
        ends=np.array([steps]),
        spec=Spec({"observation": Feature((2,))}, Feature((2,)), (-1.0, -1.0), (1.0, 1.0)),
    )


@pytest.mark.parametrize(("process", "stride", "most"), [("direct", 1, 0.03), ("direct", 2, 0.08), ("flow", 1, 0.15)])
def test_it_learns_a_linear_system(make_planner: Make, process: str, stride: int, most: float) -> None:
    recorded = linear()
    planner = make_planner(
        recorded=recorded,
        judge=False,
        stride=stride,
        inverse=InverseConfig(process=process, steps=5, width=64, depth=2),
    )
    windows = PlanWindows(recorded, ["observation"], 6, stride, 0.99)
    inverse, generator = planner.inverse, torch.Generator().manual_seed(0)
    assert inverse is not None
    starts = torch.arange(0, len(windows), stride)
    optimizer = torch.optim.Adam(inverse.parameters(), lr=3e-3)
    for _ in range(300):
        index = starts[torch.randint(len(starts), (64,), generator=generator)]
        loss, _ = inverse.loss(pairs(windows.gather(index), 1), generator)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    batch = windows.gather(starts[:100])
    found = planner.between(batch["state"][:, 0], batch["state"][:, 1])
    assert found.shape == (100, stride, 2)
    error = (found - batch["action"][:, 0]).abs().mean().item()
    assert error < most
    plan = batch["state"][:, :3]  # of two segments, of which a chunk has the first four actions
    torch.testing.assert_close(planner.acted(batch["state"])[:, :stride], found)
    if stride == 2:
        second = planner.between(plan[:, 1], plan[:, 2])
        torch.testing.assert_close(planner.acted(batch["state"])[:, 2:4], second)


def test_pairs_are_spread_over_a_window_and_inside_of_its_episode() -> None:
    windows = PlanWindows(replace(linear(10)), ["observation"], 5, 2, 0.99, rest=True)
    batch = windows.gather(torch.arange(len(windows)))
    found = pairs(batch, 3)
    states = found["observation"]
    whole = np.concatenate((linear(10).observation["observation"], linear(10).final_observation["observation"]))
    for row in range(len(windows)):
        for index, segment in enumerate((0, 1, 3)):
            first = row + 2 * segment if row + 2 * segment < 10 else row
            at = 3 * row + index
            np.testing.assert_allclose(states["state"][at, 0], whole[first], atol=1e-6)
            np.testing.assert_allclose(states["change"][at, 0], whole[min(first + 2, 10)] - whole[first], atol=1e-6)
            assert found["mask"][at].tolist() == [first < 10, first + 1 < 10]
    assert found["mask"][:, 0].all()


def test_actions_of_plans_stay_inside_their_limits(make_planner: Make) -> None:
    own = make_planner(actions=True, judge=False, stride=2, horizon=4)
    tokens = torch.zeros(2, 4, own.layout.token_dim)
    tokens[:, :, 4:] = torch.linspace(-3, 3, 4)
    acted = own.acted(tokens)
    assert torch.equal(acted[0, :2], torch.tensor([[-1.0, -1.0], [1.0, 1.0]]))
    assert torch.equal(acted, own.layout.planned_actions(tokens)[:, :4].clamp(-1, 1))
    planner = make_planner(judge=False)
    far: Any = 100 * torch.randn(50, 6, 4, generator=torch.Generator().manual_seed(0))
    assert planner.acted(far).abs().max() <= 1
    assert set(sees(far[:, 0], far[:, 1])) == {"state", "change"}
