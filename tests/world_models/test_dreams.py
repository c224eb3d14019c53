"""A world in place of a simulator: what fits together, and what does not is told in one line, with a remedy."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from laminar.cli import main
from laminar.data.episodes import Episodes
from laminar.data.formats import d4rl
from laminar.errors import LaminarError
from laminar.policies.storage import checkpoints
from laminar.world_models.dreams import DreamConfig, open_dreams
from laminar.world_models.model import WorldModel
from laminar.world_models.success import Success, SuccessConfig

FEW = SuccessConfig(members=1, width=16, updates=100, batch_size=32, margin=2)


@pytest.fixture
def saved(play: Episodes, small_world: Callable[..., WorldModel], tmp_path: Path) -> Path:
    folder = tmp_path / "saved"
    folder.mkdir()
    small_world(play).write(folder)
    return folder


def opened(path: Path, recorded: Episodes | None, wanted: Any = None, seed: int = 0, **more: Any) -> Any:
    config = DreamConfig(str(path), slots=4, horizon=20, success=more.get("success", FEW))
    torch.manual_seed(seed)
    spec = wanted or (recorded.spec if recorded is not None else None)
    return open_dreams(config, recorded, spec, more.get("task"), seed, torch.device("cpu"))


def test_they_are_opened_and_told(saved: Path, demonstrations: Episodes) -> None:
    world = opened(saved, demonstrations)
    assert (world.slots, world.horizon) == (4, 20)
    assert world.spec == demonstrations.spec
    first, *others = world.remarks
    assert first.startswith("dreams of 20 recordings begin at ")
    assert [line.split(", of held-out")[0] for line in others] == [
        "what counts as success, recorded",
        "what counts as success, 4 steps imagined",
        "what counts as success, wholly imagined",
    ]


def test_no_dream_begins_in_success(saved: Path, demonstrations: Episodes) -> None:
    world = opened(saved, demonstrations)
    world.reset({slot: slot for slot in range(4)})
    for seed in range(30):
        world.reset({0: seed})
        assert not world.success(world.model.evidence(world.features, world.features))[0]


def test_the_same_seed_opens_the_same(saved: Path, demonstrations: Episodes) -> None:
    one, other = (opened(saved, demonstrations) for _ in range(2))
    assert one.remarks == other.remarks
    assert torch.equal(one._begin.features, other._begin.features)
    chunks = np.random.default_rng(0).uniform(-1, 1, (4, 5, 2))
    shown = []
    for world in (one, other):
        world.reset({slot: slot for slot in range(4)})
        shown.append(world.step(chunks).observation["observation"].copy())
    np.testing.assert_array_equal(*shown)


def test_rewards_need_no_classifier(
    demonstrations: Episodes, small_world: Callable[..., WorldModel], tmp_path: Path
) -> None:
    small_world(replace(demonstrations, has_reward=True)).write(tmp_path)
    world = opened(tmp_path, demonstrations)
    assert world.success is None
    assert len(world.remarks) == 1


def test_a_policy_of_another_spec(saved: Path, demonstrations: Episodes) -> None:
    other = replace(demonstrations.spec, rate_hz=50.0)
    with pytest.raises(LaminarError, match=r"control rate differs: the policy runs at 50 Hz"):
        opened(saved, demonstrations, other)


def test_recordings_of_another_spec(saved: Path, demonstrations: Episodes) -> None:
    wider = replace(
        demonstrations,
        action=np.repeat(demonstrations.action, 2, axis=1),
        spec=replace(
            demonstrations.spec,
            action=replace(demonstrations.spec.action, shape=(4,)),
            action_low=(-1.0,) * 4,
            action_high=(1.0,) * 4,
        ),
    )
    with pytest.raises(LaminarError, match=r"action.*\(2,\).*\(4,\)"):
        opened(saved, wider, demonstrations.spec)


def test_no_recordings(saved: Path, demonstrations: Episodes) -> None:
    with pytest.raises(LaminarError, match=r"dreams begin at recorded moments: give data.path=PLAY"):
        opened(saved, None, demonstrations.spec)


def test_a_single_recording(saved: Path, demonstrations: Episodes) -> None:
    with pytest.raises(LaminarError, match="one recording of the skill is too few to learn what a success is from"):
        opened(saved, demonstrations.select(np.array([0])))


def test_recordings_that_all_share_steps(saved: Path, demonstrations: Episodes) -> None:
    one = replace(demonstrations, group=np.zeros(demonstrations.num_episodes, np.int64))
    with pytest.raises(LaminarError, match="20 recordings that all share steps of the skill are too few to learn"):
        opened(saved, one)


def test_recordings_without_a_failure(saved: Path, play: Episodes) -> None:
    row = np.arange(4)
    short = replace(
        play,
        observation={key: value[row] for key, value in play.observation.items()},
        final_observation={key: value[row] for key, value in play.final_observation.items()},
        action=play.action[row],
        reward=play.reward[row],
        terminated=np.ones(4, bool),
        truncated=np.zeros(4, bool),
        ends=row + 1,
        success=np.ones(4, bool),
    )
    with pytest.raises(LaminarError, match="the recordings are too short to show what is no success"):
        opened(saved, short, success=replace(FEW, tail=1))


def test_a_precision_that_is_not_reached_is_told(
    saved: Path, demonstrations: Episodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not any("no threshold" in line for line in opened(saved, demonstrations).remarks)
    monkeypatch.setattr("laminar.world_models.success.Success.probability", lambda _, rows: torch.ones(len(rows)))
    monkeypatch.setattr("laminar.world_models.dreams.learn", lambda rows, *_: Success(rows.features.shape[1], FEW))
    with pytest.raises(LaminarError, match="no recorded moment is left"):  # all counts as success
        opened(saved, demonstrations)
    monkeypatch.setattr("laminar.world_models.success.Success.probability", lambda _, rows: torch.zeros(len(rows)))
    assert "no threshold reaches world.success.precision=0.9" in opened(saved, demonstrations).remarks[-1]


@pytest.fixture
def refused(files: Any, capsys: pytest.CaptureFixture[str]) -> Callable[[list[str]], str]:
    """Return a function that runs a command line and returns the one line of its error."""

    def run(words: list[str]) -> str:
        capsys.readouterr()
        assert main(words) == 2
        lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("laminar: ")]
        lines = [line for line in lines if "warning" not in line]
        assert len(lines) == 1, lines
        return lines[0]

    return run


def with_path(words: list[str], name: str, path: object) -> list[str]:
    return [f"{name}={path}" if word.startswith(f"{name}=") else word for word in words]


def test_play_that_tells_nothing_of_success(files: Any, refused: Any, tmp_path: Path) -> None:
    told = refused(with_path(files.dreaming("diwa", out="told"), "data.path", files.play))
    assert "nothing tells which episodes succeed, neither language annotations nor success" in told


def test_no_data(files: Any, refused: Any) -> None:
    words = [word for word in files.dreaming("diwa", out="told") if not word.startswith("data.path=")]
    assert "dreams begin at recorded moments: give data.path=PLAY" in refused(words)


def test_a_policy_in_place_of_a_world(files: Any, refused: Any) -> None:
    told = refused(with_path(files.dreaming("diwa", out="told"), "world", files.clone))
    assert "holds a policy, and a world model is needed; train one: laminar train method=world_model" in told


def test_a_world_in_place_of_a_policy(files: Any, refused: Any) -> None:
    told = refused(with_path(files.dreaming("diwa", out="told"), "init", files.world))
    assert "world" in told


def test_a_method_that_does_not_act(files: Any, refused: Any) -> None:
    words = ["train", f"data.path={files.demonstrations}", f"world={files.world}", f"out={files.folder / 'told'}"]
    told = refused(words)
    assert f"world={files.world} is for methods that act, and method=bc does not; leave it out" in told


def test_neither_a_world_nor_an_environment(files: Any, refused: Any) -> None:
    words = [word for word in files.dreaming("diwa", out="told") if not word.startswith("world")]
    words = [word for word in words if not word.startswith("data.path=")]
    assert "give env.id=ENVIRONMENT, or world=WORLD to act in a dream" in refused(words)


def test_play_that_is_shorter_than_a_sequence(files: Any, refused: Any) -> None:
    told = refused(with_path(files.learning("method.length=40", out="told"), "data.path", files.demonstrations))
    assert "steps of a sequence, the longest has" in told
    assert "choose a shorter method.length than 40" in told


def test_play_that_is_too_short_to_be_held_out(files: Any, refused: Any, room: ModuleType, tmp_path: Path) -> None:
    short = tmp_path / "short.hdf5"
    d4rl.write(short, room.play(episodes=6, steps=30))
    told = refused(with_path(files.learning(out="told"), "data.path", short))
    assert "no episode has the 59 steps of a sequence, the longest has 30; a world model is measured that far" in told


def test_a_sequence_of_which_nothing_is_imagined(files: Any, refused: Any) -> None:
    told = refused(files.learning("method.model.context=20", out="told"))
    assert "method.model.context=20 leaves nothing of method.length=20 to be imagined; make it smaller" in told


def test_a_world_model_begins_with_nothing(files: Any, refused: Any) -> None:
    told = refused([*files.learning(out="told"), f"init={files.clone}"])
    assert "method=world_model starts from recordings alone; leave out init=" in told


def test_a_world_that_is_not_there(files: Any, refused: Any) -> None:
    told = refused(with_path(files.dreaming("diwa", out="told"), "world", files.folder / "nowhere"))
    assert f"no world model in {files.folder / 'nowhere'}: no such folder; give the out= folder of a training" in told


def test_a_classifier_that_goes_astray(files: Any, refused: Any) -> None:
    told = refused(files.dreaming("diwa", "world.success.lr=1e20", out="told"))
    assert "the classifier of success is not finite after 200 updates; lower world.success.lr=1e+20" in told


def test_a_world_model_acts_nowhere(files: Any, refused: Any) -> None:
    told = refused(files.learning("task=playroom/close_drawer", out="told"))
    assert "method=world_model trains no policy that could act in env.id=" in told


def test_a_world_model_is_no_policy_to_evaluate(files: Any, refused: Any) -> None:
    told = refused([*files.learning(out="told"), "evaluation.every=50", "data.validation=0.1"])
    assert "method=world_model trains no policy that could be evaluated; set evaluation.every=0" in told


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("env.slots=3",), "env.slots is of simulators, and world="),
        (
            ("evaluation.every=4",),
            "no env.id to evaluate in, and a dream is none: give task=TASK or env.id=ENVIRONMENT",
        ),
        (("world.task=close_drawer",), "world.task=close_drawer chooses from annotated windows, and"),
        (("env.processes=1",), "env.processes is of simulators, and world="),
        (("data.validation=0.5",), "data.validation=0.5 holds out what is cloned, and in dreams nothing is"),
        (
            ("world.task=close_drawer", "task=playroom/open_drawer"),
            "world.task=close_drawer is dreamed of, and task=open_drawer would be evaluated; give the same",
        ),
    ],
    ids=str,
)
def test_settings_that_dreams_do_not_have(files: Any, refused: Any, words: tuple[str, ...], told: str) -> None:
    assert told in refused([*files.dreaming("diwa", out="told"), *words])
    assert not (files.folder / "told").exists()


@pytest.mark.parametrize(
    ("setting", "name"), [("world.horizon=7", "horizon"), ("world.success.tail=9", "success.tail")]
)
def test_settings_of_dreams_without_a_world(files: Any, refused: Any, setting: str, name: str) -> None:
    words = ["train", "method=dppo", f"init={files.clone}", f"out={files.folder / 'told'}", setting]
    assert f"world.{name} is of dreams, and none are dreamed; give world=WORLD, or leave it out" in refused(words)


def test_control_steps_are_of_as_many_dreams_as_there_are(files: Any) -> None:
    words = [word for word in files.dreaming("diwa", out="counted") if not word.startswith("method.iterations")]
    assert main([*words, "env.steps=80"]) == 0  # one iteration: 5 chunks of 4 in 4 dreams
    assert json.loads((files.folder / "counted" / "run.json").read_text())["steps"] == 2 * 4


def test_a_world_that_was_trained_on_is_another(files: Any, refused: Any, tmp_path: Path) -> None:
    world = tmp_path / "world"
    shutil.copytree(checkpoints(files.world)[-1], world)
    words = with_path(files.dreaming("diwa", "method.iterations=1", out="trained_on"), "world", world)
    assert main(words) == 0
    shutil.rmtree(world)
    shutil.copytree(checkpoints(files.world)[-2], world)
    told = refused([*words, "resume=true"])
    assert "the world model has been trained on since this run began to dream in it; resume with its weights" in told
