"""What every way to act by a critic must do, with every process that allows it; a new process is tested by itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from laminar.errors import LaminarError
from laminar.eval.config import Guidance
from laminar.policies import PROCESSES, GenerativePolicy, load_policy
from laminar.policies.export.write import export
from laminar.policies.generative import generative
from laminar.policies.guided import Acting, Guided, guide
from laminar.policies.guided.acting import OF_GUIDANCE
from laminar.policies.processes.unrolled import Calls
from laminar.policies.runtimes.accelerate import accelerate
from laminar.policies.runtimes.program import SamplingProgram
from laminar.settings import bounds

MakeGuided = Callable[..., Guided]
ACTINGS = [
    Acting(4),
    Acting(4, "argmax", zscore=True),
    Acting(guidance="gradient", temperature=0.3),
    Acting(3, "argmax", guidance="gradient", strength=0.5, zscore=True),
    Acting(3, guidance="gradient", jacobian="exact"),
    Acting(4, guidance="fk", eta=0.5),
    Acting(4, "argmax", guidance="fk", potential="max", resampling="multinomial", ess=1.0, noise_scale=0.7),
    Acting(3, guidance="tree"),
    Acting(3, "argmax", guidance="tree", widening=0.5, exploration=0.3, noise_scale=0.7),
]
PAIRS = [(process, acting) for process in PROCESSES.names() for acting in ACTINGS]


def allowed(process: str, acting: Acting) -> bool:
    return PROCESSES.member_class(process).predicts_data or not (acting.branches or acting.jacobian == "exact")


def named(pair: tuple[str, Acting]) -> str:
    return f"{pair[0]}, {pair[1]}"


@pytest.fixture(params=[pair for pair in PAIRS if allowed(*pair)], ids=named)
def guided(request: pytest.FixtureRequest, make_critical: MakeGuided) -> Guided:
    process, acting = request.param
    found = guide(make_critical(process, history=2, chunk=4, execute=2), acting)
    assert isinstance(found, Guided)
    return found.eval()


@pytest.mark.parametrize("pair", [pair for pair in PAIRS if not allowed(*pair)], ids=named)
def test_what_a_process_cannot_do_is_told_in_one_line(make_critical: MakeGuided, pair: tuple[str, Acting]) -> None:
    process, acting = pair
    asked = "jacobian=exact" if acting.jacobian == "exact" else f"guidance={acting.guidance}"
    with pytest.raises(LaminarError, match=rf"^{asked} [^\n]* this policy is of {process}; choose [^\n]*$"):
        guide(make_critical(process), acting)


def observations(count: int) -> Tensor:
    return torch.randn(count, 2, 3, generator=torch.Generator().manual_seed(0)) * 3 + 5


def noise_for(policy: Guided, count: int) -> Tensor:
    return torch.randn(count, *policy.noise_shape, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def test_it_is_a_function_of_its_noise_inside_the_limits(guided: Guided) -> None:
    obs, noise = observations(6), noise_for(guided, 6)
    state = torch.get_rng_state()
    chunk = guided.sample(obs, noise)
    assert torch.equal(guided.sample(obs, noise), chunk)
    assert torch.equal(torch.get_rng_state(), state)
    assert chunk.shape == (6, 4, 2)
    assert (chunk >= torch.tensor([-2.0, 0.0])).all()
    assert (chunk <= torch.tensor([2.0, 20.0])).all()
    alone = torch.cat([guided.sample(obs[row : row + 1], noise[row : row + 1]) for row in range(6)])
    torch.testing.assert_close(alone, chunk, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_it_is_saved_as_it_acts(guided: Guided, tmp_path: Path) -> None:
    loaded = load_policy(guided.save(tmp_path / "saved"))
    assert isinstance(loaded, Guided)
    assert (loaded.acting, loaded.config, loaded.noise_shape) == (guided.acting, guided.config, guided.noise_shape)
    assert loaded.checkpoint_hash() == guided.checkpoint_hash()
    obs, noise = observations(3), noise_for(guided, 3)
    assert torch.equal(loaded.sample(obs, noise), guided.sample(obs, noise))


@torch.no_grad()
def test_the_calls_that_it_names_are_those_that_it_makes(guided: Guided) -> None:
    calls, rows = guided.calls(), list[int]()
    generative(guided).network.register_forward_pre_hook(lambda _, given: rows.append(len(given[0])))
    obs, noise = observations(3), noise_for(guided, 3)
    chunk = guided.sample(obs, noise)
    assert (len(rows), set(rows)) == (calls.count, {3 * calls.rows})
    program = SamplingProgram(guided)
    torch.testing.assert_close(program(noise, obs), chunk, rtol=1e-4, atol=1e-4)  # prepared for these times


@torch.no_grad()
def test_it_acts_as_a_runtime_of_two_batches(guided: Guided) -> None:
    fast = accelerate(guided, "eager", batch=[1, 4])
    obs, noise = observations(3), noise_for(guided, 3)
    torch.testing.assert_close(fast.sample(obs, noise), guided.sample(obs, noise), rtol=1e-4, atol=1e-4)
    again = fast.sample(obs, generator=torch.Generator().manual_seed(7))
    torch.testing.assert_close(
        again, guided.sample(obs, generator=torch.Generator().manual_seed(7)), rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("acting", ACTINGS, ids=str)
def test_the_record_of_acting(acting: Acting) -> None:
    stored = json.loads(json.dumps(acting.to_json()))
    assert Acting.from_json(stored) == acting
    if acting.guidance == "best_of_n" and not acting.zscore:
        assert set(stored) == {"candidates", "selection", "temperature", "noise_scale"}
    for name, guidances in OF_GUIDANCE.items():
        assert name not in stored or acting.guidance in guidances, "what has no effect is not there"
    assert str(acting) != str(replace(acting, temperature=9.0)) or acting.to_json()["temperature"] is None


def test_the_command_line_has_the_same_settings() -> None:
    """Defaults and bounds are said twice, since the help imports no PyTorch."""
    mine, theirs = Acting(), Guidance()
    assert {one.name for one in fields(theirs)} == {one.name for one in fields(mine)} - {"candidates"}
    for one in fields(theirs):
        assert getattr(mine, one.name) == getattr(theirs, one.name), one.name
    known = bounds(mine)
    assert bounds(theirs) == {name: known[name] for name in bounds(theirs)}


def test_a_composed_policy_is_guided_between_its_chunks_only(make_critical: MakeGuided) -> None:
    policy = make_critical("flow")
    waiting = Guided(Guided(policy.composed_of), policy.critic, Acting(3, guidance="fk"))
    assert waiting.sample(observations(2)[:, 0]).shape == (2, 1, 2), "a critic that waits is no obstacle"
    quiet = Guided(policy.composed_of, acting=Acting(noise_scale=0.5))
    for guidance in ("gradient", "fk", "tree"):
        with pytest.raises(
            LaminarError, match=rf"guidance={guidance} goes between the steps.*guided. has none of its own"
        ):
            Guided(quiet, policy.critic, Acting(3, guidance=guidance))


def test_particles_are_exported_and_what_is_not_is_told(make_critical: MakeGuided, tmp_path: Path) -> None:
    policy = make_critical("flow", {"steps": 2})
    assert (export(guide(policy, Acting(3, guidance="fk")), tmp_path / "fk") / "export.json").is_file()
    stored = json.loads((tmp_path / "fk" / "export.json").read_text())
    assert stored["acting"]["guidance"] == "fk"
    assert stored["network_calls"] == 2
    with pytest.raises(LaminarError, match=r"format=onnx cannot be written: guidance=gradient differentiates while it"):
        export(guide(policy, Acting(guidance="gradient")), tmp_path / "gradient")
    for runtime in ("onnx", "compile"):
        with pytest.raises(
            LaminarError, match=rf"runtime={runtime} cannot be used: guidance=tree is a long row of single"
        ):
            accelerate(guide(policy, Acting(3, guidance="tree")), runtime)
    assert accelerate(guide(policy, Acting(guidance="gradient")), "auto").runtime == "eager"


def test_calls_are_counted_in_rows(make_policy: Callable[..., GenerativePolicy], make_critical: MakeGuided) -> None:
    assert make_policy("flow", settings={"solver": "heun", "steps": 4}).calls().evaluations == 7
    policy = make_critical("flow", {"steps": 4})
    assert [guide(policy, Acting(count)).calls().evaluations for count in (1, 5)] == [4, 20]
    assert guide(policy, Acting(5)).calls(2).evaluations == 10
    tree = guide(policy, Acting(5, guidance="tree")).calls()
    assert (tree.times, tree.count, tree.rows) == (None, 20, 1)
    assert Calls(None, 3, 4).evaluations == 12
