"""Observation transforms: what each makes of named numbers, and policies that have them."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from laminar.data.episodes import Episodes
from laminar.data.formats.calvin import NAMES as ALL_NAMES
from laminar.data.spec import Feature, Spec
from laminar.envs.playroom.kinematics import euler_to_matrix
from laminar.errors import LaminarError
from laminar.policies import NETWORKS, PROCESSES, GenerativePolicy, PolicyConfig, load_policy
from laminar.policies.networks.picking import Pick
from laminar.policies.networks.transforms import MADE, TRANSFORMS, Transforms
from laminar.policies.networks.transforms.goal import FAR
from laminar.policies.networks.transforms.poses import rotation
from laminar.policies.networks.transforms.relative import CLOSE
from laminar.policies.planners.config import PlannerConfig
from laminar.policies.planners.fitting import new
from laminar.policies.runtimes.accelerate import accelerate
from laminar.train.start import refitted

NAMES = {key: ALL_NAMES[key] for key in ("robot_obs", "scene_obs")}
NAMES["scene_obs"] += tuple(f"{thing}_{axis}" for thing in ("button", "drawer") for axis in "xyz")
ROOM = Spec({key: Feature((len(names),), names=names) for key, names in NAMES.items()}, Feature((7,)))
GOAL = Feature(ROOM.observation["scene_obs"].shape, unit="scene_obs")
ASKED = replace(ROOM, observation=ROOM.observation | {"goal": GOAL})  # the same, and a state to be reached


def room(rows: int, seed: int = 0, spec: Spec = ROOM) -> dict[str, np.ndarray[Any, Any]]:
    """Return made-up observations of a room, all numbers within ±3."""
    random = np.random.default_rng(seed)
    return {key: random.uniform(-3, 3, (rows, one.width)).astype(np.float32) for key, one in spec.observation.items()}


def windows(observation: dict[str, np.ndarray[Any, Any]]) -> dict[str, torch.Tensor]:
    return {key: torch.as_tensor(value)[:, None] for key, value in observation.items()}


@pytest.fixture
def play() -> Episodes:
    """Four episodes of 16 steps."""
    rows = room(64)
    return Episodes(
        observation=rows,
        final_observation=room(4, seed=1),
        action=np.random.default_rng(2).uniform(-1, 1, (64, 7)).astype(np.float32),
        reward=np.zeros(64, np.float32),
        terminated=np.zeros(64, bool),
        truncated=np.zeros(64, bool),
        ends=np.arange(16, 65, 16),
        spec=replace(ROOM, action_low=(-1.0,) * 7, action_high=(1.0,) * 7),
    )


def policy_of(play: Episodes, transforms: Any, **more: Any) -> GenerativePolicy:
    torch.manual_seed(0)
    config = PolicyConfig(process=PROCESSES.config_class("flow")(), chunk=4, transforms=transforms, **more)
    return GenerativePolicy.build(config, NETWORKS.config_class("mlp")(width=16, depth=1), play).eval()


def asked(play: Episodes) -> Episodes:
    """Return play of which half is told by a goal."""
    rows = room(64, seed=7, spec=ASKED)["goal"] * (np.arange(64) < 32)[:, None]
    limited = replace(ASKED, action_low=play.spec.action_low, action_high=play.spec.action_high)
    return replace(
        play,
        observation=play.observation | {"goal": rows.astype(np.float32)},
        final_observation=play.final_observation | {"goal": rows[15::16].astype(np.float32)},
        spec=limited,
    )


@pytest.mark.parametrize("name", TRANSFORMS.names())
def test_conformance(name: str) -> None:
    transform = TRANSFORMS.member_class(name)(ASKED)
    assert all(size > 0 for size in transform.shape)
    assert all(0 <= number < ASKED.observation[key].width for key, number in transform.replaced)
    seen = windows(room(5, spec=ASKED))
    made = transform(seen)
    assert made.shape == (5, 1, *transform.shape)
    assert made.isfinite().all()
    alone = transform({key: value[2:3] for key, value in seen.items()})
    torch.testing.assert_close(alone, made[2:3], rtol=0, atol=0)
    nameless = Spec({"state": Feature((9,))}, Feature((2,)))
    with pytest.raises(LaminarError, match=rf"policy.transforms={name} needs .*'state' \[\]; leave it out"):
        Transforms(name, nameless, None)


def test_rotations_are_the_first_two_columns_of_the_matrix_and_do_not_jump() -> None:
    euler = np.random.default_rng(0).uniform(-3, 3, (6, 3))
    expected = np.stack([euler_to_matrix(one) for one in euler])
    np.testing.assert_allclose(rotation(torch.as_tensor(euler)), expected, atol=1e-12)
    transform = TRANSFORMS.member_class("rotations")(ROOM)
    seen = windows(room(1))
    at = NAMES["scene_obs"].index("red_roll")
    seen["scene_obs"][..., at : at + 3] = torch.as_tensor(euler[0])
    columns = expected[0][:, :2].flatten()
    np.testing.assert_allclose(transform(seen)[0, 0, 6:12], columns, atol=1e-5)  # after those of the hand
    low, high = (seen["scene_obs"].clone() for _ in range(2))
    low[..., at + 2], high[..., at + 2] = -np.pi + 1e-4, np.pi - 1e-4
    made = [transform(seen | {"scene_obs": one}) for one in (low, high)]
    assert (made[0] - made[1]).abs().max() < 1e-3


def test_relative_has_the_way_from_the_hand_to_each_block_and_between_blocks() -> None:
    seen = windows(room(1))
    made = TRANSFORMS.member_class("relative")(ROOM)(seen)[0, 0]
    hand, scene = seen["robot_obs"][0, 0, :3], seen["scene_obs"][0, 0]
    red, blue, pink, button, drawer = (scene[start : start + 3] for start in (6, 12, 18, 24, 27))
    from_hand = [place - hand for place in (red, blue, pink, button, drawer)]
    ways = torch.cat((*from_hand, blue - red, pink - red, pink - blue))
    torch.testing.assert_close(made[:48], torch.cat((ways, torch.tanh(ways / CLOSE))))
    here, there = (euler_to_matrix(one.numpy()) for one in (seen["robot_obs"][0, 0, 3:6], scene[9:12]))
    np.testing.assert_allclose(made[48:54], (here.T @ there)[:, :2].flatten(), atol=1e-5)


def test_relative_is_content_with_places_that_have_no_rotation() -> None:
    names = ("hand_x", "hand_y", "hand_z", "goal_x", "goal_y", "goal_z")
    spec = Spec({"state": Feature((6,), names=names)}, Feature((3,)))
    transform = TRANSFORMS.member_class("relative")(spec)
    made = transform({"state": torch.tensor([[1.0, 2.0, 3.0, 1.05, 2.0, 2.0]])})
    torch.testing.assert_close(made[:, :3], torch.tensor([[0.05, 0.0, -1.0]]))
    assert transform.shape == made.shape[1:] == (6,)


def test_things_are_ways_from_the_hand_and_where_they_are_is_not_shown() -> None:
    seen = windows(room(1))
    transforms = Transforms("things", ROOM, None)
    transforms.fit(room(500))
    hand, scene = seen["robot_obs"][0, 0, :3], seen["scene_obs"][0, 0]
    made = TRANSFORMS.member_class("things")(ROOM)(seen)[0, 0]
    for row, at in zip(made, (24, 27), strict=True):
        way = scene[at : at + 3] - hand
        torch.testing.assert_close(row, torch.cat((way, torch.tanh(way / CLOSE))))
    elsewhere = {key: value.clone() for key, value in seen.items()}
    for key, numbers in (("robot_obs", [0]), ("scene_obs", [6, 12, 18, 24, 27])):
        elsewhere[key][..., numbers] += 0.1
    one, other = transforms(seen, seen), transforms(elsewhere, elsewhere)
    torch.testing.assert_close(one[f"{MADE}things"], other[f"{MADE}things"], rtol=0, atol=1e-5)
    assert "button_x" not in transforms.shown["scene_obs"].names


def test_between_tells_what_lies_where_from_what_is_in_the_hand() -> None:
    seen = windows(room(1))
    made = TRANSFORMS.member_class("between")(ROOM)(seen)[0, 0]
    hand, scene = seen["robot_obs"][0, 0], seen["scene_obs"][0, 0]
    for row, (one, other) in zip(made, permutations((6, 12, 18), 2), strict=True):
        way = scene[other : other + 3] - scene[one : one + 3]
        held = torch.tanh((scene[one : one + 3] - hand[:3]) / CLOSE)
        torch.testing.assert_close(row[:9], torch.cat((held, way, torch.tanh(way / CLOSE))))
        turns = [euler_to_matrix(scene[at + 3 : at + 6].numpy()) for at in (one, other)]
        np.testing.assert_allclose(row[9:], (turns[0].T @ turns[1])[:, :2].flatten(), atol=1e-5)
    aside = {key: value.clone() for key, value in seen.items()}
    for key, numbers in (("robot_obs", [0, 1]), ("scene_obs", [6, 7, 12, 13, 18, 19])):
        aside[key][..., numbers] += 0.1
    again = TRANSFORMS.member_class("between")(ROOM)(aside)[0, 0]
    torch.testing.assert_close(made, again, rtol=0, atol=1e-5, msg="where in the room does not matter")


def test_objects_are_rows_that_look_alike_seen_from_the_hand() -> None:
    seen = windows(room(1))
    made = TRANSFORMS.member_class("objects")(ROOM)(seen)[0, 0]
    hand, scene = seen["robot_obs"][0, 0], seen["scene_obs"][0, 0]
    here = euler_to_matrix(hand[3:6].numpy())
    for row, at in zip(made, (6, 12, 18), strict=True):
        turn = euler_to_matrix(scene[at + 3 : at + 6].numpy())
        way = scene[at : at + 3] - hand[:3]
        torch.testing.assert_close(row[:9], torch.cat((way, torch.tanh(way / CLOSE), scene[at : at + 3])))
        np.testing.assert_allclose(row[9:15], turn[:, :2].flatten(), atol=1e-5)
        np.testing.assert_allclose(row[15:21], (here.T @ turn)[:, :2].flatten(), atol=1e-5)
    names = (*NAMES["scene_obs"], "red_length", "blue_length", "pink_length")
    sized = Spec(ROOM.observation | {"scene_obs": Feature((len(names),), names=names)}, ROOM.action)
    known = seen | {"scene_obs": torch.cat((seen["scene_obs"], torch.tensor([[[0.04, 0.056, 0.08]]])), -1)}
    longer = TRANSFORMS.member_class("objects")(sized)(known)[0, 0]
    torch.testing.assert_close(longer, torch.cat((made, torch.tensor([[0.04], [0.056], [0.08]])), -1))
    transforms = Transforms("objects", ROOM, None)
    transforms.fit(room(500))
    alike = seen | {"scene_obs": seen["scene_obs"].clone()}
    alike["scene_obs"][..., 6:24] = alike["scene_obs"][..., 6:12].repeat(1, 1, 3)
    rows = transforms(alike, alike)[f"{MADE}objects"][0, 0]
    torch.testing.assert_close(rows, rows[:1].expand(3, -1), msg="one scale for all of them")


def test_a_box_that_is_turned_into_itself_looks_the_same_to_the_hand() -> None:
    objects = TRANSFORMS.member_class("objects")(ROOM)
    seen = windows(room(1))
    at = NAMES["scene_obs"].index("red_roll")
    seen["robot_obs"][..., 3:6] = torch.tensor([np.pi, 0.0, 0.3])  # the hand points down
    shapes = []
    for yaw in (0.4, 0.4 + np.pi / 2, 0.4 + np.pi, 0.9):
        seen["scene_obs"][..., at : at + 3] = torch.tensor([0.0, 0.0, yaw])
        shapes.append(objects(seen)[0, 0, 0, 21:])
    one, quarter, half, other = shapes
    torch.testing.assert_close(half, one, rtol=0, atol=1e-5)
    torch.testing.assert_close(quarter[2:], one[2:], rtol=0, atol=1e-5)
    torch.testing.assert_close(quarter[:2], -one[:2], rtol=0, atol=1e-5)
    psi = 0.3 - 0.4  # of the block in the axes of a hand that looks at it from above
    torch.testing.assert_close(one[2:], 2 * torch.tensor([np.cos(4 * psi), np.sin(4 * psi)]).float(), atol=1e-4, rtol=0)
    assert (other[2:] - one[2:]).abs().max() > 0.5


def test_a_goal_is_shown_as_what_is_to_change() -> None:
    transforms = Transforms("goal", ASKED, None)
    transforms.fit(room(50, spec=ASKED))
    assert "goal" not in transforms.shown, "the state itself is not shown"
    seen = windows(room(3, spec=ASKED))
    scene, goal = seen["scene_obs"], seen["goal"]
    goal[1], goal[2] = 0, scene[2]
    shown = transforms(seen, seen)
    assert set(shown) == {*NAMES, f"{MADE}goal"}
    made = shown[f"{MADE}goal"][:, 0]
    plain = [*range(9), *range(12, 15), *range(18, 21), *range(24, 30)]
    missing = (goal - scene)[0, 0, plain]
    torch.testing.assert_close(made[0, :42], torch.cat((torch.tanh(missing / FAR), torch.tanh(missing / CLOSE))))
    for place, at in enumerate((9, 15, 21)):
        one, other = (euler_to_matrix(state[0, 0, at : at + 3].numpy()) for state in (scene, goal))
        columns = made[0, 42 + 6 * place : 48 + 6 * place]
        np.testing.assert_allclose(columns, ((one.T @ other) - np.eye(3))[:, :2].flatten(), atol=1e-5)
    assert made[:, -1].tolist() == [1, 0, 1], "whether there is a goal"
    assert (made[1] == 0).all(), "no goal is zeros, normalized too"
    assert made[2, :-1].abs().max() < 1e-5, "nothing is to change where it is reached"


@pytest.mark.parametrize("unit", ["", "robot_obs", "room_obs"])
def test_a_goal_must_be_a_state_of_an_observation(unit: str) -> None:
    odd = replace(ROOM, observation=ROOM.observation | {"goal": replace(GOAL, unit=unit)})
    with pytest.raises(LaminarError, match=r"policy.transforms=goal needs a 'goal' whose unit names the observation"):
        Transforms("goal", odd, None)


def test_objects_have_where_they_are_to_be() -> None:
    plain, aimed = (TRANSFORMS.member_class("objects")(spec) for spec in (ROOM, ASKED))
    seen = windows(room(2, spec=ASKED))
    seen["goal"][1] = 0
    rows = aimed(seen)
    torch.testing.assert_close(rows[..., :25], plain(seen), rtol=0, atol=0)
    assert (rows[1, ..., 25:] == 0).all()
    scene, goal = seen["scene_obs"][0, 0], seen["goal"][0, 0]
    for row, at in zip(rows[0, 0], (6, 12, 18), strict=True):
        way = goal[at : at + 3] - scene[at : at + 3]
        torch.testing.assert_close(row[25:31], torch.cat((way, torch.tanh(way / CLOSE))))
        turns = [euler_to_matrix(state[at + 3 : at + 6].numpy()) for state in (scene, goal)]
        np.testing.assert_allclose(row[31:], ((turns[0].T @ turns[1]) - np.eye(3))[:, :2].flatten(), atol=1e-5)


def test_what_is_picked_depends_on_the_goal_as_on_an_instruction(play: Episodes) -> None:
    torch.manual_seed(0)
    encoder = policy_of(asked(play), ["things", "goal"]).encoder
    pick = encoder.parts[encoder.keys.index(f"{MADE}things")]
    assert isinstance(pick, Pick)
    assert pick.told is not None
    assert pick.told.in_features == encoder.transforms.shown[f"{MADE}goal"].width
    seen = windows(room(1, spec=ASKED))
    other = seen | {"goal": windows(room(1, seed=3, spec=ASKED))["goal"]}
    at = sum(part.output_dim for part in encoder.parts[: encoder.keys.index(f"{MADE}things")])
    one, two = (encoder(one, one)[..., at : at + pick.output_dim] for one in (seen, other))
    assert (one - two).abs().max() > 1e-3, "the things are the same, and another is picked"


def test_an_encoder_picks_the_object_that_an_instruction_asks_for() -> None:
    """Even where the rows are like none that it learned from: it knows which to pick, not what is in it."""
    torch.manual_seed(0)
    pick = Pick(Feature((3, 4)), told=3)
    learned = torch.optim.Adam(pick.parameters(), 1e-2)
    told = torch.eye(3)[:, None]  # (3, 1, 3)
    for _ in range(300):
        rows = torch.randn(3, 1, 3, 4)
        loss = (pick(rows, told)[..., :4] - rows[torch.arange(3), :, torch.arange(3)]).square().mean()
        learned.zero_grad()
        loss.backward()
        learned.step()
    far = 3 + torch.randn(3, 1, 3, 4)  # where nothing was learned
    picked = pick(far, told)[..., :4]
    assert (picked - far[torch.arange(3), :, torch.arange(3)]).abs().max() < 0.3
    alone = Pick(Feature((3, 4)), told=0)
    rows = torch.randn(2, 1, 3, 4)
    torch.testing.assert_close(alone(rows), alone(rows.flip(2)), msg="nothing but the rows tells them apart at first")


def test_an_encoder_picks_by_what_the_other_objects_are() -> None:
    """The middle one of three is so among the others alone: no score of a row by itself finds it."""
    torch.manual_seed(0)
    pick = Pick(Feature((3, 2)), told=0, compared=True)
    learned = torch.optim.Adam(pick.parameters(), 3e-3)
    for _ in range(300):
        rows = torch.randn(128, 1, 3, 2)
        middle = rows[..., 0].argsort(dim=-1)[..., 1]
        loss = -pick.weights(rows)[..., 0].gather(-1, middle[..., None]).log().mean()
        learned.zero_grad()
        loss.backward()
        learned.step()
    rows = torch.randn(2000, 1, 3, 2)
    weights = pick.weights(rows)[..., 0]
    torch.testing.assert_close(weights.sum(dim=-1), torch.ones(2000, 1))
    right = weights.argmax(dim=-1) == rows[..., 0].argsort(dim=-1)[..., 1]
    assert right.float().mean() > 0.9  # the score of before, of each row by itself, finds half of them


@pytest.mark.parametrize("compared", [True, False])
def test_rows_are_picked_each_by_itself_or_compared(compared: bool) -> None:
    """How far the score of one row is ahead of another's depends on a third one where they are compared, only there."""
    torch.manual_seed(0)
    pick, rows = Pick(Feature((3, 4)), told=0, compared=compared), torch.randn(1, 1, 3, 4)
    other = torch.cat((rows[..., :2, :], torch.randn(1, 1, 1, 4)), dim=-2)
    one, two = (weights[..., 0, :].log() - weights[..., 1, :].log() for weights in map(pick.weights, (rows, other)))
    assert torch.allclose(one, two, atol=1e-5) != compared


def test_objects_are_compared_and_things_are_not(play: Episodes) -> None:
    encoder = policy_of(play, ["objects", "things"]).encoder
    picks = {key: part for key, part in zip(encoder.keys, encoder.parts, strict=True) if isinstance(part, Pick)}
    assert {key: part.among is not None for key, part in picks.items()} == {
        f"{MADE}objects": True,
        f"{MADE}things": False,
    }


def test_what_is_replaced_is_not_shown_and_all_else_is() -> None:
    seen = windows(room(3))
    transforms = Transforms(["rotations", "relative"], ROOM, None)
    transforms.fit(room(50))
    shown = transforms(seen, seen)
    assert {key: tuple(value.shape) for key, value in shown.items()} == {
        key: (3, 1, *feature.shape) for key, feature in transforms.shown.items()
    }
    assert "red_yaw" not in transforms.shown["scene_obs"].names
    kept = [number for number, name in enumerate(NAMES["robot_obs"]) if name not in ("roll", "pitch", "yaw")]
    torch.testing.assert_close(shown["robot_obs"], seen["robot_obs"][..., kept])
    spread = transforms(windows(room(50)), windows(room(50)))
    for name in ("rotations", "relative"):
        assert spread[MADE + name].mean(dim=0).abs().max() < 1e-4
        assert (spread[MADE + name].std(dim=0, correction=0) - 1).abs().max() < 1e-3


def test_without_transforms_nothing_changes() -> None:
    seen = windows(room(3))
    transforms = Transforms(None, ROOM, None)
    assert transforms(seen, seen) is seen
    assert transforms.shown == ROOM.observation
    assert not transforms.state_dict()


@pytest.mark.parametrize(
    "runtime", [*(pytest.param(name, marks=pytest.mark.slow) for name in ("compile", "pt2")), "onnx"]
)
def test_a_policy_keeps_them_in_its_files_and_in_every_runtime(play: Episodes, runtime: str, tmp_path: Path) -> None:
    policy = policy_of(asked(play), TRANSFORMS.names())
    assert set(policy.fitted_range) == {*NAMES, "goal"}, "what was observed, not what was made of it"
    policy.save(tmp_path / "policy")
    again = load_policy(tmp_path / "policy")
    seen, noise = room(2, seed=5, spec=ASKED), torch.randn(2, *policy.noise_shape)
    seen["goal"][1] = 0
    expected = policy.sample(seen, noise)
    torch.testing.assert_close(again.sample(seen, noise), expected, rtol=0, atol=0)
    if runtime == "onnx":
        pytest.importorskip("onnxruntime")
    torch.testing.assert_close(accelerate(again, runtime, batch=2).sample(seen, noise), expected, rtol=1e-4, atol=1e-4)


def test_one_name_is_enough_and_a_wrong_one_is_named(play: Episodes) -> None:
    assert policy_of(play, "relative").encoder.transforms.shown[f"{MADE}relative"].width == 84
    with pytest.raises(LaminarError, match=r"no observation transform is called 'rotation' .*did you mean 'rotations'"):
        policy_of(play, ["rotation"])
    with pytest.raises(LaminarError, match=r"policy.transforms names one twice"):
        policy_of(play, ["relative", "relative"])


def test_a_start_from_a_policy_keeps_or_takes_anew_the_statistics_of_what_is_made(play: Episodes) -> None:
    policy = policy_of(play, "relative")
    other = replace(play, observation={key: 3 * value for key, value in play.observation.items()})
    fresh = refitted(policy, other)
    told = [one.encoder.transforms.normalizer.statistic(f"{MADE}relative", "scale") for one in (policy, fresh)]
    assert (told[1][:24] > 2.5 * told[0][:24]).all()
    weights = [dict(one.network.named_parameters()) for one in (policy, fresh)]
    for name, value in weights[0].items():
        torch.testing.assert_close(weights[1][name], value, rtol=0, atol=0)


def test_a_planner_refuses_them(play: Episodes) -> None:
    config = PlannerConfig(process=PROCESSES.config_class("flow")(), horizon=4, transforms=["relative"])
    with pytest.raises(LaminarError, match=r"leave out policy.transforms"):
        new(config, NETWORKS.config_class("mlp")(width=16, depth=1), play)
