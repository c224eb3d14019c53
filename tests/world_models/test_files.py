"""A world model on disk: whole or not at all, to the bit, and never for something else."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from laminar.data.episodes import Episodes
from laminar.errors import LaminarError
from laminar.policies import load_policy
from laminar.world_models import WorldModel, load_world

Build = Callable[..., WorldModel]


@pytest.fixture
def saved(play: Episodes, small_world: Build, tmp_path: Path) -> Path:
    folder = tmp_path / "world"
    folder.mkdir()
    small_world(play).write(folder)
    return folder


def dreamed(model: WorldModel, episodes: Episodes) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    seen = {key: torch.from_numpy(value[:8].copy())[None] for key, value in episodes.observation.items()}
    action = torch.from_numpy(episodes.action[:8].copy())[None]
    latent = model.follow(seen, action[:, :-1], torch.rand(1, 8, model.rssm.groups, generator=generator))
    path = []
    for _ in range(5):
        latent = model.imagine(latent, action[:, -1], torch.rand(1, model.rssm.groups, generator=generator))
        path.append(torch.cat([value.float().flatten() for value in model.decode(latent.features).values()]))
    return torch.stack(path)


def test_it_comes_back_to_the_bit(play: Episodes, small_world: Build, saved: Path) -> None:
    model, again = small_world(play), load_world(saved)
    assert torch.equal(dreamed(model, play), dreamed(again, play))
    assert again.described == model.described
    assert again.spec == model.spec
    assert not again.training


def test_pictures_come_back_too(pictured: Callable[..., Episodes], small_world: Build, tmp_path: Path) -> None:
    model = small_world(pictured())
    model.write(tmp_path)
    assert torch.equal(dreamed(model, pictured()), dreamed(load_world(tmp_path), pictured()))


def test_a_run_is_opened_at_its_newest_checkpoint(files: Any) -> None:
    from laminar.policies.storage import checkpoints

    newest = checkpoints(files.world)[-1]
    assert newest.name == "step_00000200"
    one, other = load_world(files.world), load_world(newest)
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in one.state_dict().items())


def _other_shape(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    weights["rssm.first"] = torch.zeros(7)
    save_file(weights, folder / "model.safetensors")


def _without_a_tensor(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights["rssm.first"]
    save_file(weights, folder / "model.safetensors")


def _cut(name: str) -> Callable[[Path], None]:
    def cut(folder: Path) -> None:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: len(content) // 2])

    return cut


def _changed(**changes: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | changes))

    return change


def _enormous(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["model"]["deter"] = 10**6
    (folder / "config.json").write_text(json.dumps(config))


def _pickled(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"\x80\x04}\x94\x8c\nrssm.first\x94]\x94s.")


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (_other_shape, "rssm.first"),
        (_without_a_tensor, "rssm.first"),
        (_cut("model.safetensors"), "model.safetensors is damaged"),
        (_cut("config.json"), "config.json is not valid JSON"),
        (_cut("spec.json"), "spec.json is not valid JSON"),
        (_changed(values={}), "config.json"),
        (_changed(model={"size": "small", "unknown": 1}), "config.json"),
        (_changed(observation_normalizer={}), "unexpected tensor 'observation_normalizer."),
        (_enormous, "model.safetensors"),
        (_pickled, "model.safetensors is damaged"),
        (lambda folder: (folder / "spec.json").unlink(), "spec.json is missing"),
        (lambda folder: (folder / "model.safetensors").unlink(), "it has no model.safetensors"),
    ],
)
def test_what_is_damaged_is_told_in_one_line(saved: Path, damage: Callable[[Path], None], told: str) -> None:
    damage(saved)
    with pytest.raises(LaminarError) as caught:
        load_world(saved)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_policy_is_no_world(files: Any) -> None:
    with pytest.raises(LaminarError, match=r"clone holds a policy, and a world model is needed; train one: laminar tr"):
        load_world(files.clone)


def test_nothing_is_there(tmp_path: Path) -> None:
    with pytest.raises(LaminarError) as caught:
        load_world(tmp_path / "nothing")
    assert "\n" not in str(caught.value)


def test_a_world_is_no_policy(files: Any) -> None:
    with pytest.raises(LaminarError, match="holds a"):
        load_policy(files.world)
