"""Episodes end, also in environments that name no time limit."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from laminar.envs import make_env
from laminar.envs.collect import collect
from laminar.envs.fitting import fit_env, training_remarks
from laminar.envs.spec import env_spec
from laminar.envs.step_cap import STEPS, assumed_cap, cap_remark
from laminar.errors import LaminarError


def length(env: Any) -> int:
    env.reset(seed=0)
    action = np.zeros(env.action_space.shape, np.float32)
    for step in range(1, 5000):
        _, _, terminated, truncated, _ = env.step(action)
        if terminated or truncated:
            return step
    raise AssertionError("it goes on for ever")


@pytest.mark.parametrize(
    ("name", "steps", "assumed"),
    [
        ("Forever-v0", STEPS, STEPS),
        ("Forever-v0?max_episode_steps=7", 7, None),
        ("Limited-v0", 40, None),
        ("Limited-v0?max_episode_steps=1100", 1100, None),
        ("Wrapped-v0", 30, None),
        ("Long-v0", 1200, 1201),
        ("Stranger-v0", 5, STEPS),
    ],
)
def test_every_episode_ends(strangers: str, name: str, steps: int, assumed: int | None) -> None:
    env = make_env(f"{strangers}:{name}")
    assert assumed_cap(env) == assumed
    assert [length(env), length(env)] == [steps, steps]
    env.close()


@pytest.mark.parametrize("kind", ["int", "numpy", "float", "single"])
@pytest.mark.parametrize("name", ["max_steps", "horizon", "max_path_length", "max_episode_length"])
def test_a_limit_of_its_own_is_of_many_types(strangers: str, name: str, kind: str) -> None:
    env = make_env(f"strangers:Keeps-v0?name={name}&kind={kind}")
    assert assumed_cap(env) == 1201
    env.close()


@pytest.mark.parametrize("kind", ["flag", "infinite", "part", "text"])
def test_what_is_no_number_of_steps_is_no_limit(strangers: str, kind: str) -> None:
    assert assumed_cap(make_env(f"strangers:Keeps-v0?name=horizon&kind={kind}")) == STEPS


def test_the_cap_is_no_terminal_state(strangers: str) -> None:
    env = make_env("strangers:Forever-v0?max_episode_steps=2")
    env.reset(seed=0)
    assert [env.step(np.zeros(2, np.float32))[2:4] for _ in range(2)] == [(False, False), (False, True)]


@pytest.mark.parametrize("value", ["0", "-1", "many", "2.5", "true", "none"])
def test_a_limit_is_a_number_of_steps(strangers: str, value: str) -> None:
    with pytest.raises(
        LaminarError, match=r"max_episode_steps in environment .* must be a whole number, at least 1, got"
    ):
        make_env(f"strangers:Forever-v0?max_episode_steps={value}")


def test_registered_environments_keep_their_limits() -> None:
    for env_id in ("Hopper-v4", "hopper-medium-v2", "laminar/PointMaze-v0", "maze2d-umaze-v1"):
        env = make_env(env_id)
        assert assumed_cap(env) is None
        env.close()


def test_a_users_suite_gets_the_limit_that_it_does_not_know(counter: ModuleType) -> None:
    for query, steps, assumed in (("", STEPS, STEPS), ("?max_episode_steps=6", 6, None), ("?limit=4", 4, STEPS)):
        env = make_env("user/Count-v0" + query)
        assert (length(env), assumed_cap(env)) == (steps, assumed)


def test_collecting_tells_what_was_cut(counter: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A recorder that acts until the episode is over would never come back."""
    record: Any = counter.collect

    def until_over(env: Any, episodes: int, seed: int) -> Any:
        assert length(env) == STEPS
        recorded = record(env, 100, seed)
        recorded.ends, recorded.success = np.array([STEPS]), np.ones(1, bool)
        recorded.final_observation = {key: rows[:1] for key, rows in recorded.final_observation.items()}
        recorded.terminated[:-1] = False
        return recorded

    monkeypatch.setattr(counter, "collect", until_over)
    line = collect("user/Count-v0", 1, 0, tmp_path / "file.hdf5")
    assert cap_remark("user/Count-v0", STEPS, 1, 1) in line
    assert "'user/Count-v0' names no time limit: 1 of 1 episodes were stopped after 1000 steps" in line


def test_training_hears_of_it(strangers: str) -> None:
    env = make_env("strangers:Forever-v0")
    fitted = fit_env("strangers:Forever-v0", env_spec(env))
    (remark,) = training_remarks(fitted, np.zeros((3, 2)))
    assert (
        "names no time limit: its episodes are stopped, at the latest, after 1000 steps; choose with env.id=" in remark
    )
