"""Whom a one-call actor is distilled from, and which processes a method refuses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from laminar.cli import main
from laminar.data.episodes import Episodes
from laminar.data.spec import Feature
from laminar.errors import LaminarError
from laminar.policies import GenerativePolicy, PolicyConfig
from laminar.policies.networks.mlp import Config as MLPConfig
from laminar.policies.processes.flow import Config as FlowConfig
from laminar.train.methods.q_learning import QLearning
from laminar.train.methods.q_learning.agent import student_of


def test_a_student_sees_pictures_as_its_teacher_does(rewarded: Episodes) -> None:
    """The clone's network goes on from the student's encoder: from an untrained one it would sample nonsense."""
    pixels = np.random.default_rng(2).integers(0, 256, (len(rewarded), 32, 32, 3), dtype=np.uint8)
    seen = {**rewarded.observation, "rgb_static": pixels}
    features = {**rewarded.spec.observation, "rgb_static": Feature((32, 32, 3), "uint8")}
    pictured = replace(
        rewarded,
        observation=seen,
        final_observation={**rewarded.final_observation, "rgb_static": pixels[rewarded.ends - 1]},
        spec=replace(rewarded.spec, observation=features),
    )
    torch.manual_seed(0)
    teacher = GenerativePolicy.build(PolicyConfig(process=FlowConfig()), MLPConfig(width=16, depth=1), pictured)
    made = student_of(teacher)
    window = {key: torch.as_tensor(value[:2, None]) for key, value in seen.items()}
    torch.testing.assert_close(made.encode(window), teacher.encode(window), rtol=0, atol=0)
    assert not {p.data_ptr() for p in made.encoder.parameters()} & {p.data_ptr() for p in teacher.encoder.parameters()}


@pytest.mark.parametrize(
    ("recipe", "words", "message"),
    [
        ("fql", ["policy=dql"], "this diffusion draws more on the way; choose policy=flow, or policy.process.solver"),
        ("fql", ["policy=direct"], "policy=direct is no such policy; choose policy=flow"),
        ("td3bc", ["policy.process.noise=true"], "learns from a teacher alone"),
        (
            "ofql",
            ["method.one_call=true", "method.anchor=0"],
            "method.one_call estimates actions by denoising: choose policy=dql",
        ),
        ("td3bc", ["method.anchor=1"], "which policy=direct cannot tell of noised actions; choose policy=meanflow"),
        ("fql", ["method.anchor=1"], "with method.one_call or method.distill the critic judges something else"),
        (
            "dql",
            ["method.pessimism=0.5"],
            "method.target_value=min takes the least of them; set method.target_value=mean",
        ),
        ("fql", ["method.one_call=true"], "method.one_call and method.distill are two ways to a fast actor"),
    ],
)
def test_a_process_that_a_method_cannot_use(
    recipe: str, words: list[str], message: str, learner: Callable[..., QLearning]
) -> None:
    with pytest.raises(LaminarError, match=message):
        learner(recipe, *words)


def test_a_diffusion_without_inner_noise_may_teach(learner: Callable[..., QLearning]) -> None:
    """The update's randomness is its draws alone, so the same seed gives the same numbers whatever torch has drawn."""
    found: list[float] = []
    for disturbed in (False, True):
        made = learner("fql", "policy=dql", "policy.process.solver=ddim")
        if disturbed:
            torch.randn(7)
        found.append(float(made.update(0)["distillation"]))
    assert found[0] == found[1] > 0


def test_a_student_is_no_teacher(rewarded_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [f"data.path={rewarded_file}", "steps=2", "method.batch_size=8", "method.critic.width=16"]
    assert main(["train", "method=fql", "network.width=16", *words, f"out={tmp_path / 'fql'}"]) == 0
    again = [f"init={tmp_path / 'fql'}", *words, f"out={tmp_path / 'again'}"]
    for method, message in (("fql", "method.distill teaches a one-call actor"), ("dql", "learns from a teacher alone")):
        assert main(["train", f"method={method}", *again]) == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "again").exists()
