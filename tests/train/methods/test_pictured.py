"""From two cameras to a policy that acts faster, on a robot: everything that comes after cloning takes pictures too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from laminar.cli import main
from laminar.configs.compose import compose
from laminar.data.episodes import Episodes
from laminar.data.load import load_episodes
from laminar.eval.rollouts.episodes import evaluate
from laminar.policies import GenerativePolicy, load_policy
from laminar.policies.edited import Edited, new_editor
from laminar.policies.generative import generative
from laminar.policies.guided import Acting, Guided, new_critic
from laminar.policies.module import PolicyModule
from laminar.policies.networks.critics import CriticConfig
from laminar.policies.networks.noise_actor import NoiseActorConfig
from laminar.policies.runtimes.accelerate import accelerate
from laminar.policies.runtimes.accelerated import unavailable
from laminar.policies.steered import Steered, new_actor
from laminar.train.config import RuntimeConfig
from laminar.train.improver import Context
from laminar.train.methods.bc import BehaviorCloning

from ...recorded import recorded

WORDS = ("network.width=16", "network.depth=1", "method.batch_size=8", "policy.chunk=4", "policy.execute=2")


@pytest.fixture(scope="module")
def pictured() -> Episodes:
    """A state and two cameras of 32 x 32: three episodes of eight steps."""
    rng, rows = np.random.default_rng(0), 24
    seen: dict[str, Any] = {
        key: rng.integers(0, 256, (rows, 32, 32, 3), dtype=np.uint8) for key in ("rgb_static", "rgb_gripper")
    }
    seen["robot_obs"] = rng.normal(size=(rows, 5)).astype(np.float32)
    return recorded(seen, [8] * 3, rng)


def cloned(episodes: Episodes, *words: str) -> GenerativePolicy:
    """Clone for two updates, with the settings of these words."""
    config = compose("train", ["policy.encoder=tiny", *WORDS, *words])
    torch.manual_seed(0)
    policy = GenerativePolicy.build(config.policy, config.network, episodes)
    learner = BehaviorCloning(policy, episodes, config.method, Context(2, torch.Generator().manual_seed(0)))
    before = learner.program.state["online"].clone()
    for step in range(2):
        assert learner.update(step)["loss"].isfinite()
    assert not torch.equal(learner.program.state["online"], before)
    return learner.product().eval()


def composed(base: GenerativePolicy) -> dict[str, PolicyModule]:
    """The base, and everything that can stand in front of it."""
    return {
        "base": base,
        "guided": Guided(base, new_critic(base, CriticConfig(width=8)), Acting(3)).eval(),
        "steered": Steered(base, new_actor(base, NoiseActorConfig(width=8), 1.5, repeated=False)).eval(),
        "edited": Edited(base, new_editor(base, NoiseActorConfig(width=8), 0.1, deviation=0.1)).eval(),
    }


@pytest.mark.parametrize("words", [("policy=meanflow",), ("policy=flow", "policy.encoder.tokens=true")])
def test_a_picture_policy_is_steered_guided_edited_and_saved(
    words: tuple[str, ...], pictured: Episodes, tmp_path: Path
) -> None:
    base = cloned(pictured, *words, "policy.history=2")
    windows = {key: torch.from_numpy(value[None, :2]) for key, value in pictured.observation.items()}
    for name, policy in composed(base).items():
        noise = torch.randn(1, *policy.noise_shape, generator=torch.Generator().manual_seed(1))
        chunk = policy.sample(windows, noise)
        assert torch.equal(load_policy(policy.save(tmp_path / name)).sample(windows, noise), chunk), name
    action = base.act({key: value[0] for key, value in pictured.observation.items()})
    assert np.isfinite(np.asarray(action)).all()


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("runtime", ["onnx", "pt2"])
def test_a_picture_policy_is_accelerated_whatever_stands_in_front(runtime: str, pictured: Episodes) -> None:
    windows = {key: torch.from_numpy(value[None, :1]) for key, value in pictured.observation.items()}
    for name, policy in composed(cloned(pictured, "policy=meanflow")).items():
        if unavailable(runtime, policy) is not None:
            pytest.skip("not installed here")
        noise = torch.randn(1, *policy.noise_shape, generator=torch.Generator().manual_seed(1))
        fast = accelerate(policy, runtime).sample(windows, noise)
        torch.testing.assert_close(fast, policy.sample(windows, noise), rtol=1e-3, atol=1e-4, msg=name)


@pytest.mark.parametrize("process", ["diffusion", "flow", "direct"])
def test_other_processes_and_autocast_clone_pictures(process: str, pictured: Episodes) -> None:
    cloned(pictured, f"policy={process}", "policy.augment.crop=0.9", "policy.augment.jitter=0.1")


def test_a_clone_of_two_cameras_is_steered_in_the_playroom(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """From pictures on disk to a policy that acts: collected, cloned, steered, loaded, evaluated."""
    room = "laminar/Playroom-v0?task=open_drawer&cameras=true&static_size=32&gripper_size=32"
    data, clone, run = (tmp_path / name for name in ("drawer.hdf5", "clone", "steered"))
    assert main(["collect", f"env.id='{room}'", "episodes=2", "seed=0", f"out={data}"]) == 0
    here = ("task=playroom/open_drawer", "log_every=4", "checkpoint_every=4")
    words = ["experiment=playroom-pictures", "policy=meanflow", *WORDS, "steps=4", f"data.path={data}", f"out={clone}"]
    assert main(["train", *words, *here]) == 0
    small = [f"method.{part}.{size}" for part in ("actor", "critic") for size in ("width=8", "depth=1")]
    small += ["method.batch_size=8", "method.replay=200", "method.warm_up=20", "method.candidates=2"]
    words = ["method=dsrl", f"init={clone}", "env.steps=40", "env.slots=2", *small, f"data.path={data}", *here]
    assert main(["train", *words, f"out={run}"]) == 2
    assert "was not trained on; read only what it sees: data.observation=[" in capsys.readouterr().err
    seen = "data.observation=[robot_obs,rgb_static,rgb_gripper]"
    assert main(["train", *words, seen, "method.demonstrations=0.5", f"out={run}"]) == 0
    policy = load_policy(run)
    assert isinstance(policy, Guided)
    assert isinstance(policy.base, Steered)
    assert generative(policy).checkpoint_hash() == load_policy(clone).checkpoint_hash(), "the base is as it was"
    result = evaluate(policy, "laminar/Playroom-v0?task=open_drawer", [0])
    assert len(result.episodes) == 1
    episodes = load_episodes(data)
    shown = {key: np.asarray(episodes.observation[key][0]) for key in policy.spec.observation}
    actions = [policy.act(shown) for _ in range(3)]
    assert np.isfinite(actions).all()
    dark = {key: np.zeros_like(value) if value.dtype == np.uint8 else value for key, value in shown.items()}
    noise = torch.zeros(1, *policy.noise_shape)
    lit, unlit = (
        policy.sample({key: torch.from_numpy(value)[None, None] for key, value in one.items()}, noise)
        for one in (shown, dark)
    )
    assert not torch.equal(lit, unlit), "it looks"


def test_bfloat16_trains_the_encoder(pictured: Episodes) -> None:
    config = compose("train", ["policy=flow", "policy.encoder=tiny", *WORDS])
    torch.manual_seed(0)
    policy = GenerativePolicy.build(config.policy, config.network, pictured)
    context = Context(2, torch.Generator().manual_seed(0), RuntimeConfig(autocast=True))
    learner = BehaviorCloning(policy, pictured, config.method, context)
    metrics = learner.update(0)
    assert metrics["loss"].isfinite()
    assert metrics["grad_norm"] > 0
