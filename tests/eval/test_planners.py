"""Planners in evaluations: followed as told, said in words, and their plans held against the walls of a maze."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from laminar.cli import main
from laminar.data.episodes import Episodes
from laminar.envs import make_env
from laminar.envs.figures import planned_figures
from laminar.envs.suites.maze2d import collect
from laminar.eval import evaluate
from laminar.eval.planning.planned import plan_from
from laminar.eval.reports.evaluations import read_evaluation
from laminar.eval.results.result import Episode, Result
from laminar.policies import NETWORKS, PROCESSES, load_policy
from laminar.policies.networks.critics import CriticConfig
from laminar.policies.planners import Planner, PlannerConfig, fitting
from laminar.policies.planners.anew import Anew
from laminar.policies.planners.config import InverseConfig

MAZE = "maze2d-umaze-v1"
SHARE = "planned steps through walls"
CONTROLLER = "plans of 5 states, 4 control steps apart, made once, followed by a waypoint controller"
ANEW = Anew("waypoints", replan=0)


@pytest.fixture(scope="module")
def trips() -> Episodes:
    env = make_env("laminar/Maze2d-v0?maze=umaze&goals=many")
    found = collect(env, 3, 0)
    env.close()
    return found


@pytest.fixture(scope="module")
def planner(trips: Episodes) -> Planner:
    """Return an untrained planner of goals, whose plans lead anywhere."""
    torch.manual_seed(0)
    process = PROCESSES.config_class("flow")(steps=2)
    config = PlannerConfig(
        process=process, horizon=5, stride=4, chunk=8, execute=8, inverse=InverseConfig("direct", 1, 8, 1)
    )
    return fitting.new(config, NETWORKS.config_class("mlp")(width=16, depth=1), trips).eval()


@pytest.fixture(scope="module")
def saved(planner: Planner, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return planner.save(tmp_path_factory.mktemp("planner") / "policy")


def test_the_first_plan_of_each_episode_is_held_against_the_walls(planner: Planner) -> None:
    found = evaluate(planner, MAZE, range(4), num_envs=2)
    maze_map = make_env(MAZE).get_wrapper_attr("maze_map")
    shares = []
    for seed, episode in enumerate(found.episodes):
        env = make_env("laminar/Maze2d-v0?maze=umaze")
        planned = plan_from(planner.spec, planner, env.reset(seed=seed)[0], seed, 1)
        shares.append(float(maze_map.share_through_walls(planned.of_chosen(planned.states)[..., :2])[0]))
        assert episode.figures == {SHARE: pytest.approx(shares[-1])}
    assert np.mean(shares) > 0
    assert found.figures[SHARE].mean == pytest.approx(np.mean(shares))
    followed = evaluate(planner, MAZE, range(4), plan=ANEW)
    assert [one.figures for one in followed.episodes] == [one.figures for one in found.episodes]


def test_who_plans_nothing_is_not_measured(planner: Planner) -> None:
    class Still:
        spec, noise_shape = planner.spec, None

        def sample(self, obs: Any, noise: Any = None, generator: Any = None) -> torch.Tensor:
            return torch.zeros(len(obs["observation"]), self.spec.chunk, 2)

    still: Any = Still()
    found = evaluate(still, "laminar/Maze2d-v0?max_episode_steps=20", [0])
    assert found.figures == {}
    assert found.manner == ""


def test_an_environment_without_an_opinion_of_plans_has_none() -> None:
    env = make_env("Pendulum-v1")
    assert planned_figures(env, "Pendulum-v1", {"observation": np.zeros((3, 3))}) == {}
    maze = make_env(MAZE)
    assert planned_figures(maze, MAZE, {"other": np.zeros((3, 3))}) == {}
    assert planned_figures(maze, MAZE, {"observation": np.ones((3, 4))}) == {SHARE: 0.0}


def test_plans_are_followed_as_told_and_the_record_says_how(planner: Planner, tmp_path: Path) -> None:
    own = evaluate(planner, MAZE, range(3))
    assert own.plan is None
    assert own.manner.endswith("4 control steps apart, made anew every 8 steps, followed by an inverse model in chunks")
    found = evaluate(planner, MAZE, range(3), plan=ANEW)
    assert (found.manner, found.plan) == (CONTROLLER, ANEW)
    assert found.checkpoint == own.checkpoint
    assert [one.jerk for one in found.episodes] != [one.jerk for one in own.episodes]
    assert CONTROLLER in found.summary().splitlines()[0]
    again = Result.from_json(json.loads(found.save(tmp_path).read_text()))
    assert (again.manner, again.plan, again.acted) == (CONTROLLER, ANEW, f"single sample; {CONTROLLER}")
    listed = read_evaluation(tmp_path / "eval.json", lambda _: ("", "", ""))
    assert listed is not None
    assert listed.remark == CONTROLLER


def test_records_of_before_say_nothing() -> None:
    stored = Result("some", [Episode(0, 0.0, 5, None)]).to_json()
    assert (stored.pop("manner"), stored.pop("plan")) == ("", None)
    found = Result.from_json(stored)
    assert (found.manner, found.plan, found.acted) == ("", None, "single sample")


def test_workers_follow_plans_as_told(planner: Planner, saved: Path) -> None:
    here = evaluate(saved, MAZE, range(3), plan=ANEW)
    there = evaluate(saved, MAZE, range(3), plan=ANEW, processes=2)
    assert there.manner == CONTROLLER
    assert [one.total for one in there.episodes] == [one.total for one in here.episodes]
    assert [one.figures for one in there.episodes] == [one.figures for one in here.episodes]


def run(saved: Path, *words: str) -> int:
    return main(["eval", f"policy.path={saved}", f"env.id={MAZE}", "episodes=2", *words])


def test_the_verb_follows_plans_as_told(saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "eval"
    words = ["plan.controller=waypoints", "plan.replan=0", f"out={out}", "video_episodes=0"]
    assert run(saved, *words) == 0
    assert CONTROLLER in capsys.readouterr().out
    assert json.loads((out / "eval.json").read_text())["plan"] == {"controller": "waypoints", "replan": 0}
    page = (out / "report.md").read_text()
    assert CONTROLLER in page
    assert SHARE in page
    assert main(["table", str(out)]) == 0
    assert CONTROLLER in capsys.readouterr().out


def test_what_is_not_said_of_the_choice_among_plans_stays_as_it_was_saved(
    trips: Episodes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A planner takes the best: more candidates are no reason to draw among them."""
    process = PROCESSES.config_class("flow")(steps=2)
    own: dict[str, Any] = {"goals": False, "judge": True, "candidates": 4, "inverse": InverseConfig("direct", 1, 8, 1)}
    config = PlannerConfig(process=process, horizon=5, chunk=4, execute=4, critic=CriticConfig(width=8), **own)
    judged = fitting.new(config, NETWORKS.config_class("mlp")(width=16, depth=1), trips)
    folder = judged.save(tmp_path / "policy")
    assert run(folder, "candidates=8") == 0
    assert "best Q among 8 candidates" in capsys.readouterr().out
    assert run(folder, "selection=softmax", "temperature=0.1") == 0
    assert "softmax of Q / 0.1 among 4 candidates" in capsys.readouterr().out
    assert run(folder, "guidance=gradient", "temperature=0.1") == 0
    assert "gradient of Q / 0.1 x 1 (exact Jacobian), best Q among 4 candidates" in capsys.readouterr().out
    assert run(folder, "temperature=0.1") == 2
    assert "temperature does not apply to selection=argmax; give selection=softmax" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["plan.controller=pid"], "plan.controller must be chunk, inverse, waypoints or null"),
        (["plan.replan=-1"], "plan.replan must be at least 0, or null"),
        (["plan.repaln=1"], "did you mean 'plan.replan'"),
        (["plan.replan=9"], "plan.replan=9 goes beyond a chunk of 8 actions"),
        (["plan.target_return=1"], "plan.target_return is for plans that are conditioned on their return"),
        (["plan.controller=inverse", "chains=1"], "plan.controller does not apply to chains"),
        (["plan.controller=inverse", "policy.runtime=onnx"], "plan"),
    ],
)
def test_mistakes_cost_a_line(saved: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(saved, *words) == 2
    told = capsys.readouterr().err
    assert message in told
    assert "Traceback" not in told


def test_a_policy_that_is_no_planner_is_refused(
    planner: Planner, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert planner.inverse is not None
    folder = planner.inverse.save(tmp_path / "clone")
    assert run(folder, "plan.replan=4") == 2
    assert "plan.replan: this policy makes no plans that could be followed otherwise" in capsys.readouterr().err


def test_plans_are_drawn_and_driven_as_they_are_followed(
    planner: Planner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from laminar.eval.planning import command

    drawn: list[Any] = []
    monkeypatch.setattr(command, "draw_maze", lambda maze_map, paths, title, path: drawn.append(paths))
    followed = planner.configured(ANEW.applied(planner.planner_config)).save(tmp_path / "followed")
    words = [f"env.id={MAZE}", "seed=3", "drive=true", f"out={tmp_path / 'plan.png'}"]
    assert main(["plan", f"policy.path={followed}", *words]) == 0
    assert "of the planned steps through walls" in capsys.readouterr().out
    env = make_env(MAZE)
    start, _ = env.reset(seed=3)
    (paths,) = drawn
    np.testing.assert_allclose(paths.driven[0], start[:2])
    np.testing.assert_allclose(paths.goal, env.get_wrapper_attr("goal"))
    rolled = evaluate(load_policy(followed), MAZE, [3])
    reached = np.linalg.norm(paths.driven[1:] - env.get_wrapper_attr("goal"), axis=1) <= 0.5
    assert rolled.episodes[0].total == reached.sum()
