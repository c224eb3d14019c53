"""A room with a lamp (`room_suite.py`), small models of it, and command lines about them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from laminar.cli import main
from laminar.data.episodes import Episodes
from laminar.data.formats import d4rl
from laminar.data.spec import Feature, Spec
from laminar.envs.suites import SUITES
from laminar.policies import PROCESSES, GenerativePolicy, PolicyConfig
from laminar.policies.networks.mlp import Config as MLPConfig
from laminar.world_models.config import WorldConfig
from laminar.world_models.model import WorldModel

SUITE = Path(__file__).with_name("room_suite.py")
SIZES = {"deter": 32, "groups": 4, "classes": 4, "hidden": 32}
SMALL = [
    *(f"method.model.{name}={size}" for name, size in SIZES.items()),
    *(
        "data.validation=0.2",
        "method.length=20",
        "method.batch_size=16",
        "method.warmup=20",
        "log_every=50",
        "checkpoint_every=100",
    ),
]


@pytest.fixture(scope="session")
def room() -> Iterator[ModuleType]:
    """Return the suite of the room."""
    spec = spec_from_file_location("room_suite", SUITE)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "room_suite", module)
        spec.loader.exec_module(module)
        yield module


@pytest.fixture
def registered_room(room: ModuleType, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Return the suite of the room, registered for one test."""
    monkeypatch.setattr(SUITES, "_registered", {})
    SUITES.register(room)
    return room


@pytest.fixture(scope="session")
def play(room: ModuleType) -> Episodes:
    return room.play()


@pytest.fixture(scope="session")
def demonstrations(room: ModuleType) -> Episodes:
    return room.demonstrations()


@pytest.fixture(scope="session")
def small_world() -> Callable[..., WorldModel]:
    """Return a function that builds a small model of recordings; its weights are drawn, and nothing is learned.

    Its last layers, which are zero at first, are drawn as well: or it would predict that nothing changes.
    """

    def build(episodes: Episodes, seed: int = 0, changes: bool = True, **settings: Any) -> WorldModel:
        torch.manual_seed(seed)
        model = WorldModel.for_episodes(WorldConfig(**SIZES | settings), episodes)
        if changes and model.change is not None:
            for layer in (model.change.layers[-1], model.change.linear):
                torch.nn.init.normal_(layer.weight, std=0.05)
        return model.requires_grad_(False).eval()

    return build


@pytest.fixture(scope="session")
def pictured() -> Callable[..., Episodes]:
    """Return a function that makes recordings of a picture of some size beside two numbers: what is done shows."""

    def make(height: int = 64, width: int = 64, episodes: int = 3, steps: int = 12) -> Episodes:
        rng, rows = np.random.default_rng(0), episodes * (steps + 1)
        last = np.arange(rows) % (steps + 1) == steps
        picture = rng.integers(0, 256, (rows, height, width, 3), np.uint8)
        numbers = rng.normal(size=(rows, 2)).astype(np.float32)
        count = episodes * steps
        return Episodes(
            observation={"rgb": picture[~last], "state": numbers[~last]},
            final_observation={"rgb": picture[last], "state": numbers[last]},
            action=rng.normal(size=(count, 2)).astype(np.float32),
            reward=np.zeros(count, np.float32),
            terminated=np.zeros(count, bool),
            truncated=np.arange(count) % steps == steps - 1,
            ends=np.arange(steps, count + 1, steps),
            spec=Spec({"rgb": Feature((height, width, 3), "uint8"), "state": Feature((2,))}, Feature((2,))),
            success=np.ones(episodes, bool),
            has_reward=False,
        )

    return make


class Files:
    """Recordings, a world model that was trained a little, and a clone, as files.

    Attributes:
        folder: of all of them.
        play: recordings without a task.
        demonstrations: recordings of the skill.
        world: run of method=world_model.
        clone: an untrained policy, whose actions are about the mean of the demonstrations.
        astray: the same of demonstrations that go the other way.
    """

    def __init__(self, folder: Path, room: ModuleType) -> None:
        self.folder = folder
        self.play, self.demonstrations = folder / "play.hdf5", folder / "demonstrations.hdf5"
        d4rl.write(self.play, room.play())
        d4rl.write(self.demonstrations, room.demonstrations())
        recorded = room.demonstrations()
        self.clone = _clone(folder / "clone", recorded)
        self.astray = _clone(folder / "astray", replace(recorded, action=-recorded.action))
        self.world = folder / "world"
        assert main(self.learning("steps=200", out="world")) == 0

    def learning(self, *more: str, out: str) -> list[str]:
        """Return the command line that trains a world model."""
        where = [f"data.path={self.play}", f"out={self.folder / out}"]
        return ["train", "method=world_model", *where, *SMALL, *more]

    def dreaming(self, method: str, *more: str, out: str) -> list[str]:
        """Return the command line that improves the clone in dreams, 20 updates or so."""
        where = [f"init={self.clone}", f"world={self.world}", f"data.path={self.demonstrations}"]
        short = ["world.slots=4", "world.horizon=20", "world.success.updates=200", "world.success.width=16"]
        return ["train", f"method={method}", *where, f"out={self.folder / out}", *short, *DREAMING[method], *more]


DREAMING = {
    "diwa": [
        *("method.value.width=8", "method.value.depth=1", "method.chunks=5", "method.epochs=2", "method.iterations=5"),
        *("method.value_warm_up=0", "log_every=4", "checkpoint_every=4"),
    ],
    "dsrl": [
        *("method.critic.width=8", "method.critic.depth=1", "method.actor.width=8", "method.actor.depth=1"),
        *("method.batch_size=8", "method.actor_start=0", "method.updates_per_step=0.5", "method.warm_up=20"),
        *("method.candidates=1", "method.growth=15", "method.replay=1000", "env.steps=80", "method.patience=0"),
        *("log_every=10", "checkpoint_every=10"),
    ],
}


def _clone(folder: Path, episodes: Episodes) -> Path:
    torch.manual_seed(0)
    process = PROCESSES.config_class("diffusion")(steps=3, solver="ddim")
    config = PolicyConfig(process=process, chunk=4, execute=4)
    return GenerativePolicy.build(config, MLPConfig(width=16, depth=1), episodes).eval().save(folder)


@pytest.fixture(scope="session")
def files(room: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Files:
    return Files(tmp_path_factory.mktemp("room"), room)
