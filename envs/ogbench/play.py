"""One episode of OGBench's `play` or `noisy` data: its scripted oracles, in the protocol of its published sets.

play: an oracle follows a plan, with smooth noise in it, to a target, and on to the next one. noisy: it looks at every
state anew, and noise is added to what it does. After the public `data_gen_scripts/generate_manipspace.py` and
`commands.sh` of OGBench 1.2, in another stream of random numbers.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from .library import load

Array = NDArray[Any]

EPISODE = 1000  # transitions of an episode; one row more gives the last observation
_NOISE, _SMOOTHING, _LEAST_NORM = 0.1, 0.5, 0.4
_HOW_MUCH_NOISE = np.array([1.0, 1.0, 1.0, 3.0, 10.0])  # noisy: of x, y, z, yaw, gripper
_STACKING = {  # how probable it is, drawn for an episode, that a cube is put on another one
    "cube-single": (0.0, 0.0),
    "cube-double": (0.0, 0.25),
    "cube-triple": (0.05, 0.35),
    "cube-quadruple": (0.1, 0.5),
    "cube-octuple": (0.0, 0.35),
}
_OF_OTHERS = (0.5, 0.5)  # which have no two cubes
_RANDOM_ACTIONS = {"cube": 0.1, "scene": 0.1, "puzzle": 0.2}  # noisy: share of them
_CUBE = slice(14, 17)  # its place in the positions of the scene
_TYPES: dict[str, Any] = {"terminals": np.bool_, "button_states": np.int64}  # all else is float32


class Player:
    """Plays episodes, each a function of its own seed alone."""

    def __init__(self, world: str, kind: str) -> None:
        """Make the simulation.

        Args:
            world: with an arm, "scene".
            kind: play or noisy.
        """
        load(f"{world}-v0")
        known: Any = gymnasium.spec(f"{world}-v0")
        module, _, name = known.entry_point.partition(":")
        make = getattr(import_module(module), name)
        self.world, self.noisy = world, kind == "noisy"
        self._env: Any = make(**known.kwargs, terminate_at_goal=False, mode="data_collection")
        self._oracles = self._make_oracles()
        self._env.reset(seed=0)  # the first reset finds the arm's controllers as they are compiled, all others as set

    def episode(self, seed: Sequence[int], length: int = EPISODE) -> dict[str, Array]:
        """Return `length` transitions in OGBench's arrays, of a row more."""
        own, oracles, simulation = np.random.SeedSequence(seed).spawn(3)
        random = np.random.default_rng(own)
        with _global_generator(oracles):
            first = self._env.reset(seed=int(simulation.generate_state(1)[0]))
            while True:
                rows = self._play(first, random, length + 1)
                if self.world != "scene" or _cube_is_in_sight(rows["qpos"]):
                    return {key: value.astype(_TYPES.get(key, np.float32)) for key, value in rows.items()}
                first = self._env.reset()

    def _play(self, first: Any, random: np.random.Generator, length: int) -> dict[str, Array]:
        columns: dict[str, list[Any]] = {}
        shown, info = first
        stacking = random.uniform(*_STACKING.get(self.world, _OF_OTHERS))
        noise = _HOW_MUCH_NOISE * random.uniform(0, _NOISE)
        oracle = self._oracles[info["privileged/target_task"]]
        oracle.reset(shown, info)
        for step in range(length):
            action = self._action(oracle, shown, info, noise, random)
            following, _, _, _, info = self._env.step(action)
            if oracle.done:
                fresh = self._env.set_new_target(p_stack=stacking)
                oracle = self._oracles[fresh[1]["privileged/target_task"]]
                oracle.reset(*fresh)
            row = {"observations": shown, "actions": action, "terminals": step == length - 1}
            row |= {key: info[f"prev_{key}"] for key in ("qpos", "qvel", "button_states") if f"prev_{key}" in info}
            for key, value in row.items():
                columns.setdefault(key, []).append(value)
            shown = following
        return {key: np.stack(value) for key, value in columns.items()}

    def _action(self, oracle: Any, shown: Array, info: Any, noise: Array, random: np.random.Generator) -> Array:
        """Return an action (5,) in [-1, 1]."""
        if not self.noisy:
            return np.clip(oracle.select_action(shown, info), -1, 1)
        if random.random() < _RANDOM_ACTIONS[self.world.partition("-")[0]]:
            return random.uniform(-1, 1, 5).astype(np.float32)
        return np.clip(np.array(oracle.select_action(shown, info)) + random.normal(0, noise), -1, 1)

    def _make_oracles(self) -> dict[str, Any]:
        """Return task -> oracle."""
        family = self.world.partition("-")[0]
        tasks = {"cube": ("cube",), "puzzle": ("button",), "scene": ("cube", "button", "drawer", "window")}[family]
        way = "markov" if self.noisy else "plan"
        settings: dict[str, Any] = {"env": self._env}
        settings |= {"min_norm": _LEAST_NORM} if self.noisy else {"noise": _NOISE, "noise_smoothing": _SMOOTHING}
        settings |= {"gripper_always_closed": True} if family == "puzzle" else {}
        oracles: dict[str, Any] = {}
        for task in tasks:
            module = import_module(f"ogbench.manipspace.oracles.{way}.{task}_{way}")
            oracles[task] = getattr(module, f"{task.title()}{way.title()}Oracle")(**settings)
        return oracles


def _cube_is_in_sight(qpos: Array) -> bool:
    """Tell whether the scene's cube was always on the table within reach, or in the drawer."""
    _, left, height = qpos[:, _CUBE].T
    beyond = (left <= -0.3) & ((height < 0.06) | (height > 0.08))
    return not bool(((left >= 0.29) | beyond).any())


@contextmanager
def _global_generator(seed: np.random.SeedSequence) -> Generator[None]:
    """Seed numpy's global generator, which OGBench's oracles draw from, and leave it as it was."""
    before = np.random.get_state()
    np.random.seed(seed.generate_state(8))
    try:
        yield
    finally:
        np.random.set_state(before)
