"""Chains that are told by goals: which state is told, that the policy sees it, and what the result says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from laminar.data.spec import Feature, Spec
from laminar.envs import make_env
from laminar.envs.chains import load_chains, start_state
from laminar.envs.room import as_room, reached_by_expert
from laminar.errors import LaminarError
from laminar.eval.reports.chain_report import write_chain_report
from laminar.eval.results.chain_result import Chain, ChainResult, load_chain_result
from laminar.eval.rollouts import chains as module
from laminar.eval.rollouts.chains import evaluate_chains
from laminar.eval.rollouts.telling import STREAM, check_told

PLAYROOM = "laminar/Playroom-v0?scene=D"
GOALS = f"{PLAYROOM}&instruction=task&goal=room_obs"


@pytest.fixture
def seen(noise_policy: Any) -> tuple[Any, list[dict[str, Any]]]:
    """Return a policy, and a list of what it will see."""
    policy, shown = noise_policy(GOALS), []
    sample = policy.sample

    def spy(obs: Any, noise: Any = None) -> Any:
        shown.append({key: obs[key][:, 0].numpy().copy() for key in ("instruction", "goal")})
        return sample(obs, noise)

    policy.sample = spy
    return policy, shown


def test_each_task_is_told_by_what_the_expert_reaches_from_there(seen: Any) -> None:
    policy, shown = seen
    result = evaluate_chains(policy, PLAYROOM, chains=2, seed=5, max_steps=2, told="goal")
    assert not shown[0]["instruction"].any()
    env = make_env(GOALS)
    room = as_room(env)
    assert room is not None
    for chain, (state, tasks) in zip(result.chains, load_chains(2), strict=True):
        robot, scene = start_state(state, room.layout)
        env.reset(seed=0, options={"robot_obs": robot, "scene_obs": scene})
        reached = reached_by_expert(env, tasks[0], (5 + chain.index, STREAM, 0))
        assert reached is not None
        np.testing.assert_allclose(shown[0]["goal"][chain.index], reached, rtol=1e-6)
        assert chain.untold == 0
    env.close()
    assert result.told == "goal"
    assert "of 0 of 2 tasks the scripted expert reached none" in result.summary()
    one = evaluate_chains(policy, PLAYROOM, chains=2, seed=5, max_steps=2, told="goal", num_envs=1)
    assert one.chains == result.chains
    np.testing.assert_array_equal(shown[-1]["goal"][0], shown[0]["goal"][1])


def test_instructions_are_told_as_ever_to_a_policy_that_knows_goals(seen: Any) -> None:
    policy, shown = seen
    result = evaluate_chains(policy, PLAYROOM, chains=2, max_steps=2)
    assert shown[0]["instruction"].sum(axis=1).tolist() == [1, 1]
    assert not any(one["goal"].any() for one in shown)
    assert result.told == "instruction"
    assert "goal" not in result.summary()
    assert "untold" not in result.chains[0].to_json()


@pytest.mark.slow
def test_goals_are_the_same_in_worker_processes(tmp_path: Path) -> None:
    from laminar.data.normalizer import Normalizer
    from laminar.envs import env_spec
    from laminar.policies import NETWORKS, PROCESSES, GenerativePolicy, PolicyConfig

    env = make_env(GOALS)
    spec = replace(env_spec(env), action_low=(-1.0,) * 7, action_high=(1.0,) * 7)
    env.close()
    ranges = {
        key: np.stack([np.full(one.shape, -1.0, "f"), np.full(one.shape, 1.0, "f")])
        for key, one in spec.observation.items()
    }
    modes = {key: "identity" if key == "instruction" else "gaussian" for key in ranges}
    config = PolicyConfig(process=PROCESSES.config_class("flow")(), chunk=4)
    normalizers = (Normalizer.fit(ranges, modes), Normalizer.fit({"action": np.array([[-1.0] * 7, [1.0] * 7], "f")}))
    policy = GenerativePolicy(config, NETWORKS.config_class("mlp")(width=8, depth=1), spec, *normalizers)
    policy.save(tmp_path)
    here, there = (evaluate_chains(tmp_path, PLAYROOM, 3, max_steps=3, told="goal", processes=n) for n in (0, 2))
    assert here.chains == there.chains


def test_a_task_without_a_goal_is_told_by_nothing_and_counts(
    seen: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    policy, shown = seen
    monkeypatch.setattr(module, "reached_by_expert", lambda env, task, seed: None)
    result = evaluate_chains(policy, PLAYROOM, chains=2, max_steps=2, told="goal")
    assert not shown[0]["goal"].any()
    assert not shown[0]["instruction"].any()
    assert [chain.untold for chain in result.chains] == [1, 1]
    told = "of 2 of 2 tasks the scripted expert reached none: they were told by nothing, and count"
    assert told in result.summary()
    text = write_chain_report(tmp_path, result).with_suffix(".md").read_text()
    assert told in text
    assert "tasks are told by **goals**" in text
    stored = load_chain_result(tmp_path)
    assert (stored.told, stored.chains) == (result.told, result.chains)


def test_a_result_of_before_was_told_by_instructions() -> None:
    stored = ChainResult(PLAYROOM, "a room", [Chain(0, ("open_drawer",), 0, [3])], instruction="task").to_json()
    del stored["told"]
    assert ChainResult.from_json(stored).told == "instruction"


@pytest.mark.parametrize(
    ("told", "phrasings", "message"),
    [
        ("goals", "one", r"told=goals: tasks are told by instruction or by goal; did you mean 'goal'\?"),
        ("goal", "known", "phrasings=known says tasks in words, and told=goal says none"),
        (
            "goal",
            "one",
            "told=goal shows a state to be reached, and the policy sees no 'goal'; train one with data.goals",
        ),
    ],
)
def test_ways_to_tell_that_there_are_not(told: str, phrasings: str, message: str) -> None:
    spec = Spec({"instruction": Feature((34,), unit="task")}, Feature((7,)))
    with pytest.raises(LaminarError, match=message):
        check_told(told, phrasings, spec)
    check_told("instruction", "known", spec)
