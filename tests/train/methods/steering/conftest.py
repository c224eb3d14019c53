"""A base to steer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from laminar.cli import main
from laminar.configs.compose import compose
from laminar.data.episodes import Episodes
from laminar.data.formats import d4rl
from laminar.data.spec import Feature, Spec
from laminar.envs import env_spec
from laminar.policies import PROCESSES, GenerativePolicy, PolicyConfig
from laminar.policies.networks.mlp import Config as MLPConfig
from laminar.policies.processes.flow import Config as FlowConfig
from laminar.train.methods.steering import Steering
from laminar.train.run.build import build_improver, load_recorded, with_settings_of_init, with_updates
from laminar.train.update.group import Group


@pytest.fixture
def base() -> GenerativePolicy:
    """An untrained flow: 3 states, 2 actions in raw units, chunks of 4 of which 2 are executed."""
    rng = np.random.default_rng(0)
    rows, zeros = 60, np.zeros(60, bool)
    episodes = Episodes(
        observation={"observation": rng.normal(5, 3, (rows, 3)).astype(np.float32)},
        final_observation={"observation": np.zeros((3, 3), np.float32)},
        action=rng.uniform((-2, 5), (2, 15), (rows, 2)).astype(np.float32),
        reward=np.zeros(rows, np.float32),
        terminated=zeros,
        truncated=zeros,
        ends=np.array([20, 40, 60]),
        spec=Spec({"observation": Feature((3,))}, Feature((2,)), (-2.0, 0.0), (2.0, 20.0)),
    )
    torch.manual_seed(0)
    config = PolicyConfig(process=FlowConfig(steps=2), chunk=4, execute=2)
    return GenerativePolicy.build(config, MLPConfig(width=16, depth=2), episodes).eval()


SMALL = [
    *("method.critic.width=8", "method.critic.depth=1", "method.actor.width=8", "method.actor.depth=1"),
    *("method.batch_size=8", "method.actor_start=0", "method.candidates=1", "log_every=10", "checkpoint_every=10"),
]
ACTING = [
    *("method.updates_per_step=0.5", "method.warm_up=20", "method.growth=15", "method.patience=0"),
    *("method.replay=1000", "env.steps=80"),
]


class Toy:
    """Steering of an untrained base where the action is the reward: `user/Count-v0`, which success ends.

    Attributes:
        folder: of the base and of all runs.
        suite: the module of the environment.
    """

    def __init__(self, folder: Path, suite: ModuleType) -> None:
        self.folder, self.suite = folder, suite
        self.base = self.save()

    def recorded(self, picture: bool = False, **changed: Any) -> Episodes:
        """Return two episodes of ten steps, whose actions and rewards are 0.05, 0.1, …; the first one terminates."""
        rows, values = 20, np.linspace(0.05, 1, 20, dtype=np.float32)
        pictures = {"rgb": np.random.default_rng(0).integers(0, 256, (rows, 32, 32, 3), np.uint8)} if picture else {}
        state = {"state" if picture else "observation": np.stack([values, 2 * values, -values], axis=1)}
        seen: dict[str, Any] = pictures | state
        parts: dict[str, Any] = {
            "observation": seen,
            "final_observation": {key: value[9::10] for key, value in seen.items()},
            "action": values[:, None],
            "reward": values,
            "terminated": np.arange(rows) == 9,
            "truncated": np.arange(rows) == 19,
            "ends": np.array([10, 20]),
            "spec": env_spec(self.suite.Count(picture=picture, pixels=32)),
        }
        return Episodes(**parts | changed)

    def save(
        self,
        process: str = "flow",
        settings: Mapping[str, Any] | None = None,
        picture: bool = False,
        name: str = "base",
        **policy: Any,
    ) -> Path:
        """Save a base, of chunks of 4 actions of which 2 are executed."""
        torch.manual_seed(0)
        chosen = PROCESSES.config_class(process)(**({"steps": 2} if settings is None else settings))
        config = PolicyConfig(process=chosen, **{"chunk": 4, "execute": 2} | policy)
        made = GenerativePolicy.build(config, MLPConfig(width=8, depth=1), self.recorded(picture))
        return made.eval().save(self.folder / name)

    def words(
        self,
        *more: str,
        method: str = "dsrl",
        out: str = "run",
        base: Path | None = None,
        arguments: str = "limit=10&goal=3",
    ) -> list[str]:
        """Return a command line of 80 control steps: 30 updates."""
        env = f"env.id='user/Count-v0?{arguments}'"
        where = [f"method={method}", env, f"init={base or self.base}", f"out={self.folder / out}"]
        return ["train", *where, *SMALL, *ACTING, *more]

    def offline(self, *more: str, method: str = "dsrl", out: str = "run", base: Path | None = None) -> list[str]:
        """Return a command line of 30 updates on two recorded episodes alone, see `recorded`."""
        data = self.folder / "demos.hdf5"
        if not data.exists():
            d4rl.write(data, self.recorded())
        where = [f"method={method}", f"data.path={data}", f"init={base or self.base}", f"out={self.folder / out}"]
        return ["train", *where, *SMALL, "steps=30", *more]

    def train(self, *more: str, **choices: Any) -> Path:
        """Run a command line of `words`, and return the run."""
        words = self.words(*more, **choices)
        assert main(words) == 0
        return self.folder / choices.get("out", "run")


@pytest.fixture
def toy(tmp_path: Path, counter: ModuleType) -> Toy:
    return Toy(tmp_path, counter)


@pytest.fixture
def build(toy: Toy) -> Iterator[Callable[..., Steering]]:
    """Return a function that builds the improver of a command line of `Toy.words`, or of `Toy.offline`."""
    built: list[Steering] = []

    def make(*words: str, offline: bool = False, **choices: Any) -> Steering:
        given = toy.offline if offline else toy.words
        config = with_settings_of_init(with_updates(compose("train", given(*words, **choices)[1:])), None)
        improver = build_improver(config, load_recorded(config), Group(), None)
        assert isinstance(improver, Steering)
        built.append(improver)
        return improver

    yield make
    for one in built:
        one.close()
