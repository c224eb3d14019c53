"""The published settings of OGBench's tasks compose with any method, and are about what they say."""

from __future__ import annotations

import pytest

from laminar.configs.compose import compose, options
from laminar.envs.ogbench.names import parse

NAMES = [name.removeprefix("ogbench/") for name in options("experiment", "train") if name.startswith("ogbench/")]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("method", ["bc", "fql"])
def test_an_experiment(name: str, method: str) -> None:
    task = "env.id=" + {"bc": "null", "fql": "puzzle-4x4-play-singletask-task3-v0"}[method]
    own = compose("train", [f"experiment=ogbench/{name}", f"method={method}"])
    world = parse(str(own.env.id))
    assert world is not None
    assert (world.world, world.task, own.data.task) == (name, None, "env")
    assert own.policy.chunk == own.policy.execute == (1 if world.is_maze else 5)
    assert compose("train", [f"experiment=ogbench/{name}", f"method={method}", task]).env.id != own.env.id


def test_the_tasks_to_record_are_the_worlds_with_an_arm() -> None:
    tasks = [name for name in options("task", "collect") if name.startswith("ogbench/")]
    for task in tasks:
        name = parse(str(compose("collect", [f"task={task}"]).env.id))
        assert name is not None
        assert not name.is_maze
        assert f"ogbench/{name.world}-{name.data}" == task
    assert len(tasks) == 18
