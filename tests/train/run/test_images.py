"""Cloning from images that lie on disk: the same numbers as from memory, and an exact resume in between."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from laminar.configs.compose import compose
from laminar.data.episodes import Episodes
from laminar.data.on_disk import on_disk
from laminar.data.spec import Feature, Spec
from laminar.data.split import split
from laminar.errors import LaminarError
from laminar.policies import GenerativePolicy, PolicyConfig
from laminar.policies.networks.critics import CriticConfig
from laminar.policies.networks.mlp import Config as MLPConfig
from laminar.train.improver import Context, Improver
from laminar.train.methods.bc import BehaviorCloning, Config
from laminar.train.methods.q_learning import Config as QConfig
from laminar.train.methods.q_learning import QLearning
from laminar.train.run.trainer import train
from laminar.train.validation import Validation

Build = Callable[[Episodes], Any]


@pytest.fixture
def pictured(episodes: Episodes) -> Episodes:
    """Return the tiny episodes with a picture beside each observation."""
    pixels = np.random.default_rng(2).integers(0, 256, (len(episodes), 32, 32, 3), dtype=np.uint8)
    return replace(
        episodes,
        observation={**episodes.observation, "rgb_static": pixels},
        final_observation={**episodes.final_observation, "rgb_static": pixels[episodes.ends - 1]},
        spec=Spec({**episodes.spec.observation, "rgb_static": Feature((32, 32, 3), "uint8")}, episodes.spec.action),
    )


def put_on_disk(episodes: Episodes, folder: Path) -> Episodes:
    np.save(folder / "pixels.npy", episodes.observation["rgb_static"])
    mapped = on_disk([np.load(folder / "pixels.npy", mmap_mode="r")])
    return replace(episodes, observation={**episodes.observation, "rgb_static": mapped})


def cloning(episodes: Episodes) -> BehaviorCloning:
    torch.manual_seed(0)
    policy = GenerativePolicy.build(PolicyConfig(chunk=4, execute=2), MLPConfig(width=16, depth=1), episodes)
    context = Context(steps=20, generator=torch.Generator().manual_seed(1))
    return BehaviorCloning(policy, episodes, Config(batch_size=8), context)


def q_learning(episodes: Episodes) -> QLearning:
    torch.manual_seed(0)
    policy = GenerativePolicy.build(PolicyConfig(chunk=2, execute=2), MLPConfig(width=16, depth=1), episodes)
    config = QConfig(batch_size=8, critic=CriticConfig(width=16))
    return QLearning(policy, episodes, config, Context(steps=20, generator=torch.Generator().manual_seed(1)))


BUILD = pytest.mark.parametrize("build", [cloning, q_learning])


def losses(improver: Improver, steps: range) -> list[float]:
    return [float(improver.update(step)["loss"]) for step in steps]


@BUILD
def test_images_on_disk_train_to_the_same_bits(build: Build, pictured: Episodes, tmp_path: Path) -> None:
    memory, disk = build(pictured), build(put_on_disk(pictured, tmp_path))
    assert (memory.program.feed.experience.reads_disk, disk.program.feed.experience.reads_disk) == (False, True)
    assert losses(memory, range(4)) == losses(disk, range(4))
    states: Any = (memory.state(), disk.state())
    for key, value in states[0].items():
        assert torch.equal(value, states[1][key]), key


def test_the_settings_choose_what_is_read(demonstrations: Path, tmp_path: Path) -> None:
    words = [f"data.path={demonstrations}", "policy=flow", "network.width=8", "steps=1", f"out={tmp_path / 'run'}"]
    for chosen, message in (
        ("data.observation=[observations]", "did you mean 'observation'"),
        ("data.action=actions", "data.action=actions chooses from CALVIN data"),
        ("data.instruction=task", "data.instruction=task chooses from CALVIN data"),
    ):
        with pytest.raises(LaminarError, match=message):
            train(compose("train", [*words, chosen]))
    train(compose("train", [*words, "data.observation=[observation]"]))


@BUILD
def test_the_next_batch_is_read_while_an_update_runs(
    build: Build, pictured: Episodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    improver = build(put_on_disk(pictured, tmp_path))
    gather, read = improver.program.feed.experience.gather, []

    def spy(index: Tensor) -> Any:
        read.append(threading.current_thread().name)
        return gather(index)

    monkeypatch.setattr(improver.program.feed.experience, "gather", spy)
    improver.update(0)
    improver.update(1)
    assert len(read) >= 2
    assert all(name.startswith("prefetch") for name in read)


@BUILD
def test_a_resume_repeats_the_batch_that_was_under_way(build: Build, pictured: Episodes, tmp_path: Path) -> None:
    disk = put_on_disk(pictured, tmp_path)
    whole, part, resumed = build(disk), build(disk), build(disk)
    expected = losses(whole, range(6))
    assert losses(part, range(3)) == expected[:3]
    losses(resumed, range(1))  # whatever was under way is forgotten
    resumed.product().load_state_dict(part.product().state_dict())
    resumed.load_state({key: value.clone() for key, value in part.state().items()})
    assert losses(resumed, range(3, 6)) == expected[3:]


def test_held_out_images_are_measured_where_they_lie(pictured: Episodes, tmp_path: Path) -> None:
    rows: list[dict[str, float]] = []
    for episodes in (pictured, put_on_disk(pictured, tmp_path)):
        learned, tested = split(episodes, [2])
        product = cloning(learned).product()
        rows.append(Validation(tested, product, "bc").measure(product))
    assert rows[0] == rows[1]
