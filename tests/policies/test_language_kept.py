"""A policy that was trained with a learned text encoder keeps it: in its folder, and in workers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from laminar.data.episodes import Episodes
from laminar.data.spec import Feature, Spec
from laminar.data.words import encoder as module
from laminar.data.words.encoder import FILE, TextEncoder, remembered
from laminar.data.words.learning import learn
from laminar.envs.workers import WorkerSlots
from laminar.errors import LaminarError
from laminar.policies import GenerativePolicy, PolicyConfig, load_policy
from laminar.policies.networks.mlp import Config

PAIRS = [("pull it open", "open"), ("open it up", "open"), ("push it shut", "close"), ("shut it up", "close")]


@pytest.fixture
def encoder() -> TextEncoder:
    return learn(PAIRS)


def spec_of(label: str) -> Spec:
    return Spec(
        {"arm": Feature((3,)), "instruction": Feature((2,), unit=label)}, Feature((2,)), (-1.0,) * 2, (1.0,) * 2
    )


def policy_of(label: str) -> GenerativePolicy:
    random, rows = np.random.default_rng(0), 20
    shown = {"arm": random.normal(size=(rows, 3)).astype("f"), "instruction": np.eye(2, dtype="f")[[0, 1] * 10]}
    no = np.zeros(rows, bool)
    final = {key: value[:1] for key, value in shown.items()}
    actions, zeros = random.uniform(-1, 1, (rows, 2)).astype("f"), np.zeros(rows, "f")
    episodes = Episodes(shown, final, actions, zeros, no, no, np.array([rows]), spec_of(label))
    torch.manual_seed(0)
    return GenerativePolicy.build(PolicyConfig(chunk=4, execute=2), Config(width=8, depth=1), episodes).eval()


def test_the_encoder_lies_beside_the_weights(
    encoder: TextEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = policy_of(encoder.label)
    policy.save(tmp_path / "policy")
    assert (tmp_path / "policy" / FILE).is_file()
    monkeypatch.setattr(module, "_KNOWN", {})  # as in another process
    with pytest.raises(LaminarError, match="was not read here; a policy's folder has it as language"):
        policy.instruction("open it now")
    back = load_policy(tmp_path / "policy")
    assert remembered(encoder.label) is not None
    np.testing.assert_array_equal(back.instruction("open it, please"), encoder("open it, please"))
    observation = {"arm": np.zeros((1, 3), "f"), "instruction": back.instruction("pull it")[None]}
    assert back.act(observation).shape == (1, 2)
    back.save(tmp_path / "policy")  # over itself
    back.save(tmp_path / "copy")
    assert (tmp_path / "copy" / FILE).read_bytes() == (tmp_path / "policy" / FILE).read_bytes()


def test_other_policies_have_none(tmp_path: Path) -> None:
    policy_of("hashed").save(tmp_path / "policy")
    assert not (tmp_path / "policy" / FILE).exists()


def test_workers_know_it(encoder: TextEncoder) -> None:
    """Tasks of the room are none of this encoder's, which does not matter: its vectors of their sentences are."""
    features = {"robot_obs": Feature((15,)), "instruction": Feature((2,), unit=encoder.label)}
    wanted = Spec(features, Feature((7,), unit="relative"), (-1.0,) * 7, (1.0,) * 7)
    world = WorkerSlots("laminar/Playroom-v0?scene=D&task=open_drawer", wanted, 1, 1)
    try:
        told = world.reset({0: 3})["instruction"][0]
        np.testing.assert_allclose(told, encoder("get the drawer to stand open"), rtol=1e-6)
        assert f"instruction={encoder.label}" in world.env_id
    finally:
        world.close()
