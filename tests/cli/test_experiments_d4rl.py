"""The published per-task settings compose, fit together, and are what their sources say."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from laminar.configs.compose import compose, options
from laminar.data.named import d4rl_urls
from laminar.envs.d4rl import resolve
from laminar.train.config import TrainConfig
from laminar.train.methods.q_learning.rewards import TUNINGS

FOLDER = Path(__file__).parents[2] / "configs" / "experiment" / "d4rl"
NAMES = [name.removeprefix("d4rl/") for name in options("experiment", "train") if name.startswith("d4rl/")]
TASKS = [name for name in NAMES if "/" not in name and "-" in name]
METHODS = [name for name in NAMES if "/" not in name and "-" not in name]
PUBLISHED = [name for name in NAMES if "/" in name]
PROCESS = {
    "dql": "diffusion",
    "iql": "diffusion",
    "ofql": "meanflow",
    "fql": "flow",
    "rebrac": "direct",
    "td3bc": "direct",
    "diffuser": "diffusion",
    "veteran": "diffusion",
}
PLANNED = {"diffuser": 12, "veteran": 15}  # tasks of the planners
PLANNERS = tuple(PLANNED)


def composed(name: str, *words: str) -> TrainConfig:
    """Compose an experiment as the command line does; a third of a second each."""
    return compose("train", [f"experiment=d4rl/{name}", *words])


def body(name: str) -> tuple[list[Any], Any]:
    """Return the defaults list of a file and its settings."""
    content: Any = OmegaConf.load(FOLDER / f"{name}.yaml")
    return list(content.pop("defaults", [])), content


@cache
def base(method: str) -> Any:
    """Return the settings of the choices that a method's file makes, without its own."""
    choices = [entry for entry in body(method)[0] if entry != "_self_"]
    words = [f"{key.removeprefix('override /')}={value}" for entry in choices for key, value in entry.items()]
    assert {word.split("=")[0] for word in words} == {"policy", "network", "method"}
    return OmegaConf.structured(compose("train", words))


@cache
def settings(name: str) -> TrainConfig:
    """Merge an experiment's files in the order of its defaults list; like `composed`, but a hundred times faster.

    OmegaConf refuses keys that the settings do not have, and values of another type.
    """
    method, task = name.split("/")
    defaults, own = body(name)
    assert defaults == [f"/experiment/d4rl/{task}", f"/experiment/d4rl/{method}", "_self_"]
    merged = OmegaConf.merge(base(method), body(task)[1], body(method)[1], own)
    config = OmegaConf.to_object(merged)
    assert isinstance(config, TrainConfig)
    return config


def test_the_tasks_of_the_papers_are_there() -> None:
    assert set(METHODS) == set(PROCESS)
    counts = {method: len([name for name in PUBLISHED if name.startswith(f"{method}/")]) for method in METHODS}
    assert counts == {"dql": 20, "fql": 8, "iql": 23, "ofql": 17, "rebrac": 20, "td3bc": 20} | PLANNED
    assert {name.split("/")[1] for name in PUBLISHED} == set(TASKS)


@pytest.mark.parametrize("name", ["dql/antmaze-umaze", "fql/pen-human", "rebrac/maze2d-large", "td3bc/hopper-medium"])
def test_merging_is_composing(name: str) -> None:
    assert composed(name) == settings(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", PUBLISHED)
def test_merging_is_composing_everywhere(name: str) -> None:
    assert composed(name) == settings(name)


@pytest.mark.parametrize("task", TASKS)
def test_a_task_names_its_data_and_its_environment(task: str) -> None:
    config = body(task)[1]
    assert config.env.id == config.data.path
    assert config.env.id.rpartition("-")[0] == task
    assert config.env.id in d4rl_urls()
    found = resolve(config.env.id)
    assert found is not None
    assert found.gymnasium_id is not None
    assert found.ref_max is not None


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_settings_fit_together(name: str) -> None:
    method, task = name.split("/")
    config = settings(name)
    assert config.method.name == ("planning" if method in PLANNERS else "q_learning")
    assert method in PLANNERS or config.method.reward in TUNINGS
    assert config.policy.process.name == PROCESS[method]
    assert config.env.id is not None
    assert config.env.id == config.data.path
    assert config.env.id.rpartition("-")[0] == task
    assert config.env.id in d4rl_urls()
    assert config.evaluation.every > 0
    assert config.steps % config.evaluation.every == 0, "the last update is evaluated"


@pytest.mark.parametrize("name", NAMES)
def test_every_number_has_its_source(name: str) -> None:
    for line in (FOLDER / f"{name}.yaml").read_text(encoding="utf-8").splitlines():
        assert len(line) <= 120
        if re.match(r"\s*\w+: \S", line) and not re.match(r"\s+(id|path): ", line):
            assert re.search(r" # .{4,}", line), f"'{line.strip()}' has no source"


@pytest.mark.parametrize(
    ("name", "eta", "clip", "backup", "lr", "reward", "steps"),
    [  # the authors' table
        ("hopper-medium", 1.0, 9.0, 1, 3e-4, "none", 2_000_000),
        ("walker2d-medium", 1.0, 1.0, 1, 3e-4, "none", 2_000_000),
        ("antmaze-umaze", 0.5, 2.0, 1, 3e-4, "cql_antmaze", 1_000_000),
        ("antmaze-medium-play", 2.0, 2.0, 10, 1e-3, "cql_antmaze", 1_000_000),
        ("antmaze-large-play", 4.5, 10.0, 10, 3e-4, "cql_antmaze", 1_000_000),
        ("pen-cloned", 0.1, 8.0, 1, 3e-5, "normalize", 1_000_000),
        ("kitchen-complete", 0.005, 9.0, 1, 3e-4, "none", 250_000),
    ],
)
def test_diffusion_q_learning(
    name: str, eta: float, clip: float, backup: int, lr: float, reward: str, steps: int
) -> None:
    config = settings(f"dql/{name}")
    method = config.method
    assert (method.eta, method.max_grad_norm, method.backup_actions) == (eta, clip, backup)
    assert (method.lr, method.critic_lr, method.reward, config.steps) == (lr, 3e-4, reward, steps)
    assert config.evaluation.episodes == (10 if steps == 2_000_000 else 100)
    assert config.policy.observation_normalizer == "identity"
    assert config.env.id == {"antmaze": f"{name}-v0", "pen": f"{name}-v1", "kitchen": f"{name}-v0"}.get(
        name.split("-")[0], f"{name}-v2"
    )


def test_the_other_methods() -> None:
    fql = settings("fql/antmaze-large-play")
    assert (fql.method.distill, fql.method.q_scale, fql.method.critic.width, fql.network.width) == (
        3.0,
        "none",
        512,
        512,
    )
    assert (fql.env.id, fql.steps) == ("antmaze-large-play-v2", 500_000)
    assert settings("fql/pen-human").method.target_value == "min"
    rebrac = settings("rebrac/antmaze-umaze").method
    assert rebrac.behavior_weight == pytest.approx(0.003 * 8)  # a sum over 8 dimensions there, a mean here
    assert (rebrac.target_penalty, rebrac.discount, rebrac.critic_lr) == (0.002, 0.999, 5e-5)
    assert settings("rebrac/hopper-medium-replay").method.target_penalty == 0.5
    assert settings("iql/antmaze-umaze").method.expectile == 0.9
    assert settings("iql/walker2d-medium").method.expectile == 0.7
    assert settings("td3bc/hopper-medium").method.eta == 2.5
    assert settings("ofql/kitchen-mixed").network.time_width == 64


def test_a_published_setting_can_be_overridden() -> None:
    config = composed("dql/hopper-medium", "method.eta=0.5", "policy=meanflow", "data.path=own.hdf5", "steps=10")
    assert (config.method.eta, config.method.max_grad_norm) == (0.5, 9.0)
    assert (config.policy.process.name, config.data.path, config.steps) == ("meanflow", "own.hdf5", 10)
    assert composed("hopper-medium", "method=td3bc", "policy=direct").method.eta == 2.5
