"""A policy that was trained with a learned text encoder keeps it: in its folder, and in workers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from laminar.cli import main
from laminar.data.episodes import Episodes
from laminar.data.instructions import TASKS
from laminar.data.spec import Feature, Spec
from laminar.data.words import encoder as module
from laminar.data.words import learning
from laminar.data.words.encoder import FILE, TextEncoder, remembered
from laminar.data.words.learning import learn
from laminar.envs.workers import WorkerSlots
from laminar.errors import LaminarError
from laminar.policies import GenerativePolicy, PolicyConfig, load_policy
from laminar.policies.networks.mlp import Config
from laminar.policies.told import told_in_words

PAIRS = [("pull it open", "open"), ("open it up", "open"), ("push it shut", "close"), ("shut it up", "close")]


@pytest.fixture
def encoder() -> TextEncoder:
    return learn(PAIRS)


def spec_of(label: str, width: int = 2) -> Spec:
    return Spec(
        {"arm": Feature((3,)), "instruction": Feature((width,), unit=label)}, Feature((2,)), (-1.0,) * 2, (1.0,) * 2
    )


def policy_of(label: str, width: int = 2) -> GenerativePolicy:
    random, rows = np.random.default_rng(0), 20
    shown = {"arm": random.normal(size=(rows, 3)).astype("f"), "instruction": np.eye(width, dtype="f")[[0, 1] * 10]}
    no = np.zeros(rows, bool)
    final = {key: value[:1] for key, value in shown.items()}
    actions, zeros = random.uniform(-1, 1, (rows, 2)).astype("f"), np.zeros(rows, "f")
    episodes = Episodes(shown, final, actions, zeros, no, no, np.array([rows]), spec_of(label, width))
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


def test_who_was_told_a_number_is_told_sentences(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(learning, "UPDATES", 3)
    policy = policy_of("task", len(TASKS))
    policy.save(tmp_path / "policy")
    words = ["language", f"policy.path={tmp_path / 'policy'}", f"out={tmp_path / 'told'}"]
    assert main(words) == 0
    assert "is told sentences" in capsys.readouterr().out
    told = load_policy(tmp_path / "told")
    said = told.instruction("open the drawer")
    assert said.shape == (len(TASKS),)
    seen = {"arm": torch.zeros(1, 1, 3), "instruction": torch.as_tensor(said)[None, None]}
    noise = torch.zeros(1, *policy.noise_shape)
    torch.testing.assert_close(told.sample(seen, noise), policy.sample(seen, noise), rtol=0, atol=0)
    assert told.checkpoint_hash() == policy.checkpoint_hash()
    for wrong, why in (
        (words, "is there already; choose another out=, or give overwrite=true"),
        ([*words[:2], f"out={tmp_path / 'x.safetensors'}"], "out= is the folder of the policy that is told in words"),
        (words[:2], "out= is the folder of the policy that is told in words, got nothing"),
        (
            ["language", f"policy.path={tmp_path / 'told'}", f"out={tmp_path / 'x'}"],
            "is told its instruction as 'learned-",
        ),
    ):
        assert main(wrong) == 2
        assert why in capsys.readouterr().err
    assert main([*words, "overwrite=true"]) == 0


def test_an_encoder_of_other_tasks_does_not_fit(encoder: TextEncoder) -> None:
    with pytest.raises(LaminarError, match="knows other tasks than the 34 of the policy"):
        told_in_words(policy_of("task", len(TASKS)), encoder)


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
