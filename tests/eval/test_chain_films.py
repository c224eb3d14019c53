"""Films of chains that were measured: which ones, and that they show what happened."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from laminar.envs import make_env
from laminar.envs.chains import load_chains, start_state
from laminar.envs.playroom.experts import script
from laminar.envs.playroom.experts.hand import Hand
from laminar.errors import LaminarError
from laminar.eval.results.chain_result import Chain, ChainResult, load_chain_result
from laminar.eval.rollouts import chain_films as module
from laminar.eval.rollouts import video
from laminar.eval.rollouts.chain_films import chosen, film_chains, film_name
from laminar.eval.rollouts.chains import evaluate_chains

from .rooms import FIRST, ROOM, SECOND, THIRD, Room, registered

PLAYROOM = "laminar/Playroom-v0?scene=D"


@pytest.fixture
def room(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Register the room."""
    yield from registered(monkeypatch)


@pytest.fixture
def frames(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[video.Caption]]:
    """Keep what would be drawn: name of a film -> captions of its pictures. The pictures are black."""
    kept: dict[str, list[video.Caption]] = {}

    class Dark:
        def __init__(self, env: Any, width: int, height: int) -> None:
            self.size = (height, width, 3)

        def picture(self) -> np.ndarray:
            return np.zeros(self.size, np.uint8)

        def close(self) -> None:
            pass

    def write(recorder: video.Recorder) -> None:
        (take,) = recorder._takes.values()
        kept[recorder.path.name] = [caption for _, caption in take.shots]

    monkeypatch.setattr(video, "Camera", Dark)
    monkeypatch.setattr(video.Recorder, "write", write)
    monkeypatch.setattr(module, "drawing_problem", lambda env: "")
    return kept


# which ones


def chains_with(*completed: int) -> list[Chain]:
    tasks = (FIRST, SECOND, THIRD)
    return [Chain(number, tasks[number % 3], done, [9] * min(5, done + 1)) for number, done in enumerate(completed)]


@pytest.mark.parametrize(
    ("of", "numbers"),
    [
        ("first", [0, 1, 2]),
        ("longest", [4, 5, 2]),
        # chains 0, 3 and 6 fail at the first task of FIRST, which is the most frequent failure
        ("failed", [0, 1, 2]),
        ("mixed", [4, 0, 1]),
    ],
)
def test_which_chains_are_filmed(of: str, numbers: list[int]) -> None:
    chains = chains_with(0, 2, 3, 0, 5, 5, 0)
    assert [chain.index for chain in chosen(chains, 3, of)] == numbers
    assert chosen(chains, 0, of) == []
    assert len(chosen(chains, 99, of)) == {"first": 7, "longest": 7, "failed": 5, "mixed": 6}[of]


def test_failures_of_different_tasks_come_first() -> None:
    chains = chains_with(0, 2, 3, 0, 5, 5, 0)
    assert [chain.index for chain in chosen(chains, 99, "failed")] == [0, 1, 2, 3, 6]
    assert [chain.index for chain in chosen(chains_with(0, 1, 1, 0), 2, "failed")] == [0, 1]
    assert [chain.index for chain in chosen(chains_with(1, 0, 2, 1, 0, 2, 2, 0), 3, "failed")] == [1, 0, 2]


def test_without_a_complete_chain_the_longest_is_filmed_once() -> None:
    chains = chains_with(0, 2, 1)
    assert [chain.index for chain in chosen(chains, 3)] == [1, 0, 2]


def test_an_unknown_choice_is_told() -> None:
    with pytest.raises(LaminarError, match=r"video_of=best is no choice.*known: first, longest, failed, mixed"):
        chosen(chains_with(1), 1, "best")


# what they show


@pytest.mark.usefixtures("room")
def test_a_film_is_of_what_was_measured(noise_policy: Any, tmp_path: Path, frames: dict[str, Any]) -> None:
    Room.reach = 0.8  # reached when the noise wants it
    Room.besides = {task: {"stack_block": 3} for task in FIRST}
    result = evaluate_chains(noise_policy(ROOM), ROOM, chains=12, max_steps=20, seed=3)
    executed, Room.actions = Room.actions, {}
    films = film_chains(result, tmp_path, count=12, of="first")
    assert list(films) == list(range(12))
    assert [film.name for film in films.values()] == [film_name(chain) for chain in result.chains]
    assert set(frames) == {film_name(chain) for chain in result.chains}
    assert Room.actions == executed, "the same actions, to the bit"
    for chain in result.chains:
        shots = frames[film_name(chain)]
        assert len(shots) == 1 + sum(chain.steps)
        place = 0
        for number, steps in enumerate(chain.steps):
            for caption in shots[place : place + steps]:
                assert caption.task == f"{number + 1} of 5: {chain.tasks[number].replace('_', ' ')}"
                assert caption.whose == f"chain {chain.index}"
            place += steps
        assert shots[-1].outcome.startswith(f"ended: {chain.completed} of 5")
        assert shots[-1].good is chain.whole
    failed = next(chain for chain in result.chains if chain.tasks == FIRST and not chain.whole)
    assert frames[film_name(failed)][-1].outcome.endswith(", stack block done instead")


def test_a_film_says_the_words_that_were_said(
    noise_policy: Any, tmp_path: Path, frames: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    policy = noise_policy(f"{PLAYROOM}&instruction=hashed")
    result = evaluate_chains(policy, PLAYROOM, chains=1, max_steps=2, phrasings="held_out")
    film_chains(result, tmp_path, count=1)
    assert result.chains[0].sentences[0] in frames["chain_000_0_of_5.mp4"][0].task
    assert "otherwise" not in capsys.readouterr().err


@pytest.mark.usefixtures("room")
def test_a_simulator_that_does_not_repeat_is_told(
    noise_policy: Any, tmp_path: Path, frames: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    Room.needs = dict.fromkeys(FIRST, 2)
    result = evaluate_chains(noise_policy(ROOM), ROOM, chains=1, max_steps=4)
    Room.needs = {FIRST[0]: 3}
    assert film_chains(result, tmp_path) == {0: tmp_path / "chain_000_1_of_5.mp4"}
    assert list(frames) == ["chain_000_1_of_5.mp4"], "named for what it shows"
    assert "chain 0 went otherwise when it was filmed" in capsys.readouterr().err


@pytest.mark.usefixtures("room", "frames")
def test_ctrl_c_keeps_the_films_that_are_done(
    noise_policy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Room.needs = dict.fromkeys(FIRST, 1)
    result = evaluate_chains(noise_policy(ROOM), ROOM, chains=3, max_steps=2)
    step = Room.step

    def interrupted(self: Room, action: Any) -> Any:
        if len(Room.starts) == 3 + 2:  # measured and filmed
            raise KeyboardInterrupt
        return step(self, action)

    monkeypatch.setattr(Room, "step", interrupted)
    assert list(film_chains(result, tmp_path, of="first")) == [0]
    assert "no film of chain 1: interrupted" in capsys.readouterr().err


@pytest.mark.usefixtures("room", "frames")
def test_a_machine_that_cannot_draw_says_so(
    noise_policy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    result = evaluate_chains(noise_policy(ROOM), ROOM, chains=3, max_steps=2)
    monkeypatch.setattr(module, "drawing_problem", lambda env: "no light")
    assert film_chains(result, tmp_path) == {}
    assert capsys.readouterr().err.count("no light") == 1


@pytest.mark.usefixtures("room")
def test_a_result_from_a_file_has_no_actions(noise_policy: Any, tmp_path: Path) -> None:
    result = evaluate_chains(noise_policy(ROOM), ROOM, chains=1, max_steps=2)
    result.save(tmp_path)
    with pytest.raises(LaminarError, match=r"actions of chain 0 are not in its file"):
        film_chains(load_chain_result(tmp_path), tmp_path)


def test_a_chain_of_five_in_the_playroom_is_filmed_from_start_to_end(tmp_path: Path, frames: dict[str, Any]) -> None:
    """The scripted experts do a whole chain, and their recorded actions do it again, step for step."""
    chain = by_experts(0)
    assert chain.whole
    result = ChainResult(PLAYROOM, "the playroom", [chain])
    assert film_chains(result, tmp_path) == {chain.index: tmp_path / f"chain_{chain.index:03d}_5_of_5.mp4"}
    (shots,) = frames.values()
    assert len(shots) == 1 + sum(chain.steps), "no success came earlier or later"
    assert (shots[-1].outcome, shots[-1].good) == ("ended: 5 of 5", True)


def by_experts(number: int, seed: int = 0) -> Chain:
    """Return one of the protocol's chains as the scripted experts carry it out."""
    env = make_env(PLAYROOM)
    room: Any = env.unwrapped
    state, tasks = load_chains(number + 1)[number]
    robot, scene = start_state(state, room.layout)
    env.reset(seed=number, options={"robot_obs": robot, "scene_obs": scene})
    chain, actions, random = Chain(number, tasks, also_done=[]), [], np.random.default_rng(seed)
    for task in tasks:
        room.begin(task)
        chain.steps.append(0)
        success = False
        for action in script(task, Hand(room.room, random)):
            actions.append(np.clip(action, -1, 1).astype(np.float32))
            success = env.step(actions[-1])[4]["success"]
            chain.steps[-1] += 1
            if success or chain.steps[-1] == 360:
                break
        chain.also_done = [*(chain.also_done or []), {k: at for k, at in room.achieved.items() if k != task}]
        if not success:
            break
        chain.completed += 1
    env.close()
    chain.actions = np.array(actions)
    return chain
