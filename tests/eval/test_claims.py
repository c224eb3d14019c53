"""What critics claim beside what came: discounting, time limits, decisions; and the table of all samplers."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from laminar.errors import LaminarError
from laminar.eval.rollouts.claims import Account, Witness, measure_claims
from laminar.eval.rollouts.episodes import evaluate
from laminar.eval.rollouts.options import RolloutOptions
from laminar.policies import PolicyConfig, load_policy
from laminar.policies.guided import Acting, claim, guide
from laminar.policies.module import PolicyModule
from laminar.policies.processes.flow import Config as FlowConfig

ENV = "hopper-medium-v2"


def test_what_came_is_discounted_in_the_units_of_the_critic() -> None:
    one = Account(np.array([1.0, 2.0, 4.0]), False, np.array([0, 2]), np.zeros((2, 1)))
    assert one.came(Witness(_nothing, 0.5)).tolist() == [1 + 1 + 1, 4]
    assert one.came(Witness(_nothing, 0.5, scale=2.0, shift=-1.0)).tolist() == [1 + 0.5 * 3 + 0.25 * 7, 7]


def test_a_time_limit_cuts_off_what_a_critic_counts_on() -> None:
    rewards, times = np.ones(1000), np.array([0, 600, 701, 702, 999])
    cut = Account(rewards, True, times, np.zeros((5, 1)))
    assert cut.whole(Witness(_nothing, 0.99)).tolist() == [True, True, True, False, False], "298 steps, of weight 0.05"
    assert Account(rewards, False, times, np.zeros((5, 1))).whole(Witness(_nothing, 0.99)).all()
    assert cut.whole(Witness(_nothing, 0.0)).all()


def test_each_decision_is_heard_once_with_its_own_chunk(made_up_policy: Callable[..., PolicyModule]) -> None:
    policy = made_up_policy(PolicyConfig(process=FlowConfig(steps=2), chunk=4, execute=2))
    seen: list[tuple[Tensor, Tensor]] = []

    def first_action(windows: Mapping[str, Tensor], chunks: Tensor) -> Tensor:
        seen.append((windows["observation"], chunks))
        return chunks[:, 0, 0]

    found = measure_claims(policy, ENV, range(3), [Witness(first_action, 0.9), Witness(_nothing, 0.9)], num_envs(2))
    plain = evaluate(policy, ENV, range(3), num_envs=2)
    assert found.returns.tolist() == pytest.approx(plain.returns)
    for seed, one in enumerate(found.episodes):
        assert one.times.tolist() == list(range(0, len(one.rewards), 2)), "every second step of a chunk of two"
        assert one.claimed.shape == (len(one.times), 2)
        noise = torch.zeros(32, *policy.noise_shape).normal_(generator=torch.Generator().manual_seed(seed))
        if seed < 2:  # both begin in the first call
            with torch.no_grad():
                chunk = policy.sample({"observation": seen[0][0][seed : seed + 1]}, noise[:1])
            assert one.claimed[0, 0] == pytest.approx(float(chunk[0, 0, 0]), abs=1e-5)
    said, came = found.of(0)
    assert said[0] == pytest.approx(found.episodes[0].claimed[:, 0].mean())
    assert came[0] == pytest.approx(found.episodes[0].came(found.witnesses[0]).mean())


def test_a_policy_without_a_critic_claims_nothing(made_up_policy: Callable[..., PolicyModule]) -> None:
    with pytest.raises(LaminarError, match="a policy without a critic has nothing to say"):
        claim(made_up_policy(critic=False), {}, torch.zeros(1, 1, 3))
    with pytest.raises(LaminarError, match="claims are measured in one process"):
        measure_claims("folder", ENV, [0], [], num_envs(1, processes=2))


def test_network_calls_of_a_decision_are_recorded(made_up_policy: Callable[..., PolicyModule]) -> None:
    policy = made_up_policy(PolicyConfig(process=FlowConfig(steps=3)))
    for acting, calls in (
        (Acting(), 3),
        (Acting(4), 12),
        (Acting(2, guidance="gradient"), 6),
        (Acting(5, guidance="fk"), 15),
        (Acting(4, guidance="tree"), 12),
    ):
        result = evaluate(policy, ENV, [0], acting=acting)
        assert result.to_json()["network_calls"] == calls
        assert type(result).from_json(result.to_json()).acting == acting
    assert evaluate(policy, ENV, [0], acting=Acting(4), steps=2).network_calls == 8


def test_the_table_of_all_samplers(
    repository: Path,
    tmp_path: Path,
    made_up_policy: Callable[..., PolicyModule],
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, process in (("run", FlowConfig(steps=2)), ("other", FlowConfig(steps=1))):
        policy = made_up_policy(PolicyConfig(process=process))
        policy.save(tmp_path / name / "checkpoints" / "step_00000020")
        settings = {"method": {"reward": "none", "discount": 0.9}, "steps": 20}
        (tmp_path / name / "run.json").write_text(json.dumps(settings))
    table = script(repository / "examples" / "guidance_table.py")
    setting = table.Setting(*(str(tmp_path / name) for name in ("run", "other")), ENV, str(tmp_path / "out"), 2, 1.0)
    table.main(setting, [1, 3], 1)
    capsys.readouterr()
    found = json.loads((tmp_path / "out" / "guidance.json").read_text())
    cells = {(cell["sampler"], cell["budget"]): cell for cell in found["cells"]}
    assert len(cells) == 3 + 8
    plain, best = cells["softmax of N", 1], cells["best of N", 3]
    assert plain["returns"] == evaluate(tmp_path / "run", ENV, range(2)).returns
    assert best["returns"] == pytest.approx(
        evaluate(tmp_path / "run", ENV, range(2), acting=Acting(3, "argmax")).returns
    )
    assert {cell["network_calls"] for (_, budget), cell in cells.items() if budget == 3} == {6}
    assert best["own"]["said"] - plain["own"]["said"] > 0, "who chooses the best says so"
    assert 0 < best["spread"] < plain["spread"], "and is less spread"
    lines = (tmp_path / "out" / "guidance.md").read_text().splitlines()
    assert len([line for line in lines if line.startswith("| ")]) == 2 + len(cells)
    table.main(setting, [1, 3], 1)
    assert capsys.readouterr().out == "", "what is done is not repeated"
    policy = guide(load_policy(tmp_path / "run"), Acting(3, guidance="tree"))
    assert cells["tree", 3]["acting"] == policy.config["acting"]


def _nothing(windows: Mapping[str, Tensor], chunks: Tensor) -> Tensor:
    return torch.zeros(len(chunks))


def num_envs(count: int, **settings: int) -> RolloutOptions:
    return RolloutOptions(num_envs=count, **settings)


def script(path: Path) -> Any:
    """Load an example as a module."""
    spec = spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[path.stem] = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
