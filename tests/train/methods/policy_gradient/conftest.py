"""A clone to improve, and a world where the action is the reward."""

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
from laminar.envs import env_spec
from laminar.policies import PROCESSES, GenerativePolicy, PolicyConfig
from laminar.policies.networks.mlp import Config as MLPConfig
from laminar.train.methods.policy_gradient import PolicyGradient
from laminar.train.run.build import build_improver, load_recorded, with_settings_of_init, with_updates
from laminar.train.update.group import Group

SMALL = [
    *("method.value.width=8", "method.value.depth=1", "method.noise_head.width=8", "method.noise_head.depth=1"),
    *("method.chunks=10", "method.epochs=2", "method.minibatches=2", "method.patience=0", "method.value_warm_up=0"),
    *("method.draws=3", "log_every=4", "checkpoint_every=4"),
]
BASES: dict[str, tuple[str, dict[str, Any]]] = {  # of each recipe
    "dppo": ("diffusion", {"steps": 3, "prediction": "data", "clip": 5.0}),
    "diwa": ("diffusion", {"steps": 3, "prediction": "data", "solver": "ddpm", "clip": 5.0}),
    "pmpo": ("flow", {"steps": 2}),
    "reinflow": ("meanflow", {}),
    "fpo": ("flow", {"steps": 2}),
}
RECIPES = list(BASES)


class Toy:
    """Improvement of an untrained base where the action is the reward: `user/Count-v0`, which success ends.

    Attributes:
        folder: of the base and of all runs.
        suite: the module of the environment.
    """

    def __init__(self, folder: Path, suite: ModuleType) -> None:
        self.folder, self.suite = folder, suite

    def recorded(self, picture: bool = False) -> Episodes:
        """Return two episodes of ten steps, whose actions and rewards are 0.05, 0.1, …"""
        rows, values = 20, np.linspace(0.05, 1, 20, dtype=np.float32)
        pictures = {"rgb": np.random.default_rng(0).integers(0, 256, (rows, 32, 32, 3), np.uint8)} if picture else {}
        state = {"state" if picture else "observation": np.stack([values, 2 * values, -values], axis=1)}
        seen: dict[str, Any] = pictures | state
        return Episodes(
            observation=seen,
            final_observation={key: value[9::10] for key, value in seen.items()},
            action=2 * values[:, None] - 1,
            reward=values,
            terminated=np.arange(rows) == 9,
            truncated=np.arange(rows) == 19,
            ends=np.array([10, 20]),
            spec=env_spec(self.suite.Count(picture=picture, pixels=32)),
        )

    def save(
        self, process: str, settings: Mapping[str, Any], picture: bool = False, name: str = "base", **policy: Any
    ) -> Path:
        """Save a base, of chunks of 4 actions of which 2 are executed."""
        torch.manual_seed(0)
        chosen = PROCESSES.config_class(process)(**settings)
        config = PolicyConfig(process=chosen, **{"chunk": 4, "execute": 2} | policy)
        made = GenerativePolicy.build(config, MLPConfig(width=16, depth=1), self.recorded(picture))
        return made.eval().save(self.folder / name)

    def words(
        self,
        *more: str,
        method: str = "dppo",
        out: str = "run",
        base: Path | None = None,
        arguments: str = "limit=10&goal=3",
    ) -> list[str]:
        """Return a command line of 80 control steps in two slots: 2 iterations of 4 updates."""
        start = base or self.save(*BASES[method], name=f"base_{method}")
        env = f"env.id='user/Count-v0?{arguments}'"
        where = [f"method={method}", env, f"init={start}", f"out={self.folder / out}"]
        given = [word.split("=")[0] for word in more]
        length = [] if {"steps", "method.iterations"} & {*given} else ["env.steps=80"]
        return ["train", *where, *SMALL, *length, "env.slots=2", *more]

    def train(self, *more: str, **choices: Any) -> Path:
        """Run a command line of `words`, and return the run."""
        assert main(self.words(*more, **choices)) == 0
        return self.folder / choices.get("out", "run")


@pytest.fixture
def toy(tmp_path: Path, counter: ModuleType) -> Toy:
    return Toy(tmp_path, counter)


@pytest.fixture
def build(toy: Toy) -> Iterator[Callable[..., PolicyGradient]]:
    """Return a function that builds the improver of a command line of `Toy.words`."""
    built: list[PolicyGradient] = []

    def make(*words: str, **choices: Any) -> PolicyGradient:
        config = with_settings_of_init(with_updates(compose("train", toy.words(*words, **choices)[1:])), None)
        improver = build_improver(config, load_recorded(config), Group(), None)
        assert isinstance(improver, PolicyGradient)
        built.append(improver)
        return improver

    yield make
    for one in built:
        one.close()
