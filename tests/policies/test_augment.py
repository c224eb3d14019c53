"""Pictures that are changed at random while a policy learns, and never while it acts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from laminar.data.episodes import Episodes
from laminar.data.spec import Feature
from laminar.policies import GenerativePolicy, PolicyConfig, load_policy
from laminar.policies.networks.augment import Augmentation, AugmentConfig, centered, jittered
from laminar.policies.networks.mlp import Config as MLPConfig
from laminar.train.improver import Context
from laminar.train.methods.bc import BehaviorCloning
from laminar.train.methods.bc import Config as BCConfig
from laminar.train.update.runners import runner
from laminar.train.update.stacked import rows, stacked

from ..recorded import recorded

B, HISTORY, SIDE = 64, 2, 32
VIEW = {"view": Feature((SIDE, SIDE, 3), "uint8")}


def frames(generator: torch.Generator | None = None) -> Tensor:
    return torch.randint(0, 256, (B, HISTORY, SIDE, SIDE, 3), dtype=torch.uint8, generator=generator)


def changed(config: AugmentConfig, seen: Tensor, look: Tensor | None = None) -> Tensor:
    augmentation = Augmentation(config, VIEW)
    drawn = augmentation.draw(len(seen), torch.device("cpu"), torch.Generator().manual_seed(0))
    return augmentation({"view": seen}, drawn if look is None else look)["view"]


def test_a_shift_is_drq_s() -> None:
    """The border repeated by 4 pixels, then a window of the old size: all 81 places come up, bytes stay bytes."""
    seen = frames()
    moved = changed(AugmentConfig(shift=4), seen)
    assert moved.dtype == torch.uint8
    plain = seen.flatten(0, 1).permute(0, 3, 1, 2).float()
    padded = F.pad(plain, (4, 4, 4, 4), mode="replicate").view(B, HISTORY, 3, SIDE + 8, SIDE + 8)
    places = set()
    for row in range(B):
        found = [
            (y, x)
            for y in range(9)
            for x in range(9)
            if torch.equal(padded[row, :, :, y : y + SIDE, x : x + SIDE], moved[row].permute(0, 3, 1, 2).float())
        ]
        assert len(found) == 1, "not a window of the padded picture, or another one for another frame"
        places.add(found[0])
    assert len(places) > B // 3
    assert {min(y for y, _ in places), max(y for y, _ in places)} == {0, 8}


def test_a_crop_lies_inside_and_the_middle_is_seen_when_acting() -> None:
    seen = frames()
    cut = changed(AugmentConfig(crop=0.75, shift=0), seen)
    assert cut.shape == seen.shape, "the encoder cuts"
    for look, first in ((0.0, 0), (0.999, 8)):
        extreme = changed(AugmentConfig(crop=0.75, shift=0), seen, torch.full((B, 1, 5), look))
        assert torch.equal(centered(extreme, (24, 24)), seen[:, :, first : first + 24, first : first + 24])
    assert torch.equal(centered(seen, (24, 24)), seen[:, :, 4:28, 4:28])
    assert torch.equal(centered(cut, (SIDE, SIDE)), cut)


def test_jitter_changes_light_and_color_within_its_bounds() -> None:
    pixels = frames().double()
    none, bright = torch.zeros(B, 3).double(), torch.tensor([0.1, 0, 0]).double().expand(B, 3)
    torch.testing.assert_close(jittered(pixels, none), pixels)
    torch.testing.assert_close(jittered(pixels, bright), (pixels + 25.5).clamp(max=255))
    gray = jittered(pixels, torch.tensor([0, 0, -1.0]).double().expand(B, 3))
    torch.testing.assert_close(gray, pixels.mean(dim=4, keepdim=True).expand_as(pixels))
    flat = jittered(pixels, torch.tensor([0, -1.0, 0]).double().expand(B, 3))
    torch.testing.assert_close(flat, pixels.mean(dim=(2, 3, 4), keepdim=True).expand_as(pixels))
    depth = Augmentation(AugmentConfig(shift=0, jitter=0.5), {"depth": Feature((SIDE, SIDE))})
    meters = torch.rand(B, 1, SIDE, SIDE)
    assert torch.equal(depth({"depth": meters}, torch.rand(B, 1, 5))["depth"], meters), "a depth is no color"


@pytest.fixture(scope="module")
def episodes() -> Episodes:
    rng = np.random.default_rng(0)
    steps = 24
    observation = {
        "state": rng.normal(size=(steps, 3)).astype(np.float32),
        "rgb": rng.integers(0, 256, (steps, SIDE, SIDE, 3), dtype=np.uint8),
        "wrist": rng.integers(0, 256, (steps, 40, SIDE, 3), dtype=np.uint8),
    }
    return recorded(observation, [12, 12], rng)


def cloner(episodes: Episodes, seed: int = 0, **augment: Any) -> BehaviorCloning:
    torch.manual_seed(seed)
    policy = GenerativePolicy.build(
        PolicyConfig(history=HISTORY, chunk=2, augment=AugmentConfig(**augment)), MLPConfig(width=16, depth=1), episodes
    )
    context = Context(20, torch.Generator().manual_seed(seed))
    return BehaviorCloning(policy, episodes, BCConfig(batch_size=6, warmup=0), context)


def test_looks_are_drawn_with_the_noise_for_learning_alone(episodes: Episodes, tmp_path: Path) -> None:
    learner = cloner(episodes, shift=3, crop=0.9)
    _, draws = learner.program.feed.draw()
    assert draws[-1].shape == (6, 2, 5), "one look a sample and camera"
    product = learner.product()
    assert not product.augments
    assert len(product.draw({"action": torch.zeros(6, 2, 2)})) == len(draws) - 1, "validation draws none"
    off = cloner(episodes, shift=0)
    assert len(off.program.feed.draw()[1]) == len(draws) - 1
    windows = {key: torch.from_numpy(value[None, :2]) for key, value in episodes.observation.items()}
    noise = torch.zeros(1, *product.noise_shape)
    acted = learner.clone.online.sample(windows, noise)
    assert torch.equal(learner.clone.online.sample(windows, noise), acted), "acting is a function of its noise"
    restored = load_policy(product.save(tmp_path / "policy"))
    assert restored.config["policy"]["augment"] == {"crop": 0.9, "shift": 3, "jitter": 0.0}
    assert torch.equal(restored.sample(windows, noise), product.sample(windows, noise))


def test_what_is_learned_from_is_changed_as_drawn(episodes: Episodes) -> None:
    learner = cloner(episodes, shift=3)
    index, draws = learner.program.feed.draw()
    batch = learner.chunks.gather(index)
    policy, seen = learner.clone.online, list[dict[str, Tensor]]()
    policy.encoder.register_forward_pre_hook(lambda _module, given: seen.append(given[0]))
    policy.loss(batch, draws=draws)
    expected = policy.encoder.augmentation(batch["observation"], draws[-1])
    assert torch.equal(seen[0]["rgb"], expected["rgb"])
    assert seen[0]["rgb"].dtype == torch.uint8
    assert not torch.equal(expected["rgb"], batch["observation"]["rgb"])


def test_seeds_that_train_together_see_what_each_would_alone(episodes: Episodes) -> None:
    settings: dict[str, Any] = {"shift": 2, "crop": 0.9, "jitter": 0.1}
    alone = [cloner(episodes, seed, **settings) for seed in (0, 1)]
    programs = [cloner(episodes, seed, **settings).program for seed in (0, 1)]
    together = stacked([program for program in programs if program is not None])
    update = runner(together, alone[0].context.runtime)
    for step in range(2):
        update(step)
        for one in alone:
            one.update(step)
    for index, one in enumerate(alone):
        for name, value in rows(together.state, index).items():
            torch.testing.assert_close(value, one.program.state[name], rtol=1e-3, atol=1e-4)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_compiled_it_is_the_same(episodes: Episodes) -> None:
    from laminar.train.config import RuntimeConfig

    settings: dict[str, Any] = {"shift": 2, "crop": 0.9, "jitter": 0.1}
    eager, compiled = cloner(episodes, **settings), cloner(episodes, **settings)
    update = runner(compiled.program, RuntimeConfig(compiled=True))
    for step in range(2):
        eager.update(step)
        update(step)
    for name, value in compiled.program.state.items():
        torch.testing.assert_close(value, eager.program.state[name], rtol=1e-3, atol=1e-4)
