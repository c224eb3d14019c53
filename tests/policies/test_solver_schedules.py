"""Solver schedules: what they refuse, their file, and that every process follows or refuses them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from laminar.errors import LaminarError
from laminar.policies import GenerativePolicy, load_policy
from laminar.policies.guided import Acting, Guided, new_critic
from laminar.policies.module import PolicyModule
from laminar.policies.networks.critics import CriticConfig
from laminar.policies.processes.solver_schedules import (
    FILE,
    SolverSchedule,
    SolverStep,
    read_schedules,
    write_schedules,
)

MakePolicy = Callable[..., GenerativePolicy]

FIVE = {"levels": 5, "steps": 5}
MIXED = SolverSchedule(
    (SolverStep(1.0, corrector=True), SolverStep(0.7, 2, "noise", "h", True), SolverStep(0.2, 3, "velocity"))
)


def observations(count: int) -> Tensor:
    return torch.randn(count, 3, generator=torch.Generator().manual_seed(0)) * 3 + 5


def noise_for(policy: PolicyModule, count: int) -> Tensor:
    return torch.randn(count, *policy.noise_shape, generator=torch.Generator().manual_seed(1))


# what is refused


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ((), "at least one step"),
        ((SolverStep(0.9),), "starts at time 1, where the noise is, not at 0.9"),
        ((SolverStep(1.0), SolverStep(0.5), SolverStep(0.5)), "must fall, but 0.5 follows 0.5"),
        ((SolverStep(1.0), SolverStep(0.5), SolverStep(0.6)), "must fall, but 0.6 follows 0.5"),
        ((SolverStep(1.0), SolverStep(0.0)), "step 2 .* time is a number above 0 and at most 1, got 0.0"),
        ((SolverStep(float("nan")),), "step 1 .* time .* got nan"),
        ((SolverStep(float("inf")),), "step 1 .* time .* got inf"),
        ((SolverStep("1"),), "step 1 .* time .* got '1'"),
        ((SolverStep(True),), "step 1 .* time .* got True"),
        ((SolverStep(1.0), SolverStep(0.5, order=4)), "step 2 .* order is 1, 2 or 3, got 4"),
        ((SolverStep(1.0, order=0),), "order is 1, 2 or 3, got 0"),
        ((SolverStep(1.0, order=2.0),), "order is 1, 2 or 3, got 2.0"),
        ((SolverStep(1.0, prediction="score"),), "no prediction is called 'score' .known: data, noise, velocity"),
        ((SolverStep(1.0, scaling="bh1"),), "no scaling is called 'bh1' .known: exact, expm1, h"),
        ((SolverStep(1.0, corrector=1), SolverStep(0.5)), "corrector is true or false, got 1"),
        ((SolverStep(1.0, corrector=True),), "the last step .* no evaluation at its end"),
    ],
)
def test_schedules_that_cannot_be_followed(steps: tuple[SolverStep, ...], message: str) -> None:
    with pytest.raises(LaminarError, match=message):
        SolverSchedule(steps)


def test_a_schedule_is_a_key() -> None:
    assert (MIXED.calls, MIXED.times) == (3, (1.0, 0.7, 0.2, 0.0))
    again = SolverSchedule.from_json(json.loads(json.dumps(MIXED.to_json())))
    assert again == MIXED
    assert hash(again) == hash(MIXED)
    assert not MIXED.plain
    assert SolverSchedule.at([1.0, 0.5]).plain


# its file


def test_schedules_are_saved_with_the_policy(make_policy: MakePolicy, tmp_path: Path) -> None:
    policy = make_policy("flow").eval()
    policy.schedules = {"nfe3": MIXED}
    loaded = load_policy(policy.save(tmp_path / "policy"))
    assert loaded.schedules == {"nfe3": MIXED}
    assert loaded.checkpoint_hash() == policy.checkpoint_hash()
    write_schedules(tmp_path / "policy", {"other": SolverSchedule.at([1.0])})
    assert load_policy(tmp_path / "policy").schedules == {"other": SolverSchedule.at([1.0])}
    assert not list((tmp_path / "policy").glob(".*")), "no temporary file is left"


def test_a_policy_without_schedules_has_no_file(make_policy: MakePolicy, tmp_path: Path) -> None:
    folder = make_policy("flow").save(tmp_path / "policy")
    assert not (folder / FILE).exists()
    assert load_policy(folder).schedules == {}


def edited(change: Callable[[dict[str, Any]], object]) -> str:
    stored = {"version": 1, "schedules": {"nfe3": MIXED.to_json()}}
    change(stored)
    return json.dumps(stored)


def first_step(stored: dict[str, Any]) -> dict[str, Any]:
    return stored["schedules"]["nfe3"]["steps"][0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not valid JSON"),
        ("[]", "the file is a dictionary with version, schedules"),
        (edited(lambda s: s.update(version=2)), "of version 2, this laminar reads version 1"),
        (edited(lambda s: s.pop("version")), "the file lacks 'version'"),
        (edited(lambda s: s.update(schedule={})), "no setting 'schedule'; did you mean 'schedules'"),
        (edited(lambda s: s.update(schedules=[])), "'schedules' is a dictionary of names"),
        (edited(lambda s: s["schedules"]["nfe3"].update(steps=3)), "schedule 'nfe3': 'steps' .* is a list, got 3"),
        (edited(lambda s: s["schedules"]["nfe3"].update(steps=[])), "schedule 'nfe3': .* at least one step"),
        (edited(lambda s: first_step(s).update(ordr=2)), "schedule 'nfe3': step 1 .* 'ordr'; did you mean 'order'"),
        (edited(lambda s: first_step(s).pop("scaling")), "schedule 'nfe3': step 1 .* lacks 'scaling'"),
        (edited(lambda s: first_step(s).update(time=float("nan"))), "schedule 'nfe3': step 1 .* got nan"),
        (edited(lambda s: first_step(s).update(time=0.5)), "starts at time 1"),
        (edited(lambda s: first_step(s).update(order=[1])), r"order is 1, 2 or 3, got \[1\]"),
        (edited(lambda s: first_step(s).update(prediction=[])), "no prediction"),
    ],
)
def test_a_damaged_file_is_named(text: str, message: str, make_policy: MakePolicy, tmp_path: Path) -> None:
    folder = make_policy("flow").save(tmp_path / "policy")
    (folder / FILE).write_text(text)
    with pytest.raises(LaminarError, match=message) as caught:
        load_policy(folder)
    assert str(folder / FILE) in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.raises(LaminarError, match=message):
        read_schedules(folder)


# the processes


@pytest.mark.parametrize("settings", [{}, {"levels": None}, {"solver": "ddpm"}])
def test_first_order_schedules_are_ddim(settings: dict[str, Any], make_policy: MakePolicy) -> None:
    policy = make_policy("diffusion", settings=settings).eval()
    ddim = make_policy("diffusion", settings=settings | {"solver": "ddim", "steps": 5}).eval()
    ddim.load_state_dict(policy.state_dict())
    obs, noise = observations(6), noise_for(policy, 6)
    times = [1.0, 0.8, 0.6, 0.4, 0.2]
    torch.testing.assert_close(policy.sample(obs, noise, steps=SolverSchedule.at(times)), ddim.sample(obs, noise))


@pytest.mark.parametrize("process", ["flow", "meanflow"])
def test_plain_schedules_are_equal_steps(process: str, make_policy: MakePolicy) -> None:
    policy = make_policy(process).eval()
    obs, noise = observations(6), noise_for(policy, 6)
    even = policy.sample(obs, noise, steps=SolverSchedule.at([1.0, 0.75, 0.5, 0.25]))
    torch.testing.assert_close(even, policy.sample(obs, noise, steps=4))
    uneven = policy.sample(obs, noise, steps=SolverSchedule.at([1.0, 0.5, 0.2, 0.1]))
    assert not torch.allclose(even, uneven)


@pytest.mark.parametrize("process", ["flow", "diffusion"])
def test_a_schedule_costs_its_calls(process: str, make_policy: MakePolicy) -> None:
    policy = make_policy(process).eval()
    calls: list[float] = []
    forward = policy.network.forward

    def counting(x: Tensor, times: Tensor, cond: Tensor) -> Tensor:
        calls.append(float(times[0, 0]))
        return forward(x, times, cond)

    policy.network.forward = counting  # type: ignore[method-assign]
    policy.sample(observations(2), noise_for(policy, 2), steps=MIXED)
    assert calls == pytest.approx([1.0, 0.7, 0.2])


def test_data_stay_inside_the_clip(make_policy: MakePolicy) -> None:
    """The data prediction is clipped inside the solver, so a last step of first order ends inside too."""
    policy = make_policy("diffusion").eval().requires_grad_(False)
    for parameter in policy.network.parameters():
        parameter *= 20
    steps = SolverSchedule((SolverStep(1.0, corrector=True), SolverStep(0.7, 2, corrector=True), SolverStep(0.2)))
    cond = policy.encode(policy.windows(observations(64)))
    sample = policy.process.sample(policy.network, noise_for(policy, 64), cond, steps)
    assert float(sample.abs().max()) <= 1 + 1e-6
    assert float(sample.abs().max()) > 0.99, "and the clip was needed"


@pytest.mark.parametrize(
    ("process", "settings", "steps", "message"),
    [
        ("direct", {}, SolverSchedule.at([1.0]), "direct has no path for a solver schedule"),
        ("meanflow", {}, MIXED, "meanflow follows the times of a solver schedule only"),
        (
            "diffusion",
            {"levels": 5, "steps": 5},
            SolverSchedule.at([1.0, 0.42, 0.38]),
            "0.42 and 0.38 .* 5 noise levels",
        ),
        ("diffusion", {"levels": 5, "steps": 5}, SolverSchedule.at([1.0, 0.01]), "0.01 and 0 .* 5 noise levels"),
    ],
)
def test_what_a_process_cannot_follow(
    process: str, settings: dict[str, Any], steps: SolverSchedule, message: str, make_policy: MakePolicy
) -> None:
    policy = make_policy(process, settings=settings)
    with pytest.raises(LaminarError, match=message):
        policy.sample(observations(2), noise_for(policy, 2), steps=steps)


def test_a_critic_chooses_among_scheduled_samples(make_policy: MakePolicy) -> None:
    policy = make_policy("flow").eval()
    critic = new_critic(policy, CriticConfig(width=8, depth=1)).eval()
    guided = Guided(policy, critic, Acting(candidates=4, selection="argmax"))
    noise = noise_for(guided, 3)
    start = noise[..., :-1].reshape(3 * 4, 1, 2)
    among = policy.sample(observations(3).repeat_interleave(4, dim=0), start, steps=MIXED).view(3, 4, 1, 2)
    chosen = guided.sample(observations(3), noise, steps=MIXED)
    assert all(any(torch.allclose(chosen[i], among[i, n]) for n in range(4)) for i in range(3))


@pytest.mark.parametrize(("process", "other"), [("diffusion", "ddim"), ("flow", "euler")])
def test_unipc_comes_closer_than_first_order(process: str, other: str, make_policy: MakePolicy) -> None:
    torch.manual_seed(0)
    # An untrained network's guess of the noise means data far outside of the limits, where all solvers end alike.
    settings = {"steps": 10} | ({"prediction": "data"} if process == "diffusion" else {})
    policy = make_policy(process, settings=settings | {"solver": "unipc"}).eval()
    first = make_policy(process, settings=settings | {"solver": other}).eval()
    first.load_state_dict(policy.state_dict())
    obs, noise = observations(64), noise_for(policy, 64)
    with torch.no_grad():
        fine = first.sample(obs, noise, steps=100)
        errors = [float((one.sample(obs, noise) - fine).square().mean()) for one in (policy, first)]
    assert 0 < errors[0] < errors[1]


@pytest.mark.parametrize("process", ["flow", "diffusion"])
def test_a_scheduled_sample_can_be_exported(process: str, make_policy: MakePolicy) -> None:
    """One graph without data-dependent branches, the coefficients constants in it: it can be captured, too."""
    policy = make_policy(process).eval()

    class Sampler(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.policy = policy

        def forward(self, cond: Tensor, noise: Tensor) -> Tensor:
            return self.policy.process.sample(self.policy.network, noise, cond, MIXED)

    cond = policy.encode(policy.windows(observations(3))).detach()
    noise = noise_for(policy, 3)
    with torch.no_grad():
        program = torch.export.export(Sampler(), (cond, noise), strict=False)
        torch.testing.assert_close(program.module()(cond, noise), Sampler()(cond, noise))
    made = {node.target for node in program.graph.nodes if node.op == "call_function"}
    assert not {torch.ops.aten.item.default, torch.ops.aten._local_scalar_dense.default} & made


def test_a_scheduled_sample_compiles_whole(make_policy: MakePolicy) -> None:
    policy = make_policy("flow").eval()

    def sample(cond: Tensor, noise: Tensor) -> Tensor:
        return policy.process.sample(policy.network, noise, cond, MIXED)

    cond, noise = policy.encode(policy.windows(observations(3))).detach(), noise_for(policy, 3)
    with torch.no_grad():
        compiled = torch.compile(sample, fullgraph=True, backend="eager")
        torch.testing.assert_close(compiled(cond, noise), sample(cond, noise))
