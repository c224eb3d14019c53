"""The two ways through the code on docs/architecture.md are the ways that the code takes."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import numpy as np
import pytest
import torch

from laminar.cli import main
from laminar.data.episodes import Episodes
from laminar.data.formats import d4rl
from laminar.data.spec import Feature, Spec
from laminar.policies import Actor, load_policy

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
HOP = re.compile(r"^\d+\. `([\w/]+\.py):([\w.]+)`", re.MULTILINE)


def hops(title: str) -> list[tuple[str, str]]:
    """Return file and function of each hop in the list under a heading that starts so."""
    part = PAGE.split(f"## {title}")[1].split("\n## ")[0]
    return HOP.findall(part)


def _definer(owner: object, code: CodeType) -> str:
    """Return the name of the class whose method runs: Python 3.10 knows no qualified names of code."""
    mine = [c for c in type(owner).__mro__ if getattr(vars(c).get(code.co_name), "__code__", None) is code]
    return (mine or [type(owner)])[0].__name__


def calls(action: Callable[[], object]) -> list[tuple[str, str]]:
    """Return file and function of each call into the package, in order."""
    seen: list[tuple[str, str]] = []

    def note(frame: FrameType, event: str, _: Any) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(str(ROOT)):
            owner = frame.f_locals.get("self")
            name = code.co_name if owner is None else f"{_definer(owner, code)}.{code.co_name}"
            seen.append((Path(code.co_filename).relative_to(ROOT).as_posix(), name))

    sys.setprofile(note)
    try:
        action()
    finally:
        sys.setprofile(None)
    return seen


def assert_in_order(wanted: list[tuple[str, str]], seen: list[tuple[str, str]]) -> None:
    assert 1 < len(wanted) <= 10
    place = 0
    for hop in wanted:
        assert hop in seen[place:], f"{hop} is not called after {wanted[: wanted.index(hop)]}"
        place = seen.index(hop, place) + 1


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("way")
    random = np.random.default_rng(0)
    observation = random.standard_normal((40, 3)).astype(np.float32)
    episodes = Episodes(
        observation={"observation": observation},
        final_observation={"observation": observation[19::20]},
        action=np.tanh(observation[:, :2]),
        reward=np.ones(40, np.float32),
        terminated=np.zeros(40, bool),
        truncated=np.arange(40) % 20 == 19,
        ends=np.array([20, 40]),
        spec=Spec({"observation": Feature((3,))}, Feature((2,)), (-1.0, -1.0), (1.0, 1.0)),
    )
    d4rl.write(folder / "demos.hdf5", episodes)
    return folder


def train(run: Path) -> None:
    words = ["policy=flow", "network.width=8", "steps=2", f"data.path={run / 'demos.hdf5'}", f"out={run / 'out'}"]
    assert main(["train", *words]) == 0


def test_the_way_of_a_batch(run: Path) -> None:
    assert_in_order(hops("The way of a batch"), calls(lambda: train(run)))


def test_the_way_of_an_observation(run: Path) -> None:
    if not (run / "out").exists():
        train(run)

    def act() -> None:
        Actor(load_policy(run / "out")).act(torch.zeros(1, 3))

    assert_in_order(hops("The way of an observation"), calls(act))


def test_the_picture_shows_every_room() -> None:
    picture = (ROOT / "docs" / "media" / "architecture.svg").read_text(encoding="utf-8")
    rooms = [path.name for path in ROOT.iterdir() if (path / "__init__.py").is_file() and path.name != "tests"]
    assert not [room for room in rooms if f"{room}/" not in picture]
