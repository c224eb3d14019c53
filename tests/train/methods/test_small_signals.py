"""What recordings hold in their last digits is learned, and the noise of a sensor is not, by every way of learning."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from laminar.configs.compose import compose
from laminar.data.batches import Sequences
from laminar.data.episodes import Episodes
from laminar.data.spec import Feature, Spec
from laminar.policies import Actor, load_policy
from laminar.policies.export.exported import Exported
from laminar.policies.export.write import export
from laminar.policies.generative import GenerativePolicy, generative
from laminar.policies.guided import Guided
from laminar.policies.runtimes.accelerate import accelerate
from laminar.train.run.build import build_improver
from laminar.train.update.group import Group

EPISODES, STEPS = 20, 100
ROWS = EPISODES * STEPS


def recorded(observation: dict[str, np.ndarray], action: np.ndarray) -> Episodes:
    ends = np.arange(1, EPISODES + 1) * STEPS
    last = np.isin(np.arange(ROWS), ends - 1)
    features = {key: Feature(value.shape[1:], str(value.dtype)) for key, value in observation.items()}
    return Episodes(
        observation=observation,
        final_observation={key: value[ends - 1] for key, value in observation.items()},
        action=action.astype("f"),
        reward=action[:, 0].astype("f"),
        terminated=np.zeros(ROWS, bool),
        truncated=last,
        ends=ends,
        spec=Spec(features, Feature(action.shape[1:]), (-1.0,) * action.shape[1], (1.0,) * action.shape[1]),
    )


def utm() -> Episodes:
    """A vehicle that moves by centimetres, 4,500 km from the equator; it steers by where it is."""
    rng = np.random.default_rng(0)
    east, north = 0.01 * rng.integers(-150, 150, (2, ROWS))
    place = np.stack([5.1e5 + east, 4.5e6 + north], axis=1)
    return recorded({"place": place}, np.stack([0.9 * np.sin(2 * east), 0.5 * north], axis=1))


def unix_time() -> Episodes:
    """A stamp of milliseconds within two seconds of this epoch, beside a joint; what is done depends on the phase."""
    rng = np.random.default_rng(0)
    phase = 1e-3 * rng.integers(0, 2000, (ROWS, 1))
    joint = rng.normal(size=(ROWS, 1)).astype("f")
    return recorded({"joint": joint, "stamp": 1.7e9 + phase}, 0.8 * np.sin(np.pi * phase) + 0.1 * np.tanh(joint))


def trained(episodes: Episodes, *words: str, steps: int = 1500) -> Any:
    """Return the product of some updates."""
    small = ["network.width=64", "method.batch_size=128", f"steps={steps}", "data.path=memory", "out=nowhere"]
    improver = build_improver(compose("train", [*words, *small]), episodes, Group(), None)
    for step in range(steps):
        improver.update(step)
    return improver.product()


def acted(policy: Any, observation: dict[str, np.ndarray]) -> np.ndarray:
    rows = len(next(iter(observation.values())))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        noise = torch.randn(rows, *policy.noise_shape, generator=generator)
        return np.asarray(Actor(policy).act(observation, noise))


@pytest.mark.parametrize(
    ("make", "process"),
    [
        (utm, "flow"),
        (unix_time, "meanflow"),
        pytest.param(utm, "meanflow", marks=pytest.mark.slow),
        pytest.param(unix_time, "flow", marks=pytest.mark.slow),
    ],
)
def test_a_clone_acts_by_the_last_digits(make: Callable[[], Episodes], process: str) -> None:
    episodes = make()
    policy = trained(episodes, "method=bc", f"policy={process}", "method.lr=2e-3", "method.warmup=50")
    some = {key: value[:200] for key, value in episodes.observation.items()}
    rounded = {key: value.astype("f") for key, value in some.items()}
    found, blind = (np.abs(acted(policy, seen) - episodes.action[:200]).mean(axis=0) for seen in (some, rounded))
    assert found.max() < 0.08
    assert blind[-1] > 2 * found[-1], "what single precision leaves of it says less"


@pytest.fixture(scope="module")
def far_away() -> tuple[Episodes, GenerativePolicy]:
    """Recordings in UTM, and a policy for them that has a history."""
    return utm(), trained(utm(), "method=bc", "policy=flow", "policy.history=2", "policy.chunk=3", steps=2)


def windows(episodes: Episodes, rows: int) -> dict[str, np.ndarray]:
    return {key: np.stack([value[:rows], value[1 : rows + 1]], axis=1) for key, value in episodes.observation.items()}


def test_saved_policies_and_other_runtimes_see_the_same(far_away: tuple[Episodes, GenerativePolicy], tmp_path) -> None:
    episodes, policy = far_away
    seen, noise = windows(episodes, 3), torch.randn(3, *policy.noise_shape)
    wanted = policy.sample(seen, noise)
    other = {key: value + 0.01 for key, value in seen.items()}
    assert not torch.equal(policy.sample(other, noise), wanted), "a centimetre makes a difference"
    policy.save(tmp_path / "saved")
    assert torch.equal(load_policy(tmp_path / "saved").sample(seen, noise), wanted)
    exported = Exported(export(policy, tmp_path / "onnx", "onnx", 3))
    assert {one["name"]: one["dtype"] for one in exported.description["inputs"]}["place"] == "float64"
    for way in (exported, accelerate(policy, "onnx", 3), accelerate(policy, "eager", 3)):
        torch.testing.assert_close(way.sample(seen, noise), wanted, rtol=0, atol=1e-5)
        assert (way.sample(other, noise) - wanted).abs().max() > 1e-4


def test_lists_and_arrays_act_alike(far_away: tuple[Episodes, GenerativePolicy]) -> None:
    episodes, policy = far_away
    place = episodes.observation["place"][:2]
    assert np.array_equal(acted(policy, {"place": place}), acted(policy, {"place": place.tolist()}))
    assert np.array_equal(acted(policy, {"place": place}), acted(policy, {"place": torch.from_numpy(place)}))


def test_sequences_keep_the_digits(far_away: tuple[Episodes, GenerativePolicy]) -> None:
    episodes, _ = far_away
    batch = Sequences(episodes, 5).gather(torch.arange(3))
    assert np.array_equal(
        batch["observation"]["place"].numpy(), np.stack([episodes.observation["place"][k : k + 6] for k in range(3)])
    )
    assert batch["action"].dtype == torch.float32


@pytest.mark.parametrize("method", ["dql", "fql", "iql", "td3bc"])
def test_critics_see_the_digits_and_nothing_beyond_the_bound(method: str) -> None:
    episodes = utm()
    product = trained(episodes, f"method={method}", "method.critic.width=16", steps=2)
    assert isinstance(product, Guided)
    policy = generative(product)
    place = torch.from_numpy(episodes.observation["place"][:2])[:, None]
    encoded = product.encode({"place": place})
    assert encoded.dtype == torch.float32
    assert not torch.equal(product.encode({"place": place + 0.01}), encoded)
    far, further = (product.encode({"place": place + metres}) for metres in (1e3, 1e6))
    assert torch.equal(far, further)
    assert far.abs().max() < 10
    assert policy.observation_normalizer.bound == 1.0


def locked(place: float, noise: float, dtype: str = "float32") -> Episodes:
    """A joint that moves, and one that does not: what is done depends on the first."""
    rng = np.random.default_rng(0)
    joint = rng.normal(size=(ROWS, 2))
    still = (place + noise * rng.normal(size=(ROWS, 1))).astype(dtype)
    action = np.stack([0.5 * np.clip(joint[:, 0], -1.9, 1.9), 0.5 + 1e-5 * rng.normal(size=ROWS)], axis=1)
    return recorded({"joint": joint.astype("f"), "gripper": still}, action)


@pytest.mark.parametrize("process", ["flow", "diffusion"])
@pytest.mark.parametrize(
    ("place", "noise", "elsewhere"),
    [(89.9, 5e-4, 93.0), (0.0, 1e-6, 0.02), (-400.0, 1e-3, -380.0), (0.04, 0.0, 0.0)],
)
def test_a_locked_joint_does_not_move_the_policy(process: str, place: float, noise: float, elsewhere: float) -> None:
    policy = trained(locked(place, noise), "method=bc", f"policy={process}", steps=800)
    joint = np.stack([np.linspace(-1.5, 1.5, 32), np.zeros(32)], axis=1).astype("f")
    actions = [acted(policy, {"joint": joint, "gripper": np.full((32, 1), at, "f")}) for at in (place, elsewhere)]
    assert np.abs(actions[0] - actions[1])[:, 0].max() < 0.01
    assert np.abs(actions[0][:, 0] - 0.5 * joint[:, 0]).mean() < 0.1, "and it has learned what there is to learn"
    assert np.abs(actions[1][:, 1] - 0.5).max() < 1e-3, "an action that hardly varies stays where it was"
