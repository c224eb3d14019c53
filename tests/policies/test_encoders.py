"""Encoders of instructions and pictures, and the policies that listen and see."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from laminar.data.batches import Chunks
from laminar.data.episodes import Episodes
from laminar.data.spec import Feature, Spec
from laminar.errors import LaminarError
from laminar.policies import NETWORKS, PROCESSES, GenerativePolicy, PolicyConfig, load_policy
from laminar.policies.acting import Actor
from laminar.policies.networks import pixels, vision
from laminar.policies.networks.encoders import Instruction, Vector, encoder_for, takes_raw
from laminar.policies.networks.mlp import Config as MLPConfig

B, HISTORY, CHUNK = 4, 2, 3
LOUD = torch.tensor([[1.0, -1.0], [-1.0, 1.0], [0.5, 0.5], [-0.5, -0.5]])  # task -> action


def recording(observation: dict[str, np.ndarray], action: np.ndarray, units: dict[str, str] | None = None) -> Episodes:
    """Episodes of five steps with these observations (N, ...) and actions (N, 2) in [-1, 1]."""
    ends = np.arange(5, len(action) + 1, 5)
    flags = np.zeros(len(action), bool)
    features = {
        key: Feature(value.shape[1:], str(value.dtype), (units or {}).get(key, ""))
        for key, value in observation.items()
    }
    return Episodes(
        observation=observation,
        final_observation={key: value[ends - 1] for key, value in observation.items()},
        action=action.astype(np.float32),
        reward=np.zeros(len(action), np.float32),
        terminated=flags,
        truncated=flags,
        ends=ends,
        spec=Spec(features, Feature((2,)), (-1.0, -1.0), (1.0, 1.0)),
    )


def senses(steps: int = 40) -> Episodes:
    """Every kind of observation at once: state, instruction, color picture, depth picture."""
    rng = np.random.default_rng(0)
    observation = {
        "robot_obs": rng.normal(3.0, 2.0, (steps, 5)).astype(np.float32),
        "instruction": np.eye(34, dtype=np.float32)[rng.integers(0, 4, steps)],
        "rgb_static": rng.integers(0, 256, (steps, 40, 32, 3), dtype=np.uint8),
        "depth_static": rng.uniform(0.5, 5.0, (steps, 32, 36)).astype(np.float32),
    }
    return recording(observation, rng.uniform(-1, 1, (steps, 2)))


def build(episodes: Episodes, process: str = "meanflow", network: str = "mlp", **settings: Any) -> GenerativePolicy:
    torch.manual_seed(0)
    network_config = NETWORKS.config_class(network)(width=32, depth=2)
    return GenerativePolicy.build(
        PolicyConfig(process=PROCESSES.config_class(process)(), **settings), network_config, episodes
    )


def batch_of(episodes: Episodes, size: int = 8) -> dict[str, Any]:
    return Chunks(episodes, HISTORY, CHUNK).sample(size, torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("key", "feature", "kind"),
    [
        ("instruction", Feature((34,)), Instruction),
        ("instruction", Feature((384,)), Instruction),
        ("rgb_static", Feature((200, 200, 3), "uint8"), vision.Picture),
        ("rgb_tactile", Feature((160, 120, 6), "uint8"), vision.Picture),
        ("gray", Feature((64, 48), "uint8"), vision.Picture),
        ("depth_gripper", Feature((84, 84)), vision.Picture),
        ("robot_obs", Feature((384,)), Vector),
        ("hands/points", Feature((21, 3)), Vector),
        ("rotation", Feature((3, 3)), Vector),
    ],
)
def test_key_and_shape_choose_the_encoder(key: str, feature: Feature, kind: type[nn.Module]) -> None:
    encoder = encoder_for(key, feature)
    assert type(encoder) is kind
    assert takes_raw(key, feature) == (kind is not Vector)
    value = torch.randint(0, 256, (B, HISTORY, *feature.shape)).to(getattr(torch, feature.dtype))
    assert encoder(value).shape == (B, HISTORY, encoder.output_dim)
    assert encoder(value).isfinite().all()


@pytest.mark.parametrize("shape", [(3, 84, 84), (31, 84, 3), (84, 31), (1, 40, 40, 3)])
def test_pictures_of_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(LaminarError, match=r"observation 'wrist' of shape .* is no picture") as caught:
        encoder_for("wrist", Feature(shape, "uint8"))
    assert str(shape) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_instruction_s_length_means_nothing_its_direction_all() -> None:
    torch.manual_seed(0)
    encoder = Instruction(Feature((34,)))
    tasks = encoder(torch.eye(34).unsqueeze(1)).squeeze(1)
    torch.testing.assert_close(encoder(7.0 * torch.eye(34).unsqueeze(1)).squeeze(1), tasks)
    assert torch.pdist(tasks).min() > 1.0, "tasks lie near each other"
    assert 0.2 < tasks.std() < 2.0, "not on the scale of normalized states"
    assert encoder(torch.zeros(1, 1, 34)).isfinite().all()


@pytest.mark.parametrize(
    ("key", "shape"), [("instruction", (34,)), ("instruction", (384,)), ("depth", (40, 36)), ("views", (32, 32, 3))]
)
def test_jvp_of_encoders_agrees_with_finite_differences(key: str, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    encoder = encoder_for(key, Feature(shape)).double()
    value = torch.rand(2, HISTORY, *shape, dtype=torch.float64) + 0.5
    direction, step = torch.randn_like(value), 1e-6
    result, tangent = torch.func.jvp(encoder, (value,), (direction,))
    slope = (encoder(value + step * direction) - encoder(value - step * direction)) / (2 * step)
    assert slope.abs().max() > 1e-3
    torch.testing.assert_close(result, encoder(value), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(tangent, slope, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("channels_last", [False, True])
def test_group_norm_is_pytorch_s(channels_last: bool) -> None:
    layer = pixels.GroupNorm2d(4, 8).double()
    with torch.no_grad():
        layer.weight.uniform_(-1, 1), layer.bias.uniform_(-1, 1)
    x = 3 * torch.randn(2, 8, 5, 6, dtype=torch.float64) + 2
    expected = F.group_norm(x, 4, layer.weight.flatten(), layer.bias.flatten())
    x = x.to(memory_format=torch.channels_last) if channels_last else x
    torch.testing.assert_close(layer(x), expected)
    assert pixels.GroupNorm2d(4, 8)(torch.full((1, 8, 3, 3), 1e4)).isfinite().all(), "a blank picture"


def test_spatial_softmax_finds_where_and_how_strong() -> None:
    x = torch.zeros(1, 3, 5, 9)
    x[0, 0, 4, 2] = 50.0
    x[0, 1, 0, 8] = 40.0
    across, down, strength = pixels.SpatialSoftmax()(x).view(3, 3)
    torch.testing.assert_close(across, torch.tensor([-0.5, 1.0, 0.0]))
    torch.testing.assert_close(down, torch.tensor([1.0, -1.0, 0.0]))
    torch.testing.assert_close(strength, torch.tensor([50.0, 40.0, 0.0]))


def test_bytes_are_scaled_around_zero() -> None:
    encoder, seen = vision.Picture("rgb", Feature((32, 32, 3), "uint8")), list[Tensor]()
    encoder.layers.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    encoder(torch.tensor([0, 255], dtype=torch.uint8).view(1, 2, 1, 1, 1).expand(1, 2, 32, 32, 3))
    assert seen[0].flatten(1)[:, 0].tolist() == [-0.5, 0.5]


def test_a_picture_is_seen_as_bytes_and_frame_by_frame() -> None:
    torch.manual_seed(0)
    encoder = vision.Picture("rgb", Feature((40, 32, 3), "uint8"))
    frames = torch.randint(0, 256, (B, HISTORY, 40, 32, 3), dtype=torch.uint8)
    encoded = encoder(frames)
    torch.testing.assert_close(encoded[1:2, 1:2], encoder(frames[1:2, 1:2]), rtol=1e-4, atol=1e-5)
    brighter = frames.clone()
    brighter[2, 0] = 255 - brighter[2, 0]
    changed = (encoder(brighter) - encoded).abs().amax(dim=2)
    assert changed[2, 0] > 1e-3
    changed[2, 0] = 0.0
    assert changed.max() < 1e-5


class Untouchable:
    """Pictures on a disk that must not be read."""

    shape, dtype = (40, 40, 32, 3), np.dtype("uint8")

    def __len__(self) -> int:
        return len(range(self.shape[0]))

    def __array__(self, *_: Any, **__: Any) -> np.ndarray:
        raise AssertionError("the pictures were read")


def test_building_a_policy_reads_no_pictures_and_keeps_no_statistics_of_them() -> None:
    episodes = senses()
    episodes.observation["rgb_static"] = Untouchable()  # type: ignore[assignment]
    policy = build(episodes)
    modes = policy.observation_normalizer.modes
    assert modes == dict.fromkeys(episodes.observation, "identity") | {"robot_obs": "gaussian"}
    assert {key.partition(":")[0] for key in policy.observation_normalizer.state_dict()} == {"robot_obs"}


@pytest.mark.parametrize("process", PROCESSES.names())
def test_every_process_takes_all_senses(process: str, tmp_path: Path) -> None:
    episodes = senses()
    policy = build(episodes, process, history=HISTORY, chunk=CHUNK)
    batch = batch_of(episodes)
    assert batch["observation"]["rgb_static"].dtype == torch.uint8
    loss, _ = policy.loss(batch, torch.Generator().manual_seed(1))
    loss.backward()
    dead = [name for name, p in policy.encoder.named_parameters() if p.grad is None or not p.grad.any()]
    assert not dead
    noise = torch.randn(8, *policy.noise_shape, generator=torch.Generator().manual_seed(2))
    chunk = policy.sample(batch["observation"], noise)
    assert chunk.shape == (8, CHUNK, 2)
    restored = load_policy(policy.save(tmp_path / "policy"))
    assert restored.config == policy.config
    assert torch.equal(restored.sample(batch["observation"], noise), chunk)


def test_mean_flow_holds_what_it_sees_fixed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The encoder runs once a loss, outside the derivative, whose value is that of finite differences."""
    episodes = senses()
    policy = build(episodes, network="transformer", history=HISTORY, chunk=CHUNK)
    with torch.no_grad():
        for parameter in policy.network.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    calls: list[Tensor] = []
    encode = policy.encode
    monkeypatch.setattr(policy, "encode", lambda observation: calls.append(encode(observation)) or calls[-1])
    inputs: list[tuple[Tensor, ...]] = []
    jvp = policy.network.jvp
    monkeypatch.setattr(policy.network, "jvp", lambda *given: inputs.append(given) or jvp(*given))
    policy.loss(batch_of(episodes), torch.Generator().manual_seed(1))
    assert len(calls) == len(inputs) == 1
    assert torch.equal(inputs[0][2], calls[0][4:])
    x, times, cond, dx, dt = (given.double() for given in inputs[0])
    network, step = policy.network.double(), 1e-5
    ahead, behind = (network(x + s * dx, times + s * dt, cond) for s in (step, -step))
    slope = jvp(x, times, cond, dx, dt)[1]
    assert slope.abs().max() > 1e-3
    torch.testing.assert_close(slope, (ahead - behind) / (2 * step), rtol=1e-6, atol=1e-7)


def test_acting_keeps_a_history_of_bytes() -> None:
    policy = build(senses(), history=HISTORY, chunk=CHUNK, execute=2).eval()
    generator = torch.Generator().manual_seed(0)
    noise = torch.zeros(B, *policy.noise_shape)
    actor, planned = Actor(policy), None
    frames: list[dict[str, Tensor]] = []
    for _ in range(3):
        frames.append(
            {
                "robot_obs": torch.randn(B, 5, generator=generator),
                "instruction": torch.eye(34)[:B],
                "rgb_static": torch.randint(0, 256, (B, 40, 32, 3), generator=generator, dtype=torch.uint8),
                "depth_static": torch.rand(B, 32, 36, generator=generator),
            }
        )
        decision = actor.decide(frames[-1], noise)
        planned = decision or planned
        action = actor.pop()
    window = {key: torch.stack((frames[1][key], frames[2][key]), dim=1) for key in frames[0]}
    torch.testing.assert_close(action, policy.sample(window, noise)[:, 0])
    assert planned is not None
    assert planned.windows["rgb_static"].dtype == torch.uint8
    assert torch.equal(planned.windows["rgb_static"], window["rgb_static"])
    with pytest.raises(LaminarError, match=r"'rgb_static' is torch\.float32; the policy takes bytes"):
        policy.act(frames[0] | {"rgb_static": frames[0]["rgb_static"] / 255})


def test_sampling_with_pictures_traces_into_one_graph() -> None:
    torch._dynamo.reset()
    episodes = senses()
    policy = build(episodes, history=HISTORY, chunk=CHUNK)
    batch, noise = batch_of(episodes), torch.zeros(8, *policy.noise_shape)
    compiled = torch.compile(policy.sample, backend="eager", fullgraph=True)
    with torch.no_grad():
        torch.testing.assert_close(compiled(batch["observation"], noise), policy.sample(batch["observation"], noise))


@pytest.mark.parametrize(
    ("key", "mine", "theirs"), [("scene_obs", "scene D", "scene A"), ("instruction", "hashed", "lang_annotations")]
)
def test_another_scene_or_embedding_is_refused(key: str, mine: str, theirs: str) -> None:
    specs = [Spec({key: Feature((24,), unit=unit)}, Feature((7,))) for unit in (mine, theirs)]
    message = f"observation '{key}' is '{mine}' for the policy but '{theirs}' for environment 'room'; choose"
    with pytest.raises(LaminarError, match=message):
        specs[0].check_compatible(specs[1], "the policy", "environment 'room'")


def clone(episodes: Episodes, updates: int, lr: float) -> GenerativePolicy:
    """Train a one-call policy of one-step chunks."""
    torch.manual_seed(0)
    policy = GenerativePolicy.build(PolicyConfig(), MLPConfig(width=64, depth=2), episodes)
    chunks, generator = Chunks(episodes, 1, 1), torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(policy.parameters(), lr=lr)
    for _ in range(updates):
        loss, _ = policy.loss(chunks.sample(64, generator), generator)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return policy.eval()


def distance(policy: GenerativePolicy, episodes: Episodes, task: np.ndarray) -> float:
    """Mean distance between sampled actions and those of the task; chance is about 1.4."""
    observation = {key: torch.from_numpy(value) for key, value in episodes.observation.items()}
    with torch.no_grad():
        actions = policy.sample(observation, generator=torch.Generator().manual_seed(9))[:, 0]
    return float((actions - LOUD[task]).norm(dim=1).mean())


def with_tasks(observe: Callable[[np.random.Generator, np.ndarray], dict[str, np.ndarray]], seed: int) -> Any:
    rng = np.random.default_rng(seed)
    task = np.repeat(rng.integers(0, 4, 40), 5)
    return recording(observe(rng, task), LOUD.numpy()[task]), task


def spoken(rng: np.random.Generator, task: np.ndarray) -> dict[str, np.ndarray]:
    state = rng.normal(size=(len(task), 3)).astype(np.float32)
    return {"robot_obs": state, "instruction": np.eye(34, dtype=np.float32)[[3, 8, 20, 33]][task]}


def shown(rng: np.random.Generator, task: np.ndarray) -> dict[str, np.ndarray]:
    colors = np.array([[200, 40, 40], [40, 200, 40], [40, 40, 200], [200, 200, 40]])
    picture = rng.integers(0, 100, (len(task), 32, 32, 3))
    for row, (top, left) in enumerate(rng.integers(0, 20, (len(task), 2))):
        picture[row, top : top + 12, left : left + 12] = colors[task[row]]
    return {"rgb": picture.astype(np.uint8)}


def test_actions_follow_the_instruction() -> None:
    episodes, _ = with_tasks(spoken, seed=0)
    policy = clone(episodes, updates=300, lr=3e-3)
    assert distance(policy, *with_tasks(spoken, seed=1)) < 0.3


@pytest.mark.slow
def test_actions_follow_the_color_of_what_is_seen() -> None:
    episodes, _ = with_tasks(shown, seed=0)
    policy = clone(episodes, updates=150, lr=2e-3)
    assert distance(policy, *with_tasks(shown, seed=1)) < 0.3
