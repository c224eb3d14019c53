"""The whole way from cameras: play, a world model of pictures, a clone that sees, and the same clone improved in dreams."""

from __future__ import annotations

from pathlib import Path

import pytest

import laminar
from laminar.cli import main
from laminar.eval.results.run_record import read_rows

CAMERAS = "cameras=true&static_size=64&gripper_size=64"
SEEN = "data.observation=[robot_obs,rgb_static,rgb_gripper]"


def run(*words: str) -> None:
    assert main([*words]) == 0


@pytest.mark.slow
def test_a_policy_that_sees_is_improved_in_imagined_pictures(tmp_path: Path) -> None:
    play, world, clone, improved = (tmp_path / name for name in ("play", "world", "clone", "improved"))
    room = f"env.id=laminar/Playroom-v0?task=open_drawer&{CAMERAS}"
    run("collect", f"env.id=laminar/Playroom-v0?task=play&{CAMERAS}", "steps=6000", "processes=1", f"out={play}")
    small = ("method.model.hidden=64", "method.model.deter=64", "method.batch_size=4", "method.length=24")
    run("train", "method=world_model", f"data.path={play}", SEEN, "steps=60", *small, f"out={world}")
    (last,) = [row for row in read_rows(world) if "validation/open_loop/rgb_static" in row]
    assert 0 < last["validation/open_loop/rgb_static"] < 0.3, "a share of the range of pixels"

    demonstrations = tmp_path / "demonstrations.hdf5"
    run("collect", room, "episodes=4", "processes=1", f"out={demonstrations}")
    quick = ("policy=diffusion", "policy.process.steps=4", "method.batch_size=16", "evaluation.every=0", "steps=30")
    run("train", "experiment=playroom-skill", f"data.path={demonstrations}", SEEN, *quick, f"out={clone}")
    few = ("method.iterations=1", "method.chunks=4", "method.epochs=1", "world.slots=4", "world.horizon=32")
    words = (f"init={clone}", f"world={world}", "world.task=open_drawer", f"data.path={play}", *few)
    run("train", "method=diwa", *words, "world.success.updates=50", f"out={improved}")

    run("replay", f"world={world}", f"out={tmp_path / 'report'}")
    assert (tmp_path / "report" / "replay.html").read_text(encoding="utf-8").count("data:image/") >= 2
    before, after = (laminar.load_policy(path) for path in (clone, improved))
    assert set(after.spec.observation) == set(before.spec.observation) == {"robot_obs", "rgb_static", "rgb_gripper"}
