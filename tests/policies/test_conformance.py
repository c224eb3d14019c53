"""What every process x network must do; a new member of either axis is tested here without a line."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from laminar.data.batches import Chunks
from laminar.data.episodes import Episodes
from laminar.policies import NETWORKS, PROCESSES, GenerativePolicy, load_policy
from laminar.policies.processes.direct import Direct

HISTORY, CHUNK = 2, 4
CLONING = [(process, network, {}) for process in PROCESSES.names() for network in NETWORKS.names()]
CHUNK_WEIGHTS = {  # multiply nothing but the noisy chunk, which is zeros for a deterministic actor
    "mlp": [],
    "transformer": ["network.action_token.weight"],
    "unet1d": ["network.down.0.first.first.0.weight", "network.down.0.first.skip.weight"],
}
DISTILLED = [
    ("direct", network, {"noise": True, "squash": True}) for network in NETWORKS.names()
]  # has no loss of its own


def names(case: tuple[str, str, dict]) -> str:
    return "-".join((*case[:2], *case[2]))


@pytest.fixture(params=CLONING, ids=names)
def policy(request: pytest.FixtureRequest, make_policy: Callable[..., GenerativePolicy]) -> GenerativePolicy:
    torch.manual_seed(0)
    return make_policy(*request.param, history=HISTORY, chunk=CHUNK, execute=2)


sampling = pytest.mark.parametrize("policy", CLONING + DISTILLED, ids=names, indirect=True)
# A trajectory's loss calls its network so often that a large one takes half a minute to trace.
LONG = [case for case in CLONING if case[0] == "ctm" and case[1] != "mlp"]
TRACED = [pytest.param(case, marks=[pytest.mark.slow] if case in LONG else []) for case in CLONING]


@pytest.fixture
def batch(episodes: Episodes) -> dict:
    return Chunks(episodes, HISTORY, CHUNK).sample(32, torch.Generator().manual_seed(0))


def is_blind(policy: GenerativePolicy) -> bool:
    """Whether the network never sees the noise: a deterministic actor."""
    return isinstance(policy.process, Direct) and not policy.process.config.noise


@sampling
def test_shapes_and_limits(policy: GenerativePolicy, batch: dict) -> None:
    assert policy.noise_shape == (CHUNK, 2)
    chunk = policy.sample(batch["observation"], generator=torch.Generator().manual_seed(0))
    assert chunk.shape == (32, CHUNK, 2)
    assert (chunk >= torch.tensor([-2.0, 0.0])).all()
    assert (chunk <= torch.tensor([2.0, 20.0])).all()


@sampling
def test_same_noise_same_chunk(policy: GenerativePolicy, batch: dict) -> None:
    noise = torch.randn(32, *policy.noise_shape, generator=torch.Generator().manual_seed(1))
    first = policy.sample(batch["observation"], noise)
    torch.manual_seed(123)
    assert torch.equal(first, policy.sample(batch["observation"], noise))
    alone = policy.sample({key: value[3:4] for key, value in batch["observation"].items()}, noise[3:4])
    torch.testing.assert_close(alone[0], first[3], rtol=1e-4, atol=1e-4)


@sampling
def test_noise_matters(policy: GenerativePolicy, batch: dict) -> None:
    obs = batch["observation"]
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in policy.network.parameters():  # off zero, where the transformer's output starts
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    same = torch.equal(policy.sample(obs, generator=generator), policy.sample(obs, generator=generator))
    assert same == is_blind(policy)


def test_loss_draws_from_the_generator_alone(policy: GenerativePolicy, batch: dict) -> None:
    before = torch.get_rng_state()
    first, _ = policy.loss(batch, torch.Generator().manual_seed(3))
    second, _ = policy.loss(batch, torch.Generator().manual_seed(3))
    assert torch.equal(first, second)
    assert torch.equal(before, torch.get_rng_state())


def test_loss_is_finite_and_falls(policy: GenerativePolicy, batch: dict) -> None:
    generator = torch.Generator().manual_seed(4)
    draws = policy.draw(batch, generator)  # fixed noise: what is left of the loss can be learned by heart
    optimizer = torch.optim.Adam(policy.parameters(), lr=3e-3)
    losses = []
    for _ in range(60):
        loss, metrics = policy.loss(batch, draws=draws)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        assert all(torch.isfinite(value).all() for value in metrics.values())
    assert losses[-1] < 0.8 * losses[0], losses[::10]


def test_every_parameter_learns(policy: GenerativePolicy, batch: dict) -> None:
    """After one update nothing is stuck: a zero-initialized output hides its inputs for a single step only."""
    optimizer = torch.optim.Adam(policy.parameters(), lr=1e-3)
    for seed in range(3):
        loss, _ = policy.loss(batch, torch.Generator().manual_seed(seed))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    dead = [name for name, p in policy.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert dead == (CHUNK_WEIGHTS.get(policy.network_config.name, []) if is_blind(policy) else [])


def test_padding_does_not_count(policy: GenerativePolicy, batch: dict) -> None:
    """Other actions under the mask leave the loss alone, except through the network's view of the noisy chunk."""
    masked = {**batch, "mask": torch.zeros_like(batch["mask"])}
    masked["mask"][:, 0] = True
    loss, _ = policy.loss(masked, torch.Generator().manual_seed(5))
    full, _ = policy.loss({**batch, "mask": torch.ones_like(batch["mask"])}, torch.Generator().manual_seed(5))
    none, _ = policy.loss({k: v for k, v in batch.items() if k != "mask"}, torch.Generator().manual_seed(5))
    assert not torch.equal(loss, full)
    torch.testing.assert_close(full, none)


@sampling
def test_save_and_load_are_bit_equal(policy: GenerativePolicy, batch: dict, tmp_path: Path) -> None:
    restored = load_policy(policy.save(tmp_path / "policy"))
    assert restored.spec == policy.spec
    assert restored.config == policy.config
    assert restored.checkpoint_hash() == policy.checkpoint_hash()
    noise = torch.randn(32, *policy.noise_shape, generator=torch.Generator().manual_seed(6))
    assert torch.equal(policy.sample(batch["observation"], noise), restored.sample(batch["observation"], noise))


@pytest.mark.parametrize("policy", TRACED, ids=names, indirect=True)
def test_traces_without_data_dependent_operations(policy: GenerativePolicy, batch: dict) -> None:
    """One graph, no host sync: what `torch.compile` and a CUDA graph need, checked without either's cost."""
    torch._dynamo.reset()  # its limit on recompiling one function counts all policies of the session
    noise = torch.randn(32, *policy.noise_shape, generator=torch.Generator().manual_seed(7))
    compiled = torch.compile(policy.sample, backend="eager", fullgraph=True)
    steps = 1 if isinstance(policy.process, Direct) else 2
    with torch.no_grad():
        reference = policy.sample(batch["observation"], noise, steps=steps)
        torch.testing.assert_close(compiled(batch["observation"], noise, steps=steps), reference)
    draws = policy.draw(batch, torch.Generator().manual_seed(8))
    loss = torch.compile(policy.loss, backend="eager", fullgraph=True)
    torch.testing.assert_close(loss(batch, draws=draws)[0], policy.loss(batch, draws=draws)[0])


@pytest.mark.slow
@pytest.mark.timeout(400)  # a U-Net takes a minute to compile on an idle core
def test_compiles_with_inductor(policy: GenerativePolicy, batch: dict) -> None:
    torch._dynamo.reset()
    draws = policy.draw(batch, torch.Generator().manual_seed(8))
    reference, _ = policy.loss(batch, draws=draws)
    reference.backward()
    gradients = [p.grad.clone() for p in policy.parameters()]
    policy.zero_grad()
    loss, _ = torch.compile(policy.loss, fullgraph=True)(batch, draws=draws)
    loss.backward()
    torch.testing.assert_close(loss, reference, rtol=1e-4, atol=1e-5)
    for mine, expected in zip(policy.parameters(), gradients, strict=True):
        torch.testing.assert_close(mine.grad, expected, rtol=1e-3, atol=1e-4)
