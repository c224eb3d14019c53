"""What cannot be steered, and what nothing can be learned from: one line, with a remedy."""

from __future__ import annotations

from typing import Any

import h5py
import numpy as np
import pytest

from laminar.cli import main
from laminar.data.formats import d4rl
from laminar.data.spec import Feature, Spec


@pytest.fixture
def refused(toy: Any, capsys: pytest.CaptureFixture[str]) -> Any:
    """Return a function that runs a command line and returns the one line of its error; nothing was begun."""

    def run(words: list[str], begun: bool = False) -> str:
        capsys.readouterr()
        assert main(words) == 2
        lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("laminar: ")]
        lines = [line for line in lines if "warning" not in line]
        assert len(lines) == 1, lines
        assert begun or not (toy.folder / "run").exists()
        return lines[0]

    return run


def without(words: list[str], *names: str) -> list[str]:
    return [word for word in words if word.partition("=")[0] not in names]


@pytest.mark.parametrize(
    ("base", "told"),
    [
        ({"process": "diffusion", "settings": {"solver": "ddpm", "steps": 3}}, "choose policy.process.solver=ddim"),
        ({"process": "direct", "settings": {}}, "this one is deterministic; clone another one with policy=meanflow"),
        (
            {"ensemble": 0.1, "execute": 1},
            "(policy.ensemble=0.1), and steering judges actions as they are executed; start",
        ),
    ],
    ids=["ddpm", "deterministic", "ensemble"],
)
@pytest.mark.parametrize("method", ["dsrl", "residual"])
def test_bases(toy: Any, refused: Any, base: dict[str, Any], told: str, method: str) -> None:
    assert told in refused(toy.words(method=method, base=toy.save(name="other", **base)))


def test_no_policy_to_improve(toy: Any, refused: Any) -> None:
    told = refused(without(toy.words(), "init"))
    assert "init=POLICY" in told
    data = toy.folder / "demos.hdf5"
    d4rl.write(data, toy.recorded())
    told = refused([*without(toy.words(), "init"), f"data.path={data}"])
    assert "method=dsrl improves a saved policy: give init=POLICY" in told


def test_no_environment(toy: Any, refused: Any) -> None:
    assert "method=dsrl acts while it learns: give env.id=" in refused(without(toy.words(), "env.id"))


def test_an_environment_of_other_actions(toy: Any, refused: Any) -> None:
    told = refused(toy.words(arguments="limit=10&width=2"))
    assert "action has shape (1,)" in told
    assert "(2,)" in told


@pytest.mark.parametrize("words", [("env.steps=20",), ("env.steps=15",)], ids=" ".join)
def test_a_warm_up_that_leaves_nothing(toy: Any, refused: Any, words: tuple[str, ...]) -> None:
    told = refused(toy.words(*words))
    assert "method.warm_up=20 leaves nothing of env.steps=" in told
    assert "a smaller method.warm_up" in told


def test_settings_that_learn_nothing(toy: Any, refused: Any) -> None:
    told = refused(toy.words("method.steer=false"))
    assert "method.steer=false and method.edit_scale=0 learn nothing; give method.edit_scale=0.2" in told
    told = refused(toy.words("method.entropy_backup=true", method="residual"))
    assert "with method.steer=false there is none; leave it out" in told


def test_two_lengths(toy: Any, refused: Any) -> None:
    assert "steps=7 and env.steps=80" in refused(toy.words("steps=7"))


def test_control_steps_of_a_method_that_does_not_act(toy: Any, refused: Any) -> None:
    data = toy.folder / "demos.hdf5"
    d4rl.write(data, toy.recorded())
    told = refused(["train", "method=bc", f"data.path={data}", "env.steps=100", f"out={toy.folder / 'run'}"])
    assert "env.steps is for methods that act, and method=bc does not; leave it out" in told


@pytest.mark.parametrize("processes", [0, 1])
def test_a_reward_that_is_no_number(toy: Any, refused: Any, processes: int) -> None:
    words = toy.words("checkpoint_every=1", f"env.processes={processes}", arguments="limit=10&trouble=no%20reward")
    told = refused(words, begun=True)
    assert "environment 'user/Count-v0?limit=10&trouble=no%20reward" in told
    assert "returned a reward that is nan; correct the environment" in told


def test_recordings(toy: Any, refused: Any) -> None:
    def given(name: str, **changed: Any) -> str:
        path = toy.folder / name
        d4rl.write(path, toy.recorded(**{key: value for key, value in changed.items() if key != "reward"}))
        if "reward" in changed:
            with h5py.File(path, "r+") as file:
                file["rewards"][:] = changed["reward"]
        return refused(toy.words(f"data.path={path}"))

    reward = np.linspace(0, 1, 20, dtype=np.float32)
    reward[7] = np.nan
    assert "nan.hdf5: reward is not finite in 1 of 20 rows, first in row 7; repair" in given("nan.hdf5", reward=reward)
    told = given("zero.hdf5", reward=np.zeros(20, np.float32))
    assert "the reward is 0 in all 20 steps, so no action is better than another; use data" in told
    spec = Spec({"observation": Feature((3,))}, Feature((2,)), (-1.0, -1.0), (1.0, 1.0))
    told = given("wide.hdf5", action=np.zeros((20, 2), np.float32), spec=spec)
    assert "action has shape (1,) for the policy of init=" in told
    seen = {
        "observation": {"observation": np.zeros((20, 4), np.float32)},
        "final_observation": {"observation": np.zeros((2, 4), np.float32)},
    }
    spec = Spec({"observation": Feature((4,))}, Feature((1,)), (-1.0,), (1.0,))
    assert "observation 'observation' has shape (3,) for the policy of init=" in given("four.hdf5", **seen, spec=spec)
    told = refused(toy.words(f"data.path={toy.folder / 'four.hdf5'}", base=toy.save(picture=True, name="other")))
    assert "needs observation 'rgb', which" in told
    with h5py.File(toy.folder / "zero.hdf5", "r+") as file:
        del file["rewards"]
    told = refused(toy.words(f"data.path={toy.folder / 'zero.hdf5'}"))
    assert (
        "the file has no rewards, and a critic learns from nothing else; add them to the file, or leave it out" in told
    )


def test_recordings_that_fill_the_replay(toy: Any, refused: Any) -> None:
    d4rl.write(toy.folder / "demos.hdf5", toy.recorded())
    told = refused(toy.words(f"data.path={toy.folder / 'demos.hdf5'}", "method.replay=15"))
    assert "demos.hdf5: method.replay=15 leaves no room beside 18 recorded chunks; make it larger" in told


def test_recordings_shorter_than_what_is_executed(toy: Any, refused: Any) -> None:
    d4rl.write(
        toy.folder / "demos.hdf5",
        toy.recorded(
            ends=np.array([19, 20]), terminated=np.zeros(20, bool), truncated=np.isin(np.arange(20), (18, 19))
        ),
    )
    told = refused(toy.words(f"data.path={toy.folder / 'demos.hdf5'}"))
    assert "1 of 2 episodes are shorter than policy.execute=2" in told
    assert "or data.short_episodes=drop" in told
    toy.train(f"data.path={toy.folder / 'demos.hdf5'}", "data.short_episodes=drop")


@pytest.mark.parametrize("method", ["dsrl", "residual"])
def test_statistics_of_a_frozen_base_stay(toy: Any, refused: Any, method: str) -> None:
    data = toy.folder / "demos.hdf5"
    d4rl.write(data, toy.recorded())
    words = [*toy.words(method=method), f"data.path={data}", "init.normalizer=refit"]
    assert f"method={method} never changes the policy that it starts from" in refused(words)


@pytest.mark.parametrize(
    "word",
    [
        *("method.warm_up=7", "method.updates_per_step=2", "method.patience=2"),
        *("method.demonstrations=0.5", "method.replay=99"),
    ],
)
def test_settings_of_acting_do_nothing_offline(toy: Any, refused: Any, word: str) -> None:
    name = word.partition("=")[0]
    told = refused(toy.offline(word))
    assert (
        f"{name} is of acting, and without env.steps method=dsrl learns from data.path alone; leave it out, or" in told
    )


def test_other_settings_that_do_nothing_offline(toy: Any, refused: Any) -> None:
    told = refused(toy.offline("env.slots=2", method="residual"))
    assert (
        "env.slots is for methods that act, and without env.steps method=residual learns from data.path alone" in told
    )
    told = refused(toy.words(f"data.path={toy.folder / 'demos.hdf5'}", "method.reward=normalize"))
    assert "method.reward=normalize tunes recorded rewards, and this run earns others while it acts" in told
    told = refused(toy.offline("method.reward=antmaze_minus_on"))
    assert "did you mean 'antmaze_minus_one'?" in told


def test_neither_recordings_nor_an_environment(toy: Any, refused: Any) -> None:
    told = refused([word for word in toy.offline() if not word.startswith("data.path")])
    assert "give env.id=ENVIRONMENT, or world=WORLD to act in a dream, or data.path=FILE without env.steps" in told
    told = refused(without(toy.words(f"data.path={toy.folder / 'demos.hdf5'}"), "env.id"))
    assert "or data.path=FILE without env.steps to learn from recordings alone" in told


def test_a_start_is_needed(toy: Any, refused: Any) -> None:
    told = refused([word for word in toy.offline() if not word.startswith("init=")])
    assert "method=dsrl improves a saved policy: give init=POLICY" in told
