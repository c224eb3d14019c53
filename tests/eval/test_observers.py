"""Who follows an evaluation or a collection hears of each finished piece once, and changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from laminar.envs.collect import collect
from laminar.envs.suites import pointmaze
from laminar.errors import Stopped
from laminar.eval.rollouts.chains import evaluate_chains
from laminar.eval.rollouts.compare import compare
from laminar.eval.rollouts.episodes import evaluate
from laminar.eval.rollouts.lockstep import Lockstep
from laminar.eval.rollouts.options import RolloutOptions
from laminar.progress import Finished, Watch

HOPPER = "Hopper-v4"


class Listener:
    """Keeps what it hears: what was begun, and of each what was finished."""

    def __init__(self) -> None:
        self.begun: list[tuple[int, str, str]] = []
        self.heard: list[list[Finished]] = []

    @contextmanager
    def __call__(self, total: int, unit: str = "episode", title: str = "") -> Generator[Watch]:
        self.begun.append((total, unit, title))
        self.heard.append([])
        yield self.heard[-1].append


@pytest.fixture
def run(made_up_policy: Callable[..., Any], tmp_path: Path) -> Path:
    return made_up_policy().save(tmp_path / "policy")


def test_each_episode_is_told_once(noise_policy: Any, capsys: pytest.CaptureFixture[str]) -> None:
    policy, listener = noise_policy(HOPPER), Listener()
    followed = evaluate(policy, HOPPER, range(7), num_envs=3, progress=listener)
    alone = evaluate(policy, HOPPER, range(7), num_envs=3)
    assert followed.episodes == alone.episodes
    assert listener.begun == [(7, "episode", "")]
    returns = [done.figures["return"] for done in listener.heard[0]]
    assert sorted(returns) == sorted(alone.returns)
    assert capsys.readouterr() == ("", ""), "nobody asked for anything on the terminal"


def test_success_is_the_first_figure(noise_policy: Any) -> None:
    listener = Listener()
    result = evaluate(noise_policy(pointmaze.ENV_ID), pointmaze.ENV_ID, range(2), progress=listener)
    assert [list(done.figures) for done in listener.heard[0]] == [["success", "return"]] * 2
    assert sum(done.figures["success"] for done in listener.heard[0]) == sum(bool(e.success) for e in result.episodes)


def test_workers_tell_their_parent(run: Path) -> None:
    listener = Listener()
    followed = evaluate(run, HOPPER, range(5), num_envs=1, processes=2, progress=listener)
    assert listener.begun == [(5, "episode", "")]
    assert sorted(done.figures["return"] for done in listener.heard[0]) == sorted(followed.returns)
    assert followed.episodes == evaluate(run, HOPPER, range(5), num_envs=1).episodes


def test_an_interrupted_evaluation_told_what_it_keeps(noise_policy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    listener, step = Listener(), Lockstep.step

    def stepped(self: Lockstep, *arguments: Any) -> Any:
        if listener.heard[0]:
            raise KeyboardInterrupt
        return step(self, *arguments)

    monkeypatch.setattr(Lockstep, "step", stepped)
    with pytest.raises(Stopped) as stop:
        evaluate(noise_policy(HOPPER), HOPPER, range(3), num_envs=1, progress=listener)
    assert len(stop.value.found.episodes) == len(listener.heard[0]) == 1


def test_a_comparison_names_whom_it_measures(noise_policy: Any) -> None:
    listener = Listener()
    one = noise_policy(HOPPER)
    compare([one, noise_policy(HOPPER, scale=0.1)], HOPPER, range(2), RolloutOptions(progress=listener))
    assert listener.begun == [(2, "episode", "A"), (2, "episode", "B")]
    assert [len(heard) for heard in listener.heard] == [2, 2]


def test_chains_are_counted_too(noise_policy: Any) -> None:
    env_id, listener = "laminar/Playroom-v0?scene=D", Listener()
    result = evaluate_chains(noise_policy(env_id), env_id, chains=2, max_steps=3, progress=listener)
    assert listener.begun == [(2, "chain", "")]
    told = sorted(done.figures["instructions in a row"] for done in listener.heard[0])
    assert told == sorted(chain.completed for chain in result.chains)


@pytest.mark.parametrize("env_id", [pointmaze.ENV_ID, "laminar/Playroom-v0?task=open_drawer"])
def test_collected_episodes_are_told(env_id: str, tmp_path: Path) -> None:
    listener = Listener()
    collect(env_id, 3, 0, tmp_path / "followed.hdf5", progress=listener)
    collect(env_id, 3, 0, tmp_path / "alone.hdf5")
    assert listener.begun == [(3, "episode", "")]
    assert sum(done.count for done in listener.heard[0]) == 3
    assert (tmp_path / "followed.hdf5").read_bytes() == (tmp_path / "alone.hdf5").read_bytes()


def test_a_suite_need_not_tell(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    record = pointmaze.collect
    monkeypatch.setattr(pointmaze, "collect", lambda env, episodes, seed: record(env, episodes, seed))
    listener = Listener()
    assert "2 episodes" in collect(pointmaze.ENV_ID, 2, 0, tmp_path / "m.hdf5", progress=listener)
    assert listener.heard == [[]]
