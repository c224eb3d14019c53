"""A run knows its data: it tells what is odd about them, and does not go on with others."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from laminar.cli import main
from laminar.data.episodes import Episodes
from laminar.data.formats import d4rl
from laminar.policies import load_policy
from laminar.policies.generative import generative
from laminar.policies.storage import checkpoints
from laminar.train.run.data_record import alike_once

STEPS = ("steps=4", "log_every=2", "checkpoint_every=2")
SMALL = ("network.width=8", "method.batch_size=4")


def words(data: Path | str, out: Path, *more: str) -> list[str]:
    small = SMALL[1:] if any(word.startswith("init=") for word in more) else SMALL
    return ["train", "method=bc", f"data.path={data}", f"out={out}", *STEPS, *small, *more]


@pytest.fixture
def started(episodes: Episodes, tmp_path: Path) -> tuple[Path, Path]:
    """Return data of a run, and the run after half of its updates."""
    data, run = tmp_path / "demos.hdf5", tmp_path / "run"
    d4rl.write(data, episodes)
    assert main(words(data, run)) == 0
    shutil.rmtree(checkpoints(run)[-1])
    return data, run


def more_episodes(episodes: Episodes) -> Episodes:
    return episodes.select([0, 1, 2, 3, 0, 1])


def one_number(episodes: Episodes) -> Episodes:
    action = episodes.action.copy()
    action[33, 1] += 1e-3
    return replace(episodes, action=action)


def order(episodes: Episodes) -> Episodes:
    return episodes.select([1, 0, 2, 3])


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (more_episodes, "6 episodes, were 4, 120 steps, were 80"),
        (one_number, "as many episodes and steps (4, 80), other values"),
        (order, "as many episodes and steps (4, 80), other values"),
        (lambda episodes: episodes.select([0, 1, 2]), "3 episodes, were 4, 60 steps, were 80"),
    ],
)
def test_changed_data_are_not_resumed(
    change: Callable[[Episodes], Episodes],
    told: str,
    started: tuple[Path, Path],
    episodes: Episodes,
    capsys: pytest.CaptureFixture[str],
) -> None:
    data, run = started
    before = (run / "run.json").read_bytes()
    d4rl.write(data, change(episodes))
    assert main(words(data, run, "resume=true")) == 2
    error = capsys.readouterr().err
    assert f"cannot resume {run}: the data have changed since this run began: {told}; " in error
    assert f"init={run}" in error
    assert (run / "run.json").read_bytes() == before
    # what was saved is known too, should the settings be lost
    stored = json.loads(before)
    del stored["record"]["fingerprint"]
    (run / "run.json").write_text(json.dumps(stored))
    assert main(words(data, run, "resume=true")) == 2
    assert told in capsys.readouterr().err


def test_the_same_data_elsewhere_are_resumed(started: tuple[Path, Path], tmp_path: Path) -> None:
    data, run = started
    moved = data.rename(tmp_path / "moved.hdf5")
    assert main(words(moved, run, "resume=true")) == 0
    assert json.loads((run / "run.json").read_text())["data"]["path"] == str(moved)


def test_a_run_of_an_earlier_version_is_resumed_by_its_path(
    started: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, run = started
    stored = json.loads((run / "run.json").read_text())
    del stored["record"]
    stored["init"] = None
    (run / "run.json").write_text(json.dumps(stored))
    (checkpoints(run)[-1] / "data.json").unlink()
    assert main(words(shutil.copy(data, tmp_path / "copy.hdf5"), run, "resume=true")) == 2
    assert "data.path was" in capsys.readouterr().err
    assert main(words(data, run, "resume=true")) == 0


def test_an_unbounded_run_of_an_earlier_version_goes_on_as_it_was(
    demonstrations: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, run = demonstrations, tmp_path / "earlier"
    unbounded = ["policy.observation_bound=null", "policy.observation_floor=false"]
    assert main(words(data, run, "checkpoint_every=1", *unbounded)) == 0
    shutil.rmtree(checkpoints(run)[-1])
    stored = json.loads((run / "run.json").read_text())
    for name in ("observation_bound", "observation_floor"):
        del stored["policy"][name]
    (run / "run.json").write_text(json.dumps(stored))
    assert main(words(data, run, "resume=true", "policy.observation_bound=1", "checkpoint_every=1")) == 2
    assert "policy.observation_bound was None and is now 1.0" in capsys.readouterr().err
    assert main(words(data, run, "resume=true", "checkpoint_every=1")) == 0
    now = json.loads((run / "run.json").read_text())["policy"]
    assert (now["observation_bound"], now["observation_floor"]) == (None, False)


def shifted(episodes: Episodes) -> Episodes:
    """Return data in other places, with wider actions."""
    observation = {"observation": episodes.observation["observation"] + np.array([0, 9, 0], "f")}
    final = {"observation": episodes.final_observation["observation"] + np.array([0, 9, 0], "f")}
    return replace(
        episodes, observation=observation, final_observation=final, action=episodes.action * 3, spec=wide(episodes)
    )


def wide(episodes: Episodes):
    return replace(episodes.spec, action_low=None, action_high=None)


@pytest.mark.parametrize("normalizer", ["keep", "refit"])
def test_a_start_with_other_data_is_told_or_takes_their_statistics(
    normalizer: str, started: tuple[Path, Path], episodes: Episodes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, start = started
    other, run = tmp_path / "other.hdf5", tmp_path / "next"
    d4rl.write(other, shifted(episodes))
    capsys.readouterr()
    assert main(words(other, run, f"init={start}", f"init.normalizer={normalizer}")) == 0
    told = capsys.readouterr().err
    policy, before = generative(load_policy(run)), generative(load_policy(start))
    stored = json.loads((run / "run.json").read_text())
    assert stored["init"] == {"path": str(start), "normalizer": normalizer}
    _, high = policy.observation_normalizer.fitted_range["observation"]
    outside = [line for line in stored["record"]["remarks"] if "leave the range that init=" in line]
    if normalizer == "keep":
        assert torch.equal(high, before.observation_normalizer.fitted_range["observation"][1])
        assert len(outside) == 2
        assert outside[0].startswith("observation 'observation': 1 of 3 dimensions leave the range")
        assert "(1: 100.0% of steps" in outside[0]
        assert outside[1].startswith("action: 2 of 2 dimensions")
        assert f"note: {outside[1]}" in told
        assert "init.normalizer=refit" in told
    else:
        assert outside == []
        assert high[1] == shifted(episodes).observation["observation"][:, 1].max()
        assert policy.action_high.isinf().all()
        fitted = policy.action_normalizer.fitted_range["action"][1]
        assert torch.equal(fitted, torch.from_numpy(episodes.action.max(axis=0) * 3))


def test_a_refit_keeps_the_weights(started: tuple[Path, Path], episodes: Episodes, tmp_path: Path) -> None:
    _, start = started
    d4rl.write(tmp_path / "other.hdf5", shifted(episodes))
    frozen = ("init.normalizer=refit", "method.lr=1e-12")
    assert main(words(tmp_path / "other.hdf5", tmp_path / "next", f"init={start}", *frozen)) == 0
    policy, before = generative(load_policy(tmp_path / "next")), generative(load_policy(start))
    for name, value in before.network.state_dict().items():
        torch.testing.assert_close(policy.network.state_dict()[name], value, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["init.normalizer=refit"], "init.normalizer=refit is for a start from a saved policy: give init=PATH"),
        (["init=somewhere", "init.normalizer=again"], "init.normalizer must be keep or refit, got again"),
    ],
)
def test_a_refit_needs_something_to_fit(
    more: list[str], message: str, demonstrations: Path, tmp_path: Path, capsys
) -> None:
    assert main(["train", f"data.path={demonstrations}", f"out={tmp_path / 'run'}", *more]) == 2
    assert message in capsys.readouterr().err


def test_remarks_and_problems_are_told_and_kept(
    episodes: Episodes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    observation = episodes.observation["observation"].copy()
    observation[:, 1] = 0.7 + 1e-6 * np.sin(np.arange(len(observation)))
    observation[:, 2] = 5
    action = episodes.action.copy()
    action[:, 0] = 0.25 + 1e-5 * action[:, 0]
    final = observation[episodes.ends - 1]
    data = replace(episodes, observation={"observation": observation}, final_observation={"observation": final})
    d4rl.write(tmp_path / "odd.hdf5", replace(data, action=action))
    assert main(words(tmp_path / "odd.hdf5", tmp_path / "run")) == 0
    told = capsys.readouterr().err.splitlines()
    record = json.loads((tmp_path / "run" / "run.json").read_text())["record"]
    assert record["fingerprint"]["episodes"] == 4
    assert any(
        "observation 'observation': 1 dimension hardly varies (1 by 2e-06 around 0.7" in x for x in record["problems"]
    )
    assert any("action: 1 dimension hardly varies (0 by " in line for line in record["problems"])
    assert any("never change" in line for line in record["problems"])
    for kind, lines in (("note", record["remarks"]), ("looks wrong", record["problems"])):
        assert [line for line in told if line.startswith(f"{kind}: ")] == [f"{kind}: {line}" for line in lines]


def test_a_floor_that_is_off_is_told(episodes: Episodes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    observation = episodes.observation["observation"].copy()
    observation[:, 1] = 0.7 + 1e-5 * np.sin(np.arange(len(observation)))
    final = observation[episodes.ends - 1]
    data = replace(episodes, observation={"observation": observation}, final_observation={"observation": final})
    d4rl.write(tmp_path / "odd.hdf5", data)
    for floor, follows in (("true", "taken as constant"), ("false", "taken as signal all the same")):
        run = tmp_path / floor
        assert main(words(tmp_path / "odd.hdf5", run, f"policy.observation_floor={floor}")) == 0
        assert f"; {follows}" in capsys.readouterr().err
        constant = generative(load_policy(run)).observation_normalizer.constant
        assert constant == ({"observation": [1]} if floor == "true" else {})


def test_what_many_files_have_in_common_is_told_once() -> None:
    files = [f"{number}.hdf5" for number in range(40)]
    remarks = [f"{file}: the last row of {k} episodes is no step" for k, file in enumerate(files)]
    remarks += ["7.hdf5: something else", "the action limits differ between the files: none are assumed"]
    assert alike_once(remarks, files) == [
        "0.hdf5: the last row of 0 episodes is no step (and alike in 39 more files)",
        "7.hdf5: something else",
        "the action limits differ between the files: none are assumed",
    ]
