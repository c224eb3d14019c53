"""All the way from cameras: recordings, a world model of pictures, a clone that sees, and that clone after dreams."""

from __future__ import annotations

from pathlib import Path

import pytest

import laminar
from laminar.cli import main

from ..train.saved import rows

ROOM = "env.id=laminar/Playroom-v0?task=open_drawer&cameras=true&static_size=64&gripper_size=64"
KEYS = ("robot_obs", "rgb_static", "rgb_gripper")
SEEN = f"data.observation=[{','.join(KEYS)}]"


def run(*words: str) -> None:
    assert main([*words]) == 0


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_policy_that_sees_is_improved_in_imagined_pictures(tmp_path: Path) -> None:
    recorded, world, clone, improved = (tmp_path / name for name in ("recorded.hdf5", "world", "clone", "improved"))
    run("collect", ROOM, "episodes=8", f"out={recorded}")

    small = ("method.model.hidden=64", "method.model.deter=64", "method.batch_size=4", "method.length=24")
    held_out = ("data.validation=0.25", "steps=12", "checkpoint_every=12")
    run("train", "method=world_model", f"data.path={recorded}", SEEN, *small, *held_out, f"out={world}")
    (measured,) = [row for row in rows(world) if "validation/open_loop/rgb_static" in row]
    assert 0 < measured["validation/open_loop/rgb_static"] < 0.3, "a share of the range of pixels"
    run("replay", f"world={world}", f"out={tmp_path / 'report'}")
    (page,) = (tmp_path / "report").glob("*.html")
    assert page.read_text(encoding="utf-8").count("data:image/") >= 2

    quick = ("policy=diffusion", "policy.process.steps=4", "method.batch_size=16", "evaluation.every=0", "steps=30")
    run("train", "experiment=playroom-skill", f"data.path={recorded}", SEEN, *quick, f"out={clone}")
    few = ("method.iterations=1", "method.chunks=4", "method.epochs=1", "world.slots=4", "world.horizon=32")
    dreams = (f"world={world}", f"data.path={recorded}", SEEN, "world.success.updates=50")
    run("train", "method=diwa", f"init={clone}", *dreams, *few, f"out={improved}")
    assert set(laminar.load_policy(improved).spec.observation) == {*KEYS}
