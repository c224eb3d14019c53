"""What is known of a plan is seen as it is by whoever is asked on the way, and stands in the result: to the bit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from laminar.policies import PROCESSES
from laminar.policies.planners import Planner
from laminar.policies.planners.inpainting import ClassifierFree, Inpainted
from laminar.policies.planners.plans import Plans

Make = Callable[..., Planner]
CASES: list[tuple[str, dict[str, Any]]] = [
    *(("diffusion", {"prediction": prediction}) for prediction in ("epsilon", "data", "velocity")),
    *(("diffusion", {"solver": solver}) for solver in ("ddpm", "dpmpp_1", "dpmpp_2s", "dpmpp_2m", "unipc")),
    *(("flow", {"solver": solver}) for solver in ("euler", "heun", "unipc")),
    *(("meanflow", {"steps": steps}) for steps in (1, 3)),
]


def seen_of(planner: Planner, rows: int = 3) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    spec = planner.spec.observation
    return {key: 3 + torch.randn(rows, *one.shape, generator=generator) for key, one in spec.items()}


class Recording(torch.nn.Module):
    """Stands in front of the network inside an inpainted one, and keeps what it is called with."""

    def __init__(self, inner: Any) -> None:
        super().__init__()
        self.inner, self.calls = inner, []

    def forward(self, x: Tensor, times: Tensor, cond: Tensor) -> Tensor:
        self.calls.append(x.clone())
        return self.inner(x, times, cond)


def recorded(plans: Plans) -> tuple[Recording, Inpainted]:
    known: Any = plans.network
    recording = known.inner = Recording(known.inner)
    return recording, known


@pytest.mark.parametrize("goals", [False, True])
@pytest.mark.parametrize(("process", "settings"), CASES, ids=str)
def test_known_numbers_are_kept_to_the_bit(
    make_planner: Make, process: str, settings: dict[str, Any], goals: bool
) -> None:
    planner = make_planner(process, settings=settings, goals=goals, actions=True)
    plans = planner.plans
    recording, known = recorded(plans)
    cond = planner.encode(planner.windows(seen_of(planner)))
    noise = torch.randn(3, *plans.noise_shape)
    with torch.no_grad():
        result = plans.process.sample(plans.network, noise, cond)
    wanted = known.keep(torch.zeros_like(noise), cond)
    assert known.known.sum() == 4 + 2 * goals
    assert len(recording.calls) >= plans.process.num_steps
    for x in recording.calls:
        assert torch.equal(x[:, known.known], wanted[:, known.known])
        assert not torch.equal(x[:, ~known.known], wanted[:, ~known.known])
    raw = plans.to_raw(known.keep(result, cond))
    assert torch.equal(plans.decode(cond, noise), raw) or settings.get("solver") == "ddpm"
    state = seen_of(planner)
    torch.testing.assert_close(raw[:, 0, :4], state["observation"], rtol=1e-5, atol=1e-5)
    if goals:
        torch.testing.assert_close(raw[:, -1, :2], state["goal"], rtol=1e-5, atol=1e-5)
    if plans.process.predicts_data:  # what leads to the known numbers arrives there also before they are put in
        torch.testing.assert_close(result[:, known.known], wanted[:, known.known], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("process", "settings"), CASES, ids=str)
def test_output_is_what_leads_to_the_data(process: str, settings: dict[str, Any]) -> None:
    """Of clean data the inverse of what the process takes for them, and what it is to learn."""
    settings = {"clip": None, **settings} if process == "diffusion" else settings
    made = PROCESSES.member_class(process)(PROCESSES.config_class(process)(**settings))
    generator = torch.Generator().manual_seed(0)
    data = torch.randn(5, 4, 3, generator=generator)
    draws = made.draw(data, generator)
    calls: list[tuple[Tensor, Tensor]] = []

    def network(x: Tensor, times: Tensor, cond: Tensor) -> Tensor:
        calls.append((x, times))
        return made.output(x, times, data)

    network.jvp = lambda x, *_: (x, torch.zeros_like(x))  # type: ignore[attr-defined]  # du/dt = 0
    said, wanted = made.regression(network, data, torch.zeros(5, 1, 1), draws)  # type: ignore[arg-type]
    torch.testing.assert_close(said, wanted, rtol=1e-3, atol=1e-3)
    if made.denoises:
        x, times = calls[0]
        torch.testing.assert_close(made.denoise(network, x, times[:, :1], data), data, rtol=1e-3, atol=1e-3)  # type: ignore


@pytest.fixture
def inpainted(make_planner: Make) -> tuple[Inpainted, Tensor]:
    """Return an inpainted network of two times, and a condition."""
    planner = make_planner("meanflow", goals=True)
    known: Any = planner.plans.network
    return known, planner.encode(planner.windows(seen_of(planner))).detach()


def test_the_derivative_is_that_of_forward(inpainted: tuple[Inpainted, Tensor]) -> None:
    known, cond = inpainted
    x, dx = torch.randn(3, 6, 4), torch.randn(3, 6, 4)
    times, dt = 0.2 + 0.5 * torch.rand(3, 2), torch.ones(3, 2)
    value, slope = known.jvp(x, times, cond, dx, dt)
    wanted, along = torch.func.jvp(lambda x, times: known.inner(known.keep(x, cond), times, cond[..., :6]), (x, times),
                                   (dx, dt))  # fmt: skip
    free = ~known.known
    torch.testing.assert_close(value, known(x, times, cond))
    torch.testing.assert_close(slope[:, free], along[:, free])
    torch.testing.assert_close(value[:, free], wanted[:, free])
    assert (slope[:, known.known] == 0).all(), "a velocity that leads to known numbers is the same all the way"


def test_conditions_and_body_are_forward(inpainted: tuple[Inpainted, Tensor]) -> None:
    known, cond = inpainted
    x, times = torch.randn(3, 6, 4), torch.tensor([[0.9, 0.3], [0.4, 0.4]])
    for row, condition in zip(times, known.conditions(times, cond), strict=True):
        torch.testing.assert_close(known.body(x, condition), known(x, row.expand(3, -1), cond))


@pytest.mark.parametrize("jacobian", ["identity", "exact"])
@pytest.mark.parametrize("process", ["diffusion", "flow"])
def test_a_guide_sees_the_known_numbers(
    make_planner: Make, process: str, jacobian: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    planner = make_planner(process, candidates=2, guidance="gradient", jacobian=jacobian)
    known: Any = planner.plans.network
    seen: list[Tensor] = []
    judge = type(planner.base._judge)  # type: ignore[union-attr]
    gradient = judge.gradient

    def watched(self: Any, cond: Tensor, data: Tensor) -> Tensor:
        seen.append(data.detach().clone())
        return gradient(self, cond, data)

    monkeypatch.setattr(judge, "gradient", watched)
    cond = planner.encode(planner.windows(seen_of(planner)))
    planner.planned(cond, torch.randn(3, *planner.noise_shape))
    wanted = known.keep(torch.zeros(6, 6, 4), cond.repeat_interleave(2, dim=0))
    assert len(seen) == 3
    for data in seen:
        torch.testing.assert_close(data[:, known.known], wanted[:, known.known], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("weight", [0.0, 1.0, 2.0])
@pytest.mark.parametrize("process", ["diffusion", "flow", "meanflow"])
def test_classifier_free_weights_are_the_formula(make_planner: Make, process: str, weight: float) -> None:
    """Every call says w (with the return) + (1 - w) (without it), by two calls."""
    planner = make_planner(process, returns=True, judge=False, weight=weight, target_return=20.0)
    plans, seen = planner.plans, seen_of(planner)
    told = planner.encode(planner.windows(seen))
    untold = plans.encode({**planner.windows(seen), "return_to_go": torch.zeros(3, 1, 2)})
    assert torch.equal(plans.untold * told, untold)
    assert not torch.equal(told, untold)

    def both(x: Tensor, times: Tensor, cond: Tensor) -> Tensor:
        return weight * plans.network(x, times, told) + (1 - weight) * plans.network(x, times, untold)

    noise = torch.randn(3, *plans.noise_shape)
    wanted: Any = plans.process.sample(both, noise, told)  # type: ignore[arg-type]
    known: Any = plans.network
    torch.testing.assert_close(plans.decode(told, noise), plans.to_raw(known.keep(wanted, told)), rtol=1e-4, atol=1e-4)
    assert planner.calls().rows == (1 if weight == 1 else 2)
    once = ClassifierFree(plans.network, told, untold, weight)
    x, times = torch.randn(3, 6, 4), torch.full((3, plans.process.n_times), 0.5)
    torch.testing.assert_close(once(x, times, told), both(x, times, told), rtol=1e-4, atol=1e-5)
