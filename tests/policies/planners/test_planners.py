"""What every planner must do, whatever its recipe and process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from laminar.data.episodes import Episodes
from laminar.errors import LaminarError
from laminar.policies import load_policy
from laminar.policies.export.exported import Exported
from laminar.policies.export.write import export
from laminar.policies.planners import Planner
from laminar.policies.planners.config import Following
from laminar.policies.runtimes import onnx as onnx_runtime
from laminar.policies.runtimes.accelerate import accelerate
from laminar.policies.runtimes.program import SamplingProgram
from laminar.policies.steered import check_base

Make = Callable[..., Planner]
RECIPES: dict[str, dict[str, Any]] = {
    "diffuser": {"actions": True, "candidates": 3},
    "diffuser to goals": {"actions": True, "goals": True},
    "guided diffuser": {"actions": True, "candidates": 2, "guidance": "gradient"},
    "decision diffuser": {"returns": True, "judge": False},
    "trajectory diffuser": {"returns": True, "draft": 1, "candidates": 3},
    "trajectory diffuser to goals": {"goals": True, "draft": 1},
    "veteran": {"stride": 2, "horizon": 4, "candidates": 3, "selection": "softmax"},
}
CASES = [(recipe, process) for recipe in RECIPES for process in ("diffusion", "flow", "meanflow")]
ONNX = pytest.mark.skipif(
    onnx_runtime.missing(torch.device("cpu")) is not None, reason="laminar[export] is not installed"
)
CHUNK, B = 4, 5


def built(make_planner: Make, recipe: str, process: str, **more: Any) -> Planner:
    jacobian = {"jacobian": "identity"} if process == "meanflow" else {}
    return make_planner(process, **(RECIPES[recipe] | jacobian | more))


@pytest.fixture(params=CASES, ids=str)
def planner(request: pytest.FixtureRequest, make_planner: Make) -> Planner:
    return built(make_planner, *request.param)


def seen_of(planner: Planner, rows: int = B) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    spec = planner.spec.observation
    return {key: 3 + torch.randn(rows, *one.shape, generator=generator) for key, one in spec.items()}


def noise_of(planner: Any, rows: int = B, seed: int = 1) -> Tensor:
    return torch.randn(rows, *planner.noise_shape, generator=torch.Generator().manual_seed(seed))


def test_shapes_and_limits(planner: Planner) -> None:
    chunk = planner.sample(seen_of(planner), noise_of(planner))
    assert chunk.shape == (B, CHUNK, 2)
    assert chunk.abs().max() <= 1
    assert planner.act(seen_of(planner)).shape == (B, 2)


def test_same_noise_same_chunk(planner: Planner) -> None:
    seen, noise = seen_of(planner), noise_of(planner)
    first = planner.sample(seen, noise)
    torch.manual_seed(123)
    assert torch.equal(first, planner.sample(seen, noise))
    alone = planner.sample({key: value[3:4] for key, value in seen.items()}, noise[3:4])
    torch.testing.assert_close(alone[0], first[3], rtol=1e-4, atol=1e-4)
    assert not torch.equal(first, planner.sample(seen, noise_of(planner, seed=2)))


def test_it_follows_the_chosen_one_of_its_plans(planner: Planner) -> None:
    seen, noise = seen_of(planner), noise_of(planner)
    plan, layout = planner.plan(seen, noise), planner.layout
    assert plan.states.shape == (B, planner.candidates, layout.horizon, 4)
    assert (plan.actions is None) == (planner.inverse is not None)
    assert (plan.returns is None) == (planner.candidates == 1)
    assert plan.stride == layout.stride
    assert torch.equal(planner.acted(plan.best()), planner.sample(seen, noise))
    torch.testing.assert_close(plan.states[:, :, 0], seen["observation"][:, None].expand(-1, planner.candidates, -1),
                               rtol=1e-5, atol=1e-5)  # fmt: skip
    if "goal" in seen:
        torch.testing.assert_close(plan.states[:, 0, -1, :2], seen["goal"], rtol=1e-5, atol=1e-5)


def test_save_and_load_are_bit_equal(planner: Planner, tmp_path: Path) -> None:
    restored = load_policy(planner.save(tmp_path / "planner"))
    assert isinstance(restored, Planner)
    assert (restored.spec, restored.config) == (planner.spec, planner.config)
    assert restored.checkpoint_hash() == planner.checkpoint_hash()
    noise = noise_of(planner)
    assert torch.equal(planner.sample(seen_of(planner), noise), restored.sample(seen_of(planner), noise))
    with torch.no_grad():
        next(planner.parameters()).add_(1e-3)
    assert restored.checkpoint_hash() != planner.checkpoint_hash()


def test_traces_without_data_dependent_operations(planner: Planner) -> None:
    torch._dynamo.reset()
    seen, noise = seen_of(planner), noise_of(planner)
    compiled = torch.compile(planner.sample, backend="eager", fullgraph=True)
    with torch.no_grad():
        torch.testing.assert_close(compiled(seen, noise), planner.sample(seen, noise))


def test_it_is_accelerated(planner: Planner) -> None:
    fast, noise = accelerate(planner, "eager", batch=(1, B)), noise_of(planner)
    found = fast.sample(seen_of(planner), noise)
    torch.testing.assert_close(found, planner.sample(seen_of(planner), noise).detach(), rtol=1e-4, atol=1e-4)
    with pytest.raises(LaminarError, match="not finite"):
        fast.sample({key: value * torch.nan for key, value in seen_of(planner).items()}, noise)


def test_a_stochastic_solver_draws_noise_of_plans(make_planner: Make) -> None:
    planner = built(make_planner, "veteran", "diffusion", settings={"solver": "ddpm"}, candidates=2)
    program = SamplingProgram(planner)
    assert program.inner_shapes(B) == [(2, 2 * B, 4, 4)]
    fast = accelerate(planner, "eager", batch=B)
    first, second = (
        one.sample(seen_of(planner), noise_of(planner), torch.Generator().manual_seed(3)) for one in (fast, planner)
    )
    torch.testing.assert_close(first, second.detach(), rtol=1e-4, atol=1e-4)
    plan = planner.plan(seen_of(planner), noise_of(planner), torch.Generator().manual_seed(3))
    assert torch.equal(planner.acted(plan.best()), second)


@ONNX
def test_it_runs_by_onnx_and_is_exported(make_planner: Make, tmp_path: Path) -> None:
    planner = built(make_planner, "trajectory diffuser", "meanflow")
    exported, noise = Exported(export(planner, tmp_path / "onnx", batch=2)), noise_of(planner, 2)
    wanted = planner.sample(seen_of(planner, 2), noise).detach()
    windows = {key: value[:, None] for key, value in seen_of(planner, 2).items()}
    torch.testing.assert_close(exported.sample(windows, noise), wanted, rtol=1e-4, atol=1e-5)
    assert exported.description["checkpoint"] == planner.checkpoint_hash()


def test_what_only_samples_refuses_a_planner_that_remembers(make_planner: Make, tmp_path: Path) -> None:
    planner = make_planner(follow=Following(replan=5, controller="inverse"), judge=False)
    assert planner.remembers
    for refused in (
        lambda: accelerate(planner, "onnx"),
        lambda: export(planner, tmp_path / "onnx"),
        lambda: check_base(planner),
    ):
        with pytest.raises(LaminarError, match=r"keeps whole plans .* planner.following\(Following\(\)\)"):
            refused()
    with pytest.raises(LaminarError, match="leave steps out"):
        accelerate(planner, "eager", steps=2)
    for runtime in ("eager", "auto"):
        fast, noise = accelerate(planner, runtime, batch=2), noise_of(planner, 2)
        assert fast.runtime == "eager"
        assert torch.equal(fast.act(seen_of(planner, 2), noise), planner.act(seen_of(planner, 2), noise))
        planner.reset()
    plain = planner.following(Following())
    assert not plain.remembers
    check_base(plain)


def test_the_range_of_actions_is_that_of_the_recordings(make_planner: Make, episodes: Episodes) -> None:
    for planner in (make_planner(), make_planner(actions=True, stride=2, horizon=4)):
        found = planner.fitted_actions
        assert found is not None
        assert found[0].shape == (2,)
        wanted = episodes.action.min(axis=0), episodes.action.max(axis=0)
        for edge, mine in zip(wanted, found, strict=True):
            torch.testing.assert_close(mine, torch.from_numpy(edge))


def test_a_return_beyond_the_recordings_is_told(make_planner: Make) -> None:
    planner = make_planner(returns=True, judge=False)
    assert planner.remarks == []
    assert planner.asking(29.0).remarks == []
    for asked in (31.0, -11.0):
        (line,) = planner.asking(asked).remarks
        assert line.startswith(f"plans are asked for a return of {asked:g}, which none")
        assert line.endswith("from -10 to 30")
    assert make_planner(target_return=500.0).remarks == []


def test_what_return_is_asked_for_is_the_highest_unless_told(make_planner: Make) -> None:
    planner = make_planner(returns=True, judge=False)
    seen, noise = seen_of(planner), noise_of(planner)
    assert torch.equal(planner.sample(seen, noise), planner.asking(30.0).sample(seen, noise))
    assert not torch.equal(planner.sample(seen, noise), planner.asking(0.0).sample(seen, noise))


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"chunk": 6}, "policy.chunk=6 is longer than a plan of 6 states, 1 control steps apart; choose at most 5"),
    ({"execute": 5}, "policy.execute=5 is more than policy.chunk=4"),
    ({"ensemble": 0.1}, "policy.execute must be 1"),
    ({"history": 2}, "leave policy.history at 1"),
    ({"draft": 4}, "the process has 3 steps, and its last 4 are asked for"),
    ({"draft": 1, "settings": {"solver": "ddpm"}}, "choose policy.process.solver=ddim"),
    ({"draft": 1, "settings": {"solver": "unipc"}}, "choose policy.process.solver=ddpm or ddim"),
    ({"draft": 1, "candidates": 2, "guidance": "gradient"}, "a draft is improved by plain steps, without a gradient"),
    ({"process": "meanflow", "guidance": "gradient"}, "choose jacobian=identity"),
    ({"process": "ctm"}, "choose a planner of diffusion, flow or meanflow"),
    ({"goals": None}, "policy.goals=true needs recordings with goals"),
    ({"horizon": 1}, "policy.horizon"),
    ({"follow": Following(replan=5)}, "goes beyond a chunk of 4 actions"),
    ({"follow": Following(warm_start=4)}, "the process has 3 steps, and its last 4 are asked for"),
    ({"follow": Following(track_return=True)}, "track_return is for plans that are conditioned on their return"),
    ({"follow": Following(controller="inverse", replan=6)}, "longer than a plan, which takes 5 control steps"),
    ({"follow": Following(controller="inverse"), "actions": True}, "these plans have their own actions"),
    ({"follow": Following(warm_start=1), "ensemble": 0.1, "execute": 1}, "an actor that keeps no plans"),
]


@pytest.mark.parametrize(("settings", "message"), REFUSED, ids=str)
def test_what_makes_no_sense_is_refused_when_it_is_built(
    make_planner: Make, episodes: Episodes, settings: dict[str, Any], message: str
) -> None:
    settings = dict(settings)
    if "goals" in settings:
        with pytest.raises(LaminarError, match=message):
            make_planner(recorded=episodes, planned={"goals": True})
        return
    with pytest.raises(LaminarError) as refused:
        make_planner(**settings)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)
