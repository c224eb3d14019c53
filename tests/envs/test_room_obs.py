"""`room_obs`: where things are, asked for by policies that are to work in every scene."""

from __future__ import annotations

import gymnasium
import mujoco
import numpy as np
import pytest

from laminar.data.calvin.room import KEY, names_of
from laminar.data.formats.calvin import NAMES
from laminar.data.spec import Feature, Spec
from laminar.envs.fitting import fit_env
from laminar.envs.playroom.attempt import ACTION_NAMES
from laminar.envs.playroom.env import Playroom

WANTED = Spec(
    {"robot_obs": Feature((15,)), KEY: Feature((42,)), "instruction": Feature((34,), unit="task")},
    Feature((7,), unit="relative", names=ACTION_NAMES),
    rate_hz=30.0,
)


@pytest.mark.parametrize("scene", "ABCD")
def test_places_are_those_of_the_simulator(scene: str) -> None:
    fitted = fit_env(f"laminar/Playroom-v0?scene={scene}", WANTED)
    assert fitted.spec.observation.keys() == WANTED.observation.keys()
    assert fitted.unseen == ("scene_obs",)
    room = fitted.env.unwrapped
    assert isinstance(room, Playroom)
    observation, _ = fitted.env.reset(seed=4)
    for _ in range(3):
        names = NAMES[KEY]
        at = {thing: names.index(f"{thing}_x") for thing in ("button", "switch", "door", "drawer_handle")}
        places = {thing: observation[KEY][first : first + 3] for thing, first in at.items()}
        np.testing.assert_allclose(places["button"], room.data.body("button_link").xpos, atol=1e-6)
        np.testing.assert_allclose(places["switch"], room.data.body("switch_link").xpos, atol=1e-6)
        bars = {"door": ("slide_link", 1), "drawer_handle": ("drawer_link", 5)}
        for thing, (body, bar) in bars.items():
            geom = room.model.body(body).geomadr[0] + bar
            middle = room.data.geom_xpos[geom]
            box = room.model.geom_size[geom]
            assert (np.abs(places[thing] - middle) <= box + 0.02).all(), f"{thing} is within two centimeters of its bar"
        assert observation[KEY][39:].tolist() == pytest.approx([room.layout.blocks[c] for c in ("red", "blue", "pink")])
        np.testing.assert_array_equal(observation[KEY][:24], observation["scene_obs"])
        mujoco.mj_forward(room.model, room.data)
        for _ in range(10):
            observation, *_ = fitted.env.step(np.random.default_rng(0).uniform(-1, 1, 7).astype(np.float32))
    fitted.env.close()


def test_names_begin_with_those_of_scene_obs() -> None:
    names = names_of(NAMES["scene_obs"])
    assert (len(names), len(set(names)), names[:24]) == (42, 42, NAMES["scene_obs"])


def test_a_room_that_is_given_an_instruction_goes_on_showing_it() -> None:
    fitted = fit_env("laminar/Playroom-v0?scene=B", WANTED)
    begin = fitted.env.get_wrapper_attr("begin")
    fitted.env.reset(seed=0)
    told = begin("open_drawer")
    assert set(told) == {*WANTED.observation, "scene_obs"}
    assert told["instruction"].sum() == 1
    fitted.env.close()
    assert isinstance(fitted.env, gymnasium.Wrapper)
