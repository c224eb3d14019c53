"""Suites: found by file name, asked for what their ids need, and a user's own beside them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from laminar.cli import main
from laminar.data.load import load_episodes
from laminar.envs import make_env
from laminar.envs.d4rl import d4rl_table
from laminar.envs.suites import FALLBACK, SUITES, suite_of
from laminar.errors import LaminarError
from laminar.policies import GenerativePolicy, PolicyConfig
from laminar.policies.networks.mlp import Config
from laminar.registry import Elsewhere, from_elsewhere, register_again

ENV_ID = "user/Count-v0?terminal=10&success=10"


def test_suites_are_found_by_their_file_names() -> None:
    known = {"calvin", "d4rl", "gymnasium_ids", "maze2d", "ogbench", "playroom", "pointmaze", "pusht", "robosuite"}
    assert known <= set(SUITES.names())


@pytest.mark.parametrize(
    ("name", "suite"),
    [
        ("laminar/Maze2d-v0", "maze2d"),
        ("laminar/PointMaze-v0", "pointmaze"),
        ("laminar/Playroom-v0", "playroom"),
        ("laminar/CALVIN-v0", "calvin"),
        ("gym_pusht/PushT-v0", "pusht"),
        ("robosuite/Lift", "robosuite"),
        ("scene-singletask-v0", "ogbench"),
        ("scene-play-singletask-task1-v0", "ogbench"),
        ("hopper-medium-v2", "d4rl"),
        ("flow-ring-v0", "d4rl"),
        ("AdroitHandDoor-v1", "d4rl"),
        ("AdroitHandDoorSparse-v1", FALLBACK),
        ("Hopper-v4", FALLBACK),
        ("package:Anything-v0", FALLBACK),
        ("nobody/Nothing-v0", FALLBACK),
    ],
)
def test_an_id_belongs_to_one_suite(name: str, suite: str) -> None:
    assert suite_of(name) is SUITES.module(suite)


def test_no_id_is_in_two_suites() -> None:
    ids = [env_id for name in SUITES.names() if name != FALLBACK for env_id in SUITES.module(name).ids()]
    assert len(set(ids)) == len(ids)
    assert set(d4rl_table()) < set(ids)


def test_asking_for_ids_loads_no_simulator_of_laminar_s_own() -> None:
    code = (
        "import sys; from laminar.envs.suites import SUITES\n"
        "for name in SUITES.names(): list(SUITES.module(name).ids())\n"
        "heavy = ['torch', 'pybullet', 'ogbench', 'dm_control', 'h5py']\n"
        "heavy += ['laminar.envs.calvin', 'laminar.envs.playroom.env']\n"
        "print([m for m in heavy if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_an_id_from_a_package_is_imported_by_gymnasium(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "somebodys_package.py").write_text(
        "import gymnasium\n"
        "gymnasium.register('Somebody-v0', 'gymnasium.envs.classic_control:PendulumEnv', max_episode_steps=3)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    env = make_env("somebodys_package:Somebody-v0?g=2.5")
    assert env.unwrapped.g == 2.5
    assert env.spec is not None
    assert env.spec.max_episode_steps == 3


def test_a_user_s_suite_makes_environments(counter: ModuleType) -> None:
    env = make_env("user/Count-v0?limit=2")
    env.reset(seed=0)
    assert [env.step(np.ones(1))[3] for _ in range(2)] == [False, True]
    with pytest.raises(LaminarError, match=r"unknown environment 'user/Cuont-v0'; did you mean 'user/Count-v0'"):
        make_env("user/Cuont-v0")


def test_two_suites_with_one_id_are_told_apart_by_nobody(counter: ModuleType) -> None:
    other = ModuleType("other_suite")
    vars(other).update(ids=lambda: ["user/Count-v0"], make=counter.make, __file__="other_suite.py")
    assert SUITES.register(other) == "other_suite"
    with pytest.raises(LaminarError, match=r"'user/Count-v0' is in the suites counter_suite and other_suite"):
        make_env("user/Count-v0")


def test_a_suite_must_be_complete() -> None:
    half = ModuleType("half")
    vars(half)["ids"] = list
    with pytest.raises(LaminarError, match="half is no suite: it does not define make"):
        SUITES.register(half)


def test_a_suite_is_registered_again_from_its_file(counter: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    modules = from_elsewhere("suite")
    register_again(modules)
    assert SUITES.module("counter_suite") is counter, "one that is there already stays"
    monkeypatch.setattr(SUITES, "_registered", {})
    monkeypatch.delitem(sys.modules, "counter_suite")  # a new process has not imported it
    register_again(modules)
    assert list(SUITES.module("counter_suite").ids()) == ["user/Count-v0"]
    monkeypatch.setattr(SUITES, "_registered", {})
    with pytest.raises(LaminarError, match="suite 'typed_in' cannot be imported in a worker process"):
        register_again([Elsewhere("laminar.envs.suites", "typed_in", "")])


def test_collect_and_eval_work_with_a_user_s_suite(
    counter: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "demos.hdf5"
    assert main(["collect", f"env.id={ENV_ID}", "episodes=3", f"out={path}"]) == 0
    assert "3 episodes, 30 steps, 100% successful" in capsys.readouterr().out
    episodes = load_episodes(path)
    policy = GenerativePolicy.build(PolicyConfig(), Config(width=8, depth=1), episodes)
    policy.save(tmp_path / "policy")
    words = [f"policy.path={tmp_path / 'policy'}", f"env.id={ENV_ID}", f"out={tmp_path / 'out'}"]
    assert main(["eval", *words, "episodes=2", "video_episodes=0"]) == 0
    result = json.loads((tmp_path / "out" / "eval.json").read_text())
    assert [episode["length"] for episode in result["episodes"]] == [10, 10]


def test_what_has_no_controller_says_who_has(counter: ModuleType, tmp_path: Path) -> None:
    from laminar.envs.collect import collect

    with pytest.raises(LaminarError, match=r"'Hopper-v4' has no controller.*laminar/PointMaze-v0") as caught:
        collect("Hopper-v4", 1, 0, tmp_path / "demos.hdf5")
    assert "user/Count-v0" in str(caught.value)
