"""Chains of instructions, in a room whose outcomes are made up, so that every figure is known."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from laminar.data.calvin.layout import LAYOUTS, NEUTRAL
from laminar.data.language import load_instructions
from laminar.envs.chains import load_chains, start_state
from laminar.errors import LaminarError
from laminar.eval.reports.chain_report import write_chain_report
from laminar.eval.results.chain_result import Chain, ChainResult, load_chain_result
from laminar.eval.results.result import Episode, Result, load_result
from laminar.eval.results.scores import bootstrap, wilson
from laminar.eval.rollouts.chains import evaluate_chains
from laminar.eval.rollouts.noise import NOISE_BLOCK

from .rooms import FIRST, ROOM, SECOND, SILENT, THIRD, Room, registered


@pytest.fixture(autouse=True)
def room(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Register the room."""
    yield from registered(monkeypatch)


# accounting


def test_the_figures_follow_from_the_outcomes(noise_policy: Any) -> None:
    """The first chain succeeds throughout, the second fails at its third task, the third at once."""
    Room.needs = dict.fromkeys(FIRST, 3) | {"open_drawer": 2, "move_slider_left": 5}
    result = evaluate_chains(noise_policy(ROOM), ROOM, chains=3, max_steps=6)
    assert [(chain.completed, chain.steps) for chain in result.chains] == [(5, [3] * 5), (2, [2, 5, 6]), (0, [6])]
    assert [chain.tasks for chain in result.chains] == [FIRST, SECOND, THIRD]
    assert {k: share.mean for k, share in result.in_a_row.items()} == {1: 2 / 3, 2: 2 / 3, 3: 1 / 3, 4: 1 / 3, 5: 1 / 3}
    assert result.in_a_row[2] == wilson(2, 3)
    assert result.average_length == bootstrap([5, 2, 0])
    assert result.average_length.mean == 7 / 3
    tried = dict.fromkeys(FIRST, (1, 1)) | {"open_drawer": (1, 1), "move_slider_left": (1, 1)}
    assert result.tasks == dict(sorted((tried | {"turn_off_led": (0, 1), "turn_on_lightbulb": (0, 1)}).items()))
    assert result.task_success["turn_off_led"] == wilson(0, 1)


def test_a_failure_ends_the_chain(noise_policy: Any) -> None:
    Room.needs = dict.fromkeys(FIRST, 1) | {"lift_blue_block_table": 10}
    result = evaluate_chains(noise_policy(ROOM), ROOM, chains=1, max_steps=9)
    assert (result.chains[0].completed, result.chains[0].steps) == (1, [1, 9])
    assert Room.begun == list(FIRST[:2])
    assert len(Room.starts) == 1, "the room is not reset inside a chain"


def test_success_in_the_last_step_counts(noise_policy: Any) -> None:
    Room.needs = dict.fromkeys(FIRST, 4)
    assert evaluate_chains(noise_policy(ROOM), ROOM, chains=1, max_steps=4).chains[0].completed == 5
    assert evaluate_chains(noise_policy(ROOM), ROOM, chains=1, max_steps=3).chains[0].completed == 0


def test_equal_outcomes_still_have_an_interval() -> None:
    nothing = ChainResult(ROOM, "a room", [Chain(i, FIRST, 0, [9]) for i in range(20)])
    assert (nothing.average_length.mean, nothing.average_length.low) == (0.0, 0.0)
    assert nothing.average_length.high == 5 * wilson(0, 20).high
    everything = ChainResult(ROOM, "a room", [Chain(i, FIRST, 5, [9] * 5) for i in range(20)])
    assert everything.average_length.mean == 5.0
    assert everything.average_length.low == 5 * wilson(20, 20).low
    one = ChainResult(ROOM, "a room", [Chain(i, FIRST, 1, [9, 9]) for i in range(20)]).average_length
    assert (one.mean, one.low) == (1.0, wilson(20, 20).low)
    assert one.high == pytest.approx(1.0 + 4 * wilson(0, 20).high)


# protocol


def test_every_chain_starts_in_its_state(noise_policy: Any) -> None:
    evaluate_chains(noise_policy(ROOM), ROOM, chains=2, max_steps=1)
    robot, scene = start_state(load_chains(1)[0][0], LAYOUTS["D"])
    assert [seed for seed, _ in Room.starts] == [0, 1]
    for _, options in Room.starts:
        np.testing.assert_array_equal(options["robot_obs"], NEUTRAL)
        np.testing.assert_array_equal(options["robot_obs"], robot)
        np.testing.assert_array_equal(options["scene_obs"], scene)


def test_the_policy_starts_afresh_at_every_instruction(noise_policy: Any, resets: list[list[int] | None]) -> None:
    Room.needs = dict.fromkeys(FIRST, 2) | {"open_drawer": 1}
    policy = noise_policy(ROOM)
    evaluate_chains(policy, ROOM, chains=2, max_steps=4)
    # the episode and the first instruction of both slots; slot 1 after step 1; slot 0 after every second step
    assert resets == [[0, 1], [0, 1], [1], *[[0]] * 4]
    assert policy.calls == 10


def test_the_instruction_is_seen_from_its_first_step_on(noise_policy: Any) -> None:
    Room.needs = dict.fromkeys(FIRST, 2)
    policy = noise_policy(f"{ROOM}?instruction=task")
    seen: list[Any] = []
    sample = policy.sample

    def spy(obs: Any, noise: Any = None) -> Any:
        seen.append(obs["instruction"][0, 0].numpy().copy())
        return sample(obs, noise)

    policy.sample = spy
    evaluate_chains(policy, ROOM, chains=1)
    told = load_instructions("task")
    np.testing.assert_array_equal(seen, [told.vector(task) for task in FIRST for _ in range(2)])


@pytest.mark.parametrize("num_envs", [1, 2, 5])
def test_a_chain_does_not_depend_on_its_neighbors(noise_policy: Any, num_envs: int) -> None:
    Room.reach = 0.8  # reached when the noise wants it
    policy = noise_policy(ROOM)
    together = evaluate_chains(policy, ROOM, chains=12, max_steps=20)
    few = evaluate_chains(policy, ROOM, chains=12, max_steps=20, num_envs=num_envs)
    assert few.chains == together.chains
    assert [chain.index for chain in few.chains] == list(range(12))
    assert len({tuple(chain.steps) for chain in few.chains}) > 8
    assert len({chain.completed for chain in few.chains}) > 2
    assert few.num_envs == num_envs
    assert evaluate_chains(policy, ROOM, chains=4, max_steps=20).chains == together.chains[:4]


def test_each_chain_has_its_own_noise_and_it_goes_on_between_instructions(noise_policy: Any) -> None:
    Room.needs = dict.fromkeys(FIRST + SECOND, 20)
    policy = noise_policy(ROOM)
    evaluate_chains(policy, ROOM, chains=2)
    assert Room.actions[0][:8] != Room.actions[1][:8]
    assert Room.actions[0][:20] != Room.actions[0][20:40]
    assert Room.actions[0][: NOISE_BLOCK // 2] != Room.actions[0][NOISE_BLOCK : NOISE_BLOCK + NOISE_BLOCK // 2]
    of_seed_one = Room.actions[1]
    evaluate_chains(policy, ROOM, chains=1, seed=1)
    assert Room.actions[0] == of_seed_one


def test_the_policys_embedding_is_added_unless_the_id_has_one(noise_policy: Any) -> None:
    policy = noise_policy(f"{ROOM}?instruction=hashed")
    result = evaluate_chains(policy, ROOM, chains=1, max_steps=1)
    assert (result.env_id, result.instruction) == (f"{ROOM}?instruction=hashed", "hashed")
    limited = evaluate_chains(policy, f"{ROOM}?limit=9", chains=1, max_steps=1)
    assert limited.env_id == f"{ROOM}?limit=9&instruction=hashed"
    with pytest.raises(LaminarError, match=r"'instruction' has shape \(384,\) for the policy but \(34,\)"):
        evaluate_chains(policy, f"{ROOM}?instruction=task", chains=1)


def test_an_embedding_that_is_elsewhere_is_asked_for(noise_policy: Any) -> None:
    policy = noise_policy(f"{ROOM}?instruction=hashed")
    feature = policy.spec.observation["instruction"]
    object.__setattr__(feature, "unit", "lang_of a far/place")
    with pytest.raises(LaminarError, match="was trained with the instruction embedding 'lang_of a far/place': say"):
        evaluate_chains(policy, ROOM, chains=1)
    with pytest.raises(LaminarError, match=r"'lang_of a far/place' for the policy but 'hashed'"):
        evaluate_chains(policy, f"{ROOM}?instruction=hashed", chains=1)


# records


def test_json_has_our_fields_and_those_of_calvin(noise_policy: Any, tmp_path: Path) -> None:
    Room.needs = {"close_drawer": 1, "open_drawer": 1}
    result = evaluate_chains(noise_policy(ROOM), ROOM, chains=4, max_steps=2, seed=7)
    stored = json.loads(result.save(tmp_path / "new").read_text())
    assert stored["avg_seq_len"] == 0.75
    assert stored["chain_sr"] == {"1": 0.75, "2": 0.0, "3": 0.0, "4": 0.0, "5": 0.0}
    assert stored["task_info"]["close_drawer"] == {"success": 2, "total": 2}
    assert stored["task_info"]["turn_on_lightbulb"] == {"success": 0, "total": 1}
    assert stored["in_a_row"]["1"] == wilson(3, 4).to_json()
    assert stored["simulator"] == "a made-up room"
    assert stored["caveats"] == ["not comparable with published CALVIN scores: the simulator is a made-up room"]
    assert (stored["instruction"], stored["seed"], stored["max_steps"]) == (None, 7, 2)
    assert stored["chains"][0] == {"index": 0, "tasks": list(FIRST), "completed": 1, "steps": [1, 2]} | {
        "mean_squared_jerk": None,
        "also_done": [{}, {}],
    }
    assert stored["versions"]["mujoco"]
    again = load_chain_result(tmp_path / "new")
    assert again.chains == result.chains
    for key in set(stored) - {"chains", "steps_per_second"}:  # the time is rounded when it is stored
        assert again.to_json()[key] == stored[key]


def test_the_two_kinds_of_results_are_told_apart(tmp_path: Path) -> None:
    chains = ChainResult(ROOM, "a room", [Chain(0, FIRST, 0, [9])]).save(tmp_path / "chains")
    episodes = Result(ROOM, [Episode(0, 1.0, 2, True)]).save(tmp_path / "episodes")
    with pytest.raises(LaminarError, match=r"eval\.json: an evaluation of chains"):
        load_result(chains)
    with pytest.raises(LaminarError, match=r"eval\.json: an evaluation of single episodes"):
        load_chain_result(episodes)
    episodes.write_text("{}")
    with pytest.raises(LaminarError, match="not an evaluation"):
        load_chain_result(episodes)


@pytest.mark.parametrize(
    ("env_id", "count", "steps", "caveats"),
    [
        ("laminar/CALVIN-v0", 1000, 360, []),
        ("laminar/CALVIN-v0?scene=D", 100, 360, ["100 of the protocol's 1000 chains"]),
        ("laminar/CALVIN-v0?scene=A", 1000, 360, ["scene A, published scores are of scene D"]),
        ("laminar/CALVIN-v0", 1000, 240, ["240 steps an instruction, the protocol has 360"]),
        ("laminar/Playroom-v0", 1000, 360, ["not comparable with published CALVIN scores: the simulator is S"]),
    ],
)
def test_only_the_genuine_protocol_has_no_caveat(env_id: str, count: int, steps: int, caveats: list[str]) -> None:
    result = ChainResult(env_id, "S", [Chain(i, FIRST, 1, [3, 360]) for i in range(count)], steps)
    assert result.caveats == caveats
    assert result.summary().startswith("S: ")
    assert all(caveat in result.summary() for caveat in caveats)


@pytest.mark.parametrize("label", ["task", "hashed", "sentence-transformers:all-MiniLM-L6-v2"])
def test_other_instructions_than_the_protocols_are_a_caveat(label: str) -> None:
    chains = [Chain(i, FIRST, 1, [3, 360]) for i in range(1000)]
    (caveat,) = ChainResult("laminar/CALVIN-v0", "S", chains, instruction=label).caveats
    assert caveat == f"instructions are '{label}', published scores are of CALVIN's own sentences"
    assert ChainResult("laminar/CALVIN-v0", "S", chains, instruction="lang_annotations").caveats == []


def test_the_report_says_where_it_was_and_what_the_policy_saw(noise_policy: Any, tmp_path: Path) -> None:
    Room.needs = dict.fromkeys(FIRST, 1)
    blind = evaluate_chains(noise_policy(ROOM), ROOM, chains=3, max_steps=2)
    text = re.sub(" +", " ", write_chain_report(tmp_path, blind).with_suffix(".md").read_text())
    assert text.startswith(
        "# Chains of instructions in a made-up room\n\n**Not comparable with published CALVIN scores"
    )
    assert "does not see the instruction" in text
    assert "does not see the instruction" in blind.summary()
    assert "| at least 5 in a row | 0.3333 |" in text
    assert "| close_drawer | 1 | 1 | 1 |" in text
    assert "Video" not in text
    figures, tasks = text.split("| task |")
    assert figures.count("| 0.3333 |") == 5, "once for each of 1 to 5 in a row"
    assert "in a row" not in tasks
    seeing = evaluate_chains(noise_policy(f"{ROOM}?instruction=task"), ROOM, chains=1, max_steps=2)
    film = tmp_path / "chain_000_5_of_5.mp4"
    film.write_bytes(b"x")
    text = write_chain_report(tmp_path, seeing, films={0: film}).with_suffix(".md").read_text()
    assert "A single chain has no interval." in text
    assert "instructions are given as 'task'" in text
    assert "[Video of chain 0: 5 of 5 in a row](chain_000_5_of_5.mp4)" in text


# mistakes


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"chains": 0}, "0 chains were asked for; the protocol has 1 to 1000"),
        ({"chains": 1001}, "1001 chains were asked for"),
        ({"max_steps": 0}, "max_steps >= 1, got 0"),
        ({"seed": -1}, "seeds must be whole numbers from 0"),
        ({"num_envs": 0}, "num_envs must be at least 1"),
        ({"processes": 1}, "saved policy's folder"),
        ({"env_id": "Hopper-v4"}, "needs observation 'robot_obs', which environment 'Hopper-v4' lacks"),
        ({"env_id": f"{ROOM}?limit=2"}, "ended by itself at step 2 of chain 0"),
        ({"env_id": SILENT}, "does not tell success"),
    ],
)
def test_mistakes_are_told(noise_policy: Any, settings: dict[str, Any], message: str) -> None:
    policy = noise_policy(ROOM)
    with pytest.raises(LaminarError, match=message):
        evaluate_chains(policy, **({"env_id": ROOM, "chains": 2} | settings))


def test_an_environment_without_instructions_has_no_chains(noise_policy: Any) -> None:
    with pytest.raises(LaminarError, match=r"'Hopper-v4' takes no instructions.*Playroom"):
        evaluate_chains(noise_policy("Hopper-v4"), "Hopper-v4", chains=1)


def test_no_chains_no_result() -> None:
    with pytest.raises(LaminarError, match="no chains"):
        ChainResult(ROOM, "a room", [])
