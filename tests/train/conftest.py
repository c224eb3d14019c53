"""A tiny demonstration file, and command lines in processes of their own."""

from __future__ import annotations

import multiprocessing
import os
import runpy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from laminar.configs.compose import compose
from laminar.data.episodes import Episodes
from laminar.data.formats import d4rl
from laminar.data.spec import Feature, Spec
from laminar.eval.results.run_record import read_rows
from laminar.policies import GenerativePolicy, PolicyConfig
from laminar.policies.networks.mlp import Config as MLPConfig
from laminar.policies.processes.flow import Config as FlowConfig
from laminar.train.config import RuntimeConfig
from laminar.train.improver import Context
from laminar.train.methods.q_learning import QLearning
from laminar.train.run.clock import CPU, WALL

SMALL_Q = ("network.width=16", "method.critic.width=16", "method.batch_size=8")
COMMAND = Path(__file__).with_name("command.py")
PRELOADED = [
    *("laminar.cli", "laminar.configs.compose", "laminar.train.run.trainer", "laminar.data.formats.d4rl"),
    *("h5py", "torch._dynamo", "torch.utils.tensorboard.writer"),  # imported late, and slow
]

Launch = Callable[..., BaseProcess]


@pytest.fixture(scope="session")
def episodes() -> Episodes:
    """Return 4 episodes of 20 steps: 3 numbers seen, 2 done."""
    random = np.random.default_rng(0)
    rows, steps = 80, 20
    observation = random.standard_normal((rows, 3)).astype(np.float32)
    return Episodes(
        observation={"observation": observation},
        final_observation={"observation": observation[steps - 1 :: steps]},
        action=np.tanh(observation[:, :2] + 0.1 * random.standard_normal((rows, 2)).astype(np.float32)),
        reward=np.ones(rows, np.float32),
        terminated=np.zeros(rows, bool),
        truncated=np.arange(rows) % steps == steps - 1,
        ends=np.arange(steps, rows + 1, steps),
        spec=Spec({"observation": Feature((3,))}, Feature((2,)), (-1.0, -1.0), (1.0, 1.0)),
    )


@pytest.fixture(scope="session")
def demonstrations(episodes: Episodes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "tiny.hdf5"
    d4rl.write(path, episodes)
    return path


@pytest.fixture(scope="session")
def numbers() -> Callable[[Path], list[dict[str, float]]]:
    """Return a function from a run to the rows of its log, but for what they cost, which differs from time to time."""

    def read(run: Path) -> list[dict[str, float]]:
        rows = read_rows(run / "metrics.jsonl")
        return [{name: value for name, value in row.items() if name not in (WALL, CPU)} for row in rows]

    return read


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)


@pytest.fixture(scope="session")
def forkserver() -> multiprocessing.context.ForkServerContext:
    # Real processes without the seconds that importing torch takes: they are forked from one that has it.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    return context


@pytest.fixture
def launch(forkserver: multiprocessing.context.ForkServerContext) -> Iterator[Launch]:
    """Return a function that starts `laminar WORDS…`, maybe with a suite of a file; its output goes to a file."""
    started: list[BaseProcess] = []

    def start(
        words: Sequence[str],
        output: str | Path = os.devnull,
        environment: Mapping[str, str] | None = None,
        suite: Path | None = None,
    ) -> BaseProcess:
        job = {"words": list(words), "output": str(output), "environment": dict(environment or {}), "suite": suite}
        process = forkserver.Process(target=runpy.run_path, args=(str(COMMAND), {"job": job}))
        process.start()
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.join()


@pytest.fixture
def counting(counter: ModuleType) -> GenerativePolicy:
    """Return an untrained flow for the environment that counts: chunks of 5 of which 4 are executed."""
    episodes = counter.collect(counter.make(counter.ENV_ID, False), 3, 0)
    torch.manual_seed(0)
    config = PolicyConfig(process=FlowConfig(steps=2), chunk=5, execute=4)
    return GenerativePolicy.build(config, MLPConfig(width=16, depth=2), episodes).eval()


@pytest.fixture(scope="session")
def rewarded(episodes: Episodes) -> Episodes:
    """Return `episodes` with rewards that differ from step to step."""
    reward = np.random.default_rng(1).standard_normal(len(episodes)).astype(np.float32)
    return replace(episodes, reward=reward)


@pytest.fixture(scope="session")
def rewarded_file(rewarded: Episodes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "rewarded.hdf5"
    d4rl.write(path, rewarded)
    return path


@pytest.fixture(scope="session")
def learner(rewarded: Episodes) -> Callable[..., QLearning]:
    """Return a function that builds a small Q-learner by the name of its method, as a run with that seed would."""

    def build(method: str, *words: str, seed: int = 0, **context: Any) -> QLearning:
        config = compose("train", [f"method={method}", *SMALL_Q, *words])
        torch.manual_seed(seed)
        policy = GenerativePolicy.build(config.policy, config.network, rewarded)
        names = {field.name for field in fields(RuntimeConfig)}
        runtime = RuntimeConfig(**{name: value for name, value in context.items() if name in names})
        others = {name: value for name, value in context.items() if name not in names}
        generator = torch.Generator(runtime.device).manual_seed(seed)
        return QLearning(policy, rewarded, config.method, Context(100, generator, runtime, **others))

    return build
