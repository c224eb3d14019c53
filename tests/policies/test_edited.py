"""A base whose executed actions are moved by a bounded residual."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from laminar.errors import LaminarError
from laminar.policies import GenerativePolicy, load_policy
from laminar.policies.edited import Edited, new_editor, restore
from laminar.policies.export.exported import Exported
from laminar.policies.export.write import export
from laminar.policies.generative import generative
from laminar.policies.guided import Acting, Guided, guide, new_critic
from laminar.policies.module import PolicyModule
from laminar.policies.networks.critics import CriticConfig
from laminar.policies.networks.edit_actor import EditActor
from laminar.policies.networks.noise_actor import NoiseActorConfig
from laminar.policies.runtimes import onnx as onnx_runtime
from laminar.policies.runtimes.accelerate import accelerate
from laminar.policies.runtimes.agreement import TOLERANCE
from laminar.policies.runtimes.fastest import disagreement
from laminar.policies.steered import Steered, new_actor

Make = Callable[..., GenerativePolicy]
SMALL = NoiseActorConfig(width=8, depth=1)
CHUNK, EXECUTE, WIDTH = 4, 2, 2
ONNX = pytest.mark.skipif(
    onnx_runtime.missing(torch.device("cpu")) is not None, reason="laminar[export] is not installed"
)


def edited(base: PolicyModule, scale: float = 0.3, deviation: float = 0.2, share: float = 1.0) -> Edited:
    """Return a policy whose editor is not zero any more."""
    editor = new_editor(base, SMALL, scale, deviation)
    with torch.no_grad():
        editor.head.weight.normal_(0, 0.5, generator=torch.Generator().manual_seed(3))
    return Edited(base, editor, share).eval()


@pytest.fixture
def base(make_policy: Make) -> GenerativePolicy:
    torch.manual_seed(0)
    return make_policy("flow", "mlp", {"steps": 2}, chunk=CHUNK, execute=EXECUTE, history=2).eval()


@pytest.fixture
def whole(base: GenerativePolicy) -> Guided:
    """Return all that steering composes: a critic behind edits behind steering."""
    torch.manual_seed(1)
    actor = new_actor(base, SMALL, 1.5, False)
    with torch.no_grad():
        actor.head.weight.normal_(0, 0.5)
    critic = new_critic(base, CriticConfig(width=8, depth=1), EXECUTE)
    return Guided(edited(Steered(base, actor), share=0.5), critic, Acting(6, "argmax")).eval()


def windows(count: int = 5) -> Tensor:
    return torch.randn(count, 2, 3, generator=torch.Generator().manual_seed(0)) * 3 + 5


def noise_of(policy: PolicyModule, count: int = 5, seed: int = 1) -> Tensor:
    return torch.randn(count, *policy.noise_shape, generator=torch.Generator().manual_seed(seed))


def parts(policy: Edited, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Noise of the base, of the edit, and the number that decides."""
    start, edit, decides = noise.split([CHUNK * WIDTH, EXECUTE * WIDTH, 1], dim=1)
    return start.view(-1, *policy.composed_of.noise_shape), edit, decides


def test_only_what_is_executed_is_moved_and_no_further_than_it_may(base: GenerativePolicy) -> None:
    policy = edited(base, scale=0.3)
    noise = noise_of(policy, 200)
    start, _, _ = parts(policy, noise)
    plain, chunk = base.sample(windows(200), start), policy.sample(windows(200), noise)
    assert torch.equal(chunk[:, EXECUTE:], plain[:, EXECUTE:])
    moved = (chunk - plain)[:, :EXECUTE].abs() / base.action_scale
    assert 0.29 < moved.max() <= 0.3 + 1e-5, "some go as far as they may"
    assert (moved.amax(dim=(1, 2)) > 0).all()


def test_edits_stay_inside_the_limits_of_actions(base: GenerativePolicy) -> None:
    policy = edited(base, scale=5.0)
    chunk = policy.sample(windows(200), noise_of(policy, 200))
    low, high = torch.tensor([-2.0, 0.0]), torch.tensor([2.0, 20.0])
    assert (chunk >= low).all()
    assert (chunk <= high).all()
    assert (chunk[:, :EXECUTE] == high).any(dim=0).all(), "they would leave them"


def test_it_is_the_formula(base: GenerativePolicy) -> None:
    """delta = scale * clip(tanh(f(s, a)) + deviation * e, -1, 1) in normalized actions."""
    policy = edited(base, scale=0.3, deviation=0.5)
    noise = noise_of(policy)
    start, edit, _ = parts(policy, noise)
    plain = base.sample(windows(), start)
    normalized = base.action_normalizer({"action": plain[:, :EXECUTE]})["action"].flatten(1)
    cond = base.encode(base.windows(windows())).flatten(1)
    editor = policy.editor
    mean = torch.tanh(editor.head(editor.layers(torch.cat([cond, normalized], dim=1))))
    delta = 0.3 * (mean + 0.5 * edit).clamp(-1, 1)
    low, high = torch.tensor([-2.0, 0.0]), torch.tensor([2.0, 20.0])
    wanted = (plain[:, :EXECUTE] + delta.view(-1, EXECUTE, WIDTH) * base.action_scale).clamp(low, high)
    torch.testing.assert_close(policy.sample(windows(), noise)[:, :EXECUTE], wanted)


def test_one_number_decides_whether_there_is_an_edit(base: GenerativePolicy) -> None:
    """A share of all chunks is edited; the others are the base's own, to the last digit."""
    policy = edited(base, share=0.3)
    noise = noise_of(policy, 4000)
    start, _, decides = parts(policy, noise)
    plain, chunk = base.sample(windows(4000), start), policy.sample(windows(4000), noise)
    moved = (chunk != plain).any(dim=2).any(dim=1)
    assert torch.equal(moved, torch.distributions.Normal(0.0, 1.0).cdf(decides[:, 0]) <= 0.3)
    assert moved.float().mean().item() == pytest.approx(0.3, abs=0.03)
    none = edited(base, share=0.0)
    assert torch.equal(none.sample(windows(4000), noise), plain)


def test_a_fresh_editor_edits_nothing_but_for_its_noise(base: GenerativePolicy) -> None:
    editor = new_editor(base, SMALL, 0.3, 0.2)
    cond, action = torch.randn(3, 6), torch.randn(3, EXECUTE * WIDTH)
    assert torch.equal(editor(cond, action, torch.zeros(3, 4)), torch.zeros(3, 4))
    torch.testing.assert_close(editor(cond, action, torch.ones(3, 4)), torch.full((3, 4), 0.06))
    assert editor(cond, action, torch.full((3, 4), 100.0)).max().item() == pytest.approx(0.3)


def test_noise_shapes(base: GenerativePolicy, whole: Guided) -> None:
    count = CHUNK * WIDTH + EXECUTE * WIDTH + 1
    assert edited(base).noise_shape == (count,)
    assert whole.noise_shape == (6, count + 1)
    with pytest.raises(LaminarError, match=r"noise has shape .* \(batch, chunk \* action \+ executed \* action \+ 1\)"):
        edited(base).sample(windows(), torch.zeros(5, 3))


def test_settings_of_an_editor_are_checked() -> None:
    with pytest.raises(LaminarError, match=r"actor.width"):
        EditActor(NoiseActorConfig(width=0), 3, 2, 0.1, 0.1)
    with pytest.raises(LaminarError, match=r"edited policy needs a base"):
        restore({}, None, None)  # type: ignore[arg-type]


def test_it_is_saved_with_all_below(whole: Guided, tmp_path: Path) -> None:
    loaded = load_policy(whole.save(tmp_path / "policy"))
    assert isinstance(loaded, Guided)
    inner = loaded.composed_of
    assert isinstance(inner, Edited)
    assert (inner.share, inner.editor.scale, inner.editor.deviation) == (0.5, 0.3, 0.2)
    assert isinstance(inner.composed_of, Steered)
    assert loaded.config == whole.config
    assert loaded.checkpoint_hash() == whole.checkpoint_hash()
    noise = noise_of(whole)
    assert torch.equal(whole.sample(windows(), noise), loaded.sample(windows(), noise))
    assert generative(loaded).config == generative(whole).config


def test_the_critic_chooses_among_edited_and_unedited(whole: Guided) -> None:
    """The chosen chunk is one of the six candidates, the one of the highest least value."""
    inner: Any = whole.base
    noise = noise_of(whole)
    each = torch.stack([inner.sample(windows(), noise[:, i, :-1]) for i in range(6)], dim=1)  # (B, N, H, A)
    cond = inner.encode(inner.windows(windows())).flatten(1)
    executed = generative(inner).action_normalizer({"action": each[:, :, :EXECUTE].flatten(0, 1)})["action"].flatten(1)
    assert whole.critic is not None
    q = whole.critic(cond.repeat_interleave(6, dim=0), executed).amin(dim=0).view(5, 6)
    torch.testing.assert_close(whole.sample(windows(), noise), each[torch.arange(5), q.argmax(dim=1)])
    edits = parts(inner, noise[:, :, :-1].flatten(0, 1))[2] <= 0
    assert edits.any()
    assert not edits.all()


def test_less_noise_is_deterministic(whole: Guided) -> None:
    still = guide(whole, Acting(noise_scale=0.0))
    first, second = (still.sample(windows(), noise_of(still, seed=seed)) for seed in (1, 2))
    assert torch.equal(first, second)


@pytest.mark.parametrize("acting", [Acting(), Acting(6, "argmax")], ids=str)
def test_it_is_accelerated(whole: Guided, acting: Acting) -> None:
    policy = guide(whole, acting)
    fast = accelerate(policy, "eager", batch=(1, 5))
    noise = noise_of(policy)
    torch.testing.assert_close(fast.sample(windows(), noise), policy.sample(windows(), noise).detach())


@ONNX
def test_it_is_accelerated_and_exported_with_onnx(whole: Guided, tmp_path: Path) -> None:
    fast = accelerate(whole, "onnx", batch=2)
    assert disagreement(fast) <= TOLERANCE
    exported = Exported(export(whole, tmp_path / "onnx", batch=2))
    assert exported.description["checkpoint"] == whole.checkpoint_hash()
    assert exported.noise_shape == whole.noise_shape
    for seed in range(20):  # a number that decides is on the same side of its threshold in every runtime
        noise = noise_of(whole, 2, seed)
        torch.testing.assert_close(exported.sample(windows(2), noise), whole.sample(windows(2), noise).detach())
