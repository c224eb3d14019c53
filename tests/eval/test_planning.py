"""`laminar plan`: what is asked of a planner, the line about its plans, and their pictures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.image import imread
from torch import Tensor

from laminar.cli import main
from laminar.data.spec import Feature, Spec
from laminar.envs import env_spec, make_env
from laminar.envs.maze_map import MazeMap
from laminar.errors import LaminarError
from laminar.eval.planning import command
from laminar.eval.planning.drawing import Paths, draw_curves, draw_maze
from laminar.eval.planning.planned import Planned, plan_from, planner_in

MAZE = "laminar/Maze2d-v0?maze=umaze&goals=many"
SPAN, STRIDE = 5, 3


@dataclass
class Plan:
    states: Tensor
    actions: Tensor | None
    returns: Tensor | None
    chosen: Tensor
    stride: int


class Planner:
    """A stand-in: candidate n of a plan leads straight on to n times its noise; candidate 1 is chosen."""

    base = None

    def __init__(self, spec: Spec, keys: tuple[str, ...] = ("observation",), plain: bool = False) -> None:
        self.spec, self.state_keys, self.plain = spec, keys, plain
        self.noise_shape = (2,)
        self.asked: list[tuple[Mapping[str, Tensor], Tensor]] = []

    def plan(self, obs: Mapping[str, Tensor], noise: Tensor | None = None, generator: Any = None) -> Plan:
        assert noise is not None
        self.asked.append((obs, noise))
        state = torch.cat([obs[key][:, -1].flatten(1) for key in self.state_keys], dim=1)  # (B, S)
        count = 1 if self.plain else 3
        ahead = torch.zeros(len(state), count, SPAN, state.shape[1])
        steps = torch.arange(SPAN)[None, None, :, None] * torch.arange(count)[None, :, None, None]
        ahead[..., :2] = steps * noise[:, None, None, :2]
        chosen = torch.full((len(state),), count - 1 if self.plain else 1)
        states = state[:, None, None] + ahead
        if self.plain:
            return Plan(states, None, None, chosen, STRIDE)
        actions = torch.randn(len(state), count, SPAN - 1, STRIDE * self.spec.action_dim)
        return Plan(states, actions, torch.arange(3.0).expand(len(state), 3), chosen, STRIDE)

    def sample(self, obs: Mapping[str, Tensor], noise: Tensor | None = None) -> Tensor:
        assert noise is not None
        return noise[:, None, :].clamp(-1, 1).expand(-1, self.spec.chunk, -1)


def spec_of(env_id: str, **changes: Any) -> Spec:
    env = make_env(env_id)
    try:
        return replace(env_spec(env), **changes)
    finally:
        env.close()


@pytest.fixture
def planner(monkeypatch: pytest.MonkeyPatch) -> Planner:
    found = Planner(spec_of(MAZE, chunk=1))
    monkeypatch.setattr(command, "load_policy", lambda path: found)
    return found


def ask(planner: Planner, observation: Any, seed: int = 0, plans: int = 2) -> Planned:
    return plan_from(planner.spec, planner, observation, seed, plans)


def test_a_plan_begins_with_what_is_seen_and_comes_of_the_noise_of_its_seed() -> None:
    planner = Planner(spec_of(MAZE, history=2), ("goal", "observation"))
    observation, _ = make_env(MAZE).reset(seed=4)
    found = ask(planner, observation, seed=11, plans=3)
    assert found.states.shape == (3, 3, SPAN, 6)
    assert found.columns == {"goal": slice(0, 2), "observation": slice(2, 6)}
    assert found.state_labels == ["goal[0]", "goal[1]", *(f"observation[{i}]" for i in range(4))]
    expected = np.concatenate([observation["goal"], observation["observation"]])
    np.testing.assert_allclose(found.states[:, :, 0], np.broadcast_to(expected, (3, 3, 6)), rtol=1e-6)
    windows, noise = planner.asked[0]
    assert windows["observation"].shape == (3, 2, 4)
    for number in range(3):
        alone = ask(planner, observation, seed=11 + number, plans=1)
        np.testing.assert_array_equal(alone.states[0], found.states[number])
    generator = torch.Generator().manual_seed(11)
    np.testing.assert_array_equal(noise[0], torch.randn(32, 2, generator=generator)[0])  # as an evaluation's first
    assert found.actions is not None
    assert found.actions.shape == (3, 3, (SPAN - 1) * STRIDE, 2)
    np.testing.assert_array_equal(found.of_chosen(found.states), found.states[:, 1])


def test_an_environment_may_show_more_than_the_planner_sees() -> None:
    spec = spec_of(MAZE)
    alone = Planner(replace(spec, observation={"observation": spec.observation["observation"]}))
    observation, _ = make_env(MAZE).reset(seed=0)
    assert ask(alone, observation).states.shape == (2, 3, SPAN, 4)
    more = Planner(replace(spec, observation=spec.observation | {"lidar": Feature((8,))}))
    with pytest.raises(LaminarError, match="observation 'lidar' is missing"):
        ask(more, observation)


def test_what_plans_is_found_behind_other_policies() -> None:
    planner = Planner(spec_of(MAZE))

    class Front:
        base, config = planner, {"kind": "steered"}

    class Clone:
        base, config = None, {"kind": "generative"}

    front: Any = Front()
    clone: Any = Clone()
    assert planner_in(front, "runs/steered") is planner
    with pytest.raises(LaminarError, match="runs/clone holds a 'generative' policy, which makes no plans; train one"):
        planner_in(clone, "runs/clone")


def plan(out: Path | None, *words: str, env_id: str = MAZE) -> int:
    picture = [f"out={out}"] if out else []
    return main(["plan", "policy.path=RUN", f"env.id={env_id}", *picture, *words])


def test_the_verb_draws_and_tells(planner: Planner, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert plan(tmp_path / "new" / "plan.png", "seed=3", "plans=2") == 0
    told = capsys.readouterr().out
    assert "2 plans of 5 states, 3 control steps apart" in told
    assert "planned return 1 (all candidates 1)" in told
    maze_map = make_env(MAZE).get_wrapper_attr("maze_map")
    observation, _ = make_env(MAZE).reset(seed=3)
    places = ask(planner, observation, seed=3).states[..., :2]
    shares = maze_map.share_through_walls(places)
    assert 0 < shares[:, 1].mean() < 1
    crossing = f"in {(shares[:, 1] > 0).sum()} of 2 plans ({shares.mean():.1%} of those of all 3 candidates)"
    assert f"{shares[:, 1].mean():.1%} of the planned steps through walls, {crossing}" in told
    assert f"picture in {tmp_path / 'new' / 'plan.png'}" in told
    picture = imread(tmp_path / "new" / "plan.png")
    assert picture[..., :3].std() > 0.1


def test_the_episode_is_driven_as_an_evaluation_drives_it(
    planner: Planner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Paths] = []
    monkeypatch.setattr(command, "draw_maze", lambda maze_map, paths, title, path: drawn.append(paths))
    assert plan(tmp_path / "plan.png", "drive=true", env_id=f"{MAZE}&max_episode_steps=40") == 0
    driven = drawn[0].driven
    assert driven is not None
    env = make_env(MAZE)
    observation, _ = env.reset(seed=0)
    np.testing.assert_array_equal(drawn[0].goal, observation["goal"])
    expected = [observation["observation"][:2]]
    noise = torch.randn(32, 2, generator=(generator := torch.Generator().manual_seed(0)))
    noise = torch.cat((noise, torch.randn(32, 2, generator=generator)))
    for step in range(40):
        observation, *_ = env.step(noise[step].clamp(-1, 1).numpy())
        expected.append(observation["observation"][:2])
    np.testing.assert_allclose(driven, expected, atol=1e-6)


def test_elsewhere_plans_are_curves(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Any) -> None:
    other = Planner(spec_of("Pendulum-v1", chunk=1))
    monkeypatch.setattr(command, "load_policy", lambda path: other)
    out = tmp_path / "plan.png"
    assert plan(out, env_id="Pendulum-v1") == 0
    told = capsys.readouterr().out
    assert "1 plan of 5 states" in told
    assert "walls" not in told
    assert imread(out)[..., :3].std() > 0.05
    assert plan(None, "drive=true", env_id="Pendulum-v1") == 2
    assert "drive=true draws the way over the map of a maze" in capsys.readouterr().err


def test_a_plan_of_states_alone_has_no_actions_and_no_return(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = Planner(spec_of("maze2d-umaze-v1", chunk=1), plain=True)
    monkeypatch.setattr(command, "load_policy", lambda path: plain)
    assert plan(None, env_id="maze2d-umaze-v1") == 0
    told = capsys.readouterr().out
    assert "through walls" in told
    assert "return" not in told
    assert "in 0 of 1 plan" in told or "in 1 of 1 plan" in told
    assert "candidates" not in told
    assert "picture" not in told


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["out=plan.jpg"], "out=plan.jpg: a picture of plans is a PNG file; call it plan.jpg.png"),
        (["plans=0"], "plans must be at least 1, got 0"),
        (["plan=3"], "unknown setting 'plan' for laminar plan; did you mean 'plans'"),
        (["drvie=true"], "did you mean 'drive'"),
    ],
)
def test_mistakes_cost_a_line(
    planner: Planner, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert plan(None, *words) == 2
    assert message in capsys.readouterr().err
    assert not planner.asked


def test_a_picture_is_not_replaced_unasked(
    planner: Planner, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "plan.png"
    out.write_bytes(b"mine")
    assert plan(out) == 2
    assert "exists already" in capsys.readouterr().err
    assert out.read_bytes() == b"mine"
    assert plan(out, "overwrite=true") == 0
    assert out.read_bytes() != b"mine"


@pytest.mark.parametrize("words", [["env.id=Pendulum-v1"], ["policy.path=RUN"]])
def test_policy_and_environment_are_needed(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", *words]) == 2
    assert "laminar plan needs" in capsys.readouterr().err


# pictures


def test_walls_free_cells_and_steps_through_walls_are_told_apart(tmp_path: Path) -> None:
    maze_map = MazeMap.of_layout([[1] * 5, [1, 0, 0, 0, 1], [1, 1, 1, 0, 1], [1, 0, 0, 0, 1], [1] * 5])
    around = np.array([[1, 1], [1, 3], [3, 3], [3, 1]], float)
    through = np.array([[1, 1], [1, 1.1], [3, 1.1], [3, 1]], float)
    pictures = []
    for name, way in (("around", around), ("through", through)):
        path = draw_maze(maze_map, Paths(way[None], goal=way[-1]), "", tmp_path / f"{name}.png")
        pictures.append(imread(path)[..., :3])
    red = [((one - np.array([0.84, 0.15, 0.16])) ** 2).sum(axis=-1) < 0.01 for one in pictures]
    assert red[1].sum() > red[0].sum()
    gray = (np.abs(pictures[0] - 0.75) < 0.02).all(axis=-1).mean()
    assert 0.3 < gray < 0.7


def test_curves_have_a_panel_for_each_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    observation, _ = make_env("Pendulum-v1").reset(seed=0)
    found = ask(Planner(spec_of("Pendulum-v1")), observation)
    drawn: list[Any] = []
    monkeypatch.setattr("laminar.eval.planning.drawing._save", lambda figure, path: drawn.append(figure))
    draw_curves(found, "plans", tmp_path / "plan.png")
    titles = [panel.get_title() for panel in drawn[0].axes if panel.get_visible()]
    expected = [*(f"observation[{i}]" for i in range(3)), "action[0]", "return by the critic (red: chosen)"]
    assert titles == expected
    lines = {panel.get_title(): panel.get_lines() for panel in drawn[0].axes}
    states = found.of_chosen(found.states)
    for index, line in enumerate(lines["observation[1]"]):
        np.testing.assert_array_equal(line.get_xdata(), [0, 3, 6, 9, 12])
        np.testing.assert_array_equal(line.get_ydata(), states[index, :, 1])
    assert len(lines["action[0]"][0].get_xdata()) == 12
