"""Backbones by name, and the policies that see through them."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from laminar.configs.compose import compose
from laminar.data.episodes import Episodes
from laminar.data.spec import Feature
from laminar.errors import LaminarError
from laminar.policies import NETWORKS, PROCESSES, GenerativePolicy, PolicyConfig, load_policy
from laminar.policies.networks.backbones import BACKBONES, EncoderConfig
from laminar.policies.networks.vision import Picture
from laminar.policies.runtimes.accelerate import accelerate
from laminar.policies.runtimes.onnx import missing

from ..recorded import recorded

KINDS = [kind for kind in BACKBONES.names() if kind != "timm"]
SIDE = 32


@pytest.fixture(scope="module")
def pictured() -> Episodes:
    """Two cameras, an instruction and a state: four episodes of five steps."""
    rng = np.random.default_rng(0)
    rows = 20
    observation = {
        "state": rng.normal(3.0, 2.0, (rows, 4)).astype(np.float32),
        "instruction": np.eye(5, dtype=np.float32)[rng.integers(0, 5, rows)],
        "left": rng.integers(0, 256, (rows, SIDE, SIDE, 3), dtype=np.uint8),
        "right": rng.integers(0, 256, (rows, SIDE, SIDE, 3), dtype=np.uint8),
    }
    return recorded(observation, [5] * 4, rng)


def build(
    episodes: Episodes, process: str = "meanflow", network: str = "mlp", history: int = 2, **encoder: Any
) -> GenerativePolicy:
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"widths": [16, 32]} if network == "unet1d" else {"width": 16, "depth": 1}
    settings = PolicyConfig(
        process=PROCESSES.config_class(process)(), history=history, chunk=4, encoder=EncoderConfig(**encoder)
    )
    return GenerativePolicy.build(settings, NETWORKS.config_class(network)(**sizes), episodes)


def batch_of(episodes: Episodes, history: int = 2) -> dict[str, Any]:
    windows = {
        key: torch.from_numpy(np.stack([value[i : i + history] for i in range(3)]))
        for key, value in episodes.observation.items()
    }
    actions = torch.from_numpy(np.stack([episodes.action[i : i + 4] for i in range(3)]))
    return {"observation": windows, "action": actions, "mask": torch.ones(3, 4, dtype=torch.bool)}


def settled(policy: GenerativePolicy) -> GenerativePolicy:
    """Move all weights from where zeros are, so that everything has a gradient and an effect."""
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter += 0.02 * torch.randn_like(parameter)
    return policy


@pytest.mark.parametrize("kind", KINDS)
def test_every_backbone_learns_is_saved_and_counts_its_cells(kind: str, pictured: Episodes, tmp_path: Path) -> None:
    policy = settled(build(pictured, kind=kind))
    batch = batch_of(pictured)
    loss, _ = policy.loss(batch, torch.Generator().manual_seed(1))
    loss.backward()
    dead = [name for name, p in policy.encoder.named_parameters() if p.grad is None or not p.grad.any()]
    assert not dead
    noise = torch.randn(3, *policy.noise_shape)
    chunk = policy.eval().sample(batch["observation"], noise)
    restored = load_policy(policy.save(tmp_path / kind))
    assert restored.config == policy.config
    assert torch.equal(restored.sample(batch["observation"], noise), chunk)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(32, 40, 3), (33, 65, 1), (84, 84, 3)])
def test_every_backbone_takes_any_size(kind: str, shape: tuple[int, ...]) -> None:
    encoder = Picture("view", Feature(shape, "uint8"), EncoderConfig(kind=kind))
    found = encoder(torch.randint(0, 256, (1, 2, *shape), dtype=torch.uint8))
    assert found.shape == (1, 2, encoder.output_dim)
    assert found.isfinite().all()


def test_a_resnet_is_the_published_one() -> None:
    """Eleven million weights as torchvision's without its head; normalization in groups of 16 channels."""
    encoder = Picture("view", Feature((96, 96, 3), "uint8"), EncoderConfig(kind="resnet18"))
    readout = sum(p.numel() for p in [*encoder.layers[-2].parameters(), *encoder.head.parameters()])
    assert sum(p.numel() for p in encoder.parameters()) - readout == 11_176_512
    deeper = Picture("view", Feature((96, 96, 3), "uint8"), EncoderConfig(kind="resnet34"))
    assert sum(p.numel() for p in deeper.parameters()) - readout == 21_284_672
    assert encoder.layers[:-2](torch.zeros(1, 3, 96, 96)).shape == (1, 512, 3, 3)


def test_cameras_share_a_backbone_and_not_what_they_look_for(pictured: Episodes, tmp_path: Path) -> None:
    apart, together = build(pictured), settled(build(pictured, shared=True))
    assert sum(p.numel() for p in together.encoder.parameters()) < sum(p.numel() for p in apart.encoder.parameters())
    left, right = (part for part in together.encoder.parts if isinstance(part, Picture))
    assert left.layers[0] is right.layers[0]
    assert left.head is not right.head
    assert left.layers[-2] is not right.layers[-2]
    batch, noise = batch_of(pictured), torch.randn(3, *together.noise_shape)
    restored = load_policy(together.save(tmp_path / "shared"))
    assert torch.equal(restored.sample(batch["observation"], noise), together.sample(batch["observation"], noise))
    parts = [part for part in restored.encoder.parts if isinstance(part, Picture)]
    assert parts[0].layers[0] is parts[1].layers[0]


def test_an_instruction_modulates_what_is_seen(pictured: Episodes) -> None:
    policy = build(pictured, kind="resnet18", film=True)
    batch = batch_of(pictured)
    pictures = policy.encoder.parts[2]
    told = torch.randn(3, 2, 64)
    seen = batch["observation"]["left"]
    torch.testing.assert_close(pictures(seen, told), pictures(seen, 2 * told))  # it begins without an effect
    settled(policy)
    assert (pictures(seen, told) - pictures(seen, -told)).abs().max() > 1e-3


def test_tokens_are_attended_to_by_every_network(pictured: Episodes) -> None:
    batch = batch_of(pictured)
    for network in NETWORKS.names():
        policy = settled(build(pictured, network=network, tokens=True))
        assert policy.encode(batch["observation"]).shape == (3, 2 * 4, 128)
        assert policy.condition_dim == 4 * 128
        noise = torch.randn(3, *policy.noise_shape)
        chunk = policy.sample(batch["observation"], noise)
        for key in pictured.spec.observation:
            other = dict(batch["observation"]) | {key: batch["observation"][key].flip(0)}
            assert (policy.sample(other, noise) - chunk)[0].abs().max() > 0, f"{network} does not look at {key}"


@pytest.mark.parametrize("process", ["flow", "meanflow"])
def test_pictures_are_encoded_once_a_chunk_and_once_a_loss(process: str, pictured: Episodes) -> None:
    policy = build(pictured, process)
    calls: list[Tensor] = []
    policy.encoder.parts[2].register_forward_hook(lambda _module, _given, found: calls.append(found))
    batch = batch_of(pictured)
    policy.sample(batch["observation"], torch.zeros(3, *policy.noise_shape))
    assert len(calls) == 1
    policy.loss(batch, torch.Generator().manual_seed(0))
    assert len(calls) == 2


@pytest.mark.skipif(missing(torch.device("cpu")) is not None, reason="needs the extra export")
@pytest.mark.parametrize("kind", ["resnet18", "tiny", "vit_small"])
def test_exported_a_backbone_sees_the_same(kind: str, pictured: Episodes) -> None:
    policy = settled(build(pictured, kind=kind, history=1)).eval()
    fast = accelerate(policy, runtime="onnx")
    seen = {key: value[:1, :1] for key, value in batch_of(pictured, 1)["observation"].items()}
    noise = torch.randn(1, *policy.noise_shape)
    torch.testing.assert_close(fast.sample(seen, noise), policy.sample(seen, noise), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"kind": "resnet"}, "no encoder is called 'resnet'"),
        ({"kind": "timm"}, "policy.encoder=timm:NAME"),
        ({"kind": "small:x"}, "policy.encoder=timm:NAME"),
        ({"kind": "small", "film": True}, "policy.encoder.film is for resnet18"),
        ({"kind": "small", "frozen": True}, "policy.encoder.frozen is for timm:NAME"),
        ({"kind": "resnet18", "weights": "a"}, "policy.encoder.weights is for timm:NAME"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(settings: dict[str, Any], told: str, pictured: Episodes) -> None:
    with pytest.raises(LaminarError, match=told) as caught:
        build(pictured, **settings)
    assert "\n" not in str(caught.value)


def test_an_encoder_is_chosen_by_a_word() -> None:
    config = compose("train", ["policy.encoder=resnet18", "policy.augment.crop=0.9"])
    assert (config.policy.encoder.kind, config.policy.augment.crop) == ("resnet18", 0.9)
    assert compose("train", ["policy.encoder=timm:resnet18"]).policy.encoder.kind == "timm:resnet18"


class FakeNetwork(nn.Module):
    """What timm's networks offer, and laminar asks for."""

    num_features, num_prefix_tokens = 6, 1
    default_cfg = {"mean": (0.4, 0.5, 0.6), "std": (0.2, 0.25, 0.3)}  # noqa: RUF012

    def __init__(self, name: str, channels: int) -> None:
        super().__init__()
        self.tokens = "vit" in name
        self.convolution = nn.Conv2d(channels, 6, 8, stride=8)
        self.norm = nn.BatchNorm2d(6)

    def forward_features(self, x: Tensor) -> Tensor:
        found = self.norm(self.convolution(x))
        flat = found.flatten(2).transpose(1, 2)
        return torch.cat((flat[:, :1], flat), dim=1) if self.tokens else found


@pytest.fixture
def fake_timm(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """A module `timm` whose `create_model` is recorded; it refuses to download."""
    asked: list[dict[str, Any]] = []
    module: Any = ModuleType("timm")

    def create_model(name: str, *, pretrained: bool, num_classes: int, in_chans: int, **more: Any) -> nn.Module:
        assert not pretrained
        assert num_classes == 0
        asked.append({"name": name, **more})
        if name == "unknown":
            raise RuntimeError("Unknown model (unknown)")
        return FakeNetwork(name, in_chans)

    module.create_model = create_model
    monkeypatch.setitem(sys.modules, "timm", module)
    return asked


@pytest.mark.parametrize("name", ["resnet18", "vit_tiny"])
@pytest.mark.parametrize("frozen", [False, True])
def test_a_timm_backbone_from_a_file(
    name: str, frozen: bool, fake_timm: list[dict[str, Any]], pictured: Episodes, tmp_path: Path
) -> None:
    torch.manual_seed(7)
    trained = FakeNetwork(name, 3)
    head = {"fc.weight": torch.zeros(1)}
    save_file(dict(trained.state_dict()) | head, tmp_path / "weights.safetensors")
    chosen = {"kind": f"timm:{name}", "weights": str(tmp_path / "weights.safetensors"), "frozen": frozen}
    policy = build(pictured, **chosen).train()
    backbone: Any = policy.encoder.parts[2].layers[0]
    assert not backbone.training, "its statistics must not follow the batch"
    assert torch.equal(backbone.network.convolution.weight, trained.convolution.weight)
    learned = [key for key, _ in policy.encoder.named_parameters() if "convolution" in key]
    assert bool(learned) != frozen
    (tmp_path / "weights.safetensors").unlink()  # a saved policy needs no file but its own
    noise, seen = torch.randn(3, *policy.noise_shape), batch_of(pictured)["observation"]
    restored = load_policy(policy.save(tmp_path / "policy"))
    assert torch.equal(restored.sample(seen, noise), policy.sample(seen, noise))
    assert all(one["name"] == name for one in fake_timm)


def test_weights_that_do_not_fit_are_named(fake_timm: list[dict[str, Any]], pictured: Episodes, tmp_path: Path) -> None:
    save_file({"norm.bias": torch.zeros(6)}, tmp_path / "w.safetensors")
    with pytest.raises(LaminarError, match=r"w\.safetensors.*convolution"):
        build(pictured, kind="timm:resnet18", weights=str(tmp_path / "w.safetensors"))
    with pytest.raises(LaminarError, match=r"timm:unknown cannot be built: Unknown model"):
        build(pictured, kind="timm:unknown")
    assert fake_timm


def test_without_timm_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch, pictured: Episodes) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(LaminarError, match=r"pip install 'laminar\[vision\]'"):
        build(pictured, kind="timm:resnet18")


def test_a_real_timm_backbone(pictured: Episodes) -> None:
    pytest.importorskip("timm")
    for name in ("resnet18", "vit_tiny_patch16_224"):
        policy = build(pictured, kind=f"timm:{name}", frozen=True)
        assert policy.encode(batch_of(pictured)["observation"]).isfinite().all()
