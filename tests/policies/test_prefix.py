"""Trained prefixes, for every process x network: what is given is clean, does not count, and begins the chunk."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from laminar.data.batches import Chunks
from laminar.data.episodes import Episodes
from laminar.errors import LaminarError
from laminar.policies import NETWORKS, PROCESSES, GenerativePolicy, load_policy
from laminar.policies.export.exported import Exported
from laminar.policies.export.write import export
from laminar.policies.guided import Acting, Guided, guide, new_critic
from laminar.policies.networks import Network
from laminar.policies.networks.critics import CriticConfig
from laminar.policies.networks.noise_actor import NoiseActorConfig
from laminar.policies.networks.prefixed import Prefixed, holding
from laminar.policies.prefix import Prefix, prefix_for
from laminar.policies.runtimes.accelerate import accelerate
from laminar.policies.runtimes.program import SamplingProgram
from laminar.policies.steered import Steered, new_actor

CHUNK, HISTORY, LONGEST = 8, 2, 3
PAIRS = [(process, network) for process in PROCESSES.names() for network in NETWORKS.names()]
EXAMPLE = Path(__file__).parents[2] / "examples/run_onnx.py"
Make = Callable[..., GenerativePolicy]
every = pytest.mark.parametrize("policy", PAIRS, ids="-".join, indirect=True)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def policy(request: pytest.FixtureRequest, make_policy: Make) -> GenerativePolicy:
    """One whose weights are off zero, where a transformer's output starts."""
    process, network = getattr(request, "param", ("flow", "mlp"))
    torch.manual_seed(0)
    made = make_policy(process, network, prefix=LONGEST, history=HISTORY, chunk=CHUNK, execute=4).eval()
    with torch.no_grad():
        for parameter in made.network.parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=seeded(2))
    return made


@pytest.fixture
def batch(episodes: Episodes) -> dict[str, Any]:
    return Chunks(episodes, HISTORY, CHUNK).sample(16, seeded(0))


def inputs(policy: GenerativePolicy, rows: int = 4) -> tuple[Tensor, Tensor, Tensor]:
    """Return observations, planned actions within the limits, and noise."""
    low, high = policy.action_limits
    planned = low + (high - low) * torch.rand(rows, CHUNK, 2, generator=seeded(3))
    obs = 5 + 3 * torch.randn(rows, HISTORY, 3, generator=seeded(4))
    return obs, planned, torch.randn(rows, *policy.noise_shape, generator=seeded(5))


def with_length(policy: GenerativePolicy, batch: dict[str, Any], length: int) -> tuple[Tensor, ...]:
    *own, drawn = policy.draw(batch, seeded(6))
    return *own, torch.full_like(drawn, length)


class Watched(Network):
    """Hands a network on, writes down what it is given, and adds to what it says of the first actions."""

    def __init__(self, inner: Network, count: int = 0) -> None:
        super().__init__()
        self.inner, self.count, self.seen = inner, count, list[Tensor]()

    def forward(self, x: Tensor, times: Tensor, cond: Tensor) -> Tensor:
        self.seen.append(x)
        output = self.inner(x, times, cond)
        return torch.cat((output[:, : self.count] + 100.0, output[:, self.count :]), dim=1)

    def jvp(self, *given: Tensor) -> tuple[Tensor, Tensor]:
        self.seen.append(given[0])
        assert not given[3][:, : self.count].any(), "what is given stands still along the path"
        return self.inner.jvp(*given)


@every
def test_what_is_given_is_kept_to_the_bit(policy: GenerativePolicy) -> None:
    obs, planned, noise = inputs(policy)
    found = policy.sample(obs, noise, prefix=prefix_for(policy, planned, torch.tensor([0, 1, 3, 7])))
    for row, length in enumerate((0, 1, 3, 3)):  # more than it was trained with is as many as it was trained with
        assert torch.equal(found[row, :length], planned[row, :length])
        assert not torch.equal(found[row, length], planned[row, length])
    plain = policy.sample(obs, noise)
    assert torch.equal(found[0], policy.sample(obs, noise, prefix=prefix_for(policy, planned, 0))[0])
    torch.testing.assert_close(found[0], plain[0])
    assert (found[1:, LONGEST:] - plain[1:, LONGEST:]).abs().max() > 1e-3, "the rest follows from what is given"


@every
def test_nothing_beyond_its_length_is_seen(policy: GenerativePolicy) -> None:
    obs, planned, noise = inputs(policy)
    first = policy.sample(obs, noise, prefix=prefix_for(policy, planned, 2))
    planned[:, 2:] += 1.0
    assert torch.equal(first, policy.sample(obs, noise, prefix=prefix_for(policy, planned, 2)))
    planned[:, 1] += policy.action_scale
    assert not torch.equal(first[:, 2:], policy.sample(obs, noise, prefix=prefix_for(policy, planned, 2))[:, 2:])


@every
@pytest.mark.parametrize("length", [0, 2])
def test_what_is_given_is_clean_and_does_not_count(
    policy: GenerativePolicy, batch: dict[str, Any], length: int
) -> None:
    network = policy.network
    assert isinstance(network, Prefixed)
    action, full = policy.normalized(batch["action"]), {**batch, "mask": torch.ones_like(batch["mask"])}
    draws = with_length(policy, full, length)
    with torch.no_grad():
        loss = policy.loss(full, draws=draws)[0]
        network.inner = watched = Watched(network.inner, length)
        again = policy.loss(full, draws=draws)[0]
    if policy.policy_config.process.name != "ctm":  # which jumps on from what it says; there only the loss is masked
        torch.testing.assert_close(again, loss)
    for x in watched.seen:
        rows = action.repeat(2, 1, 1)[-len(x) :]  # mean flow differentiates the last ones, ctm asks for all twice
        assert torch.equal(x[:, :length, :-1], rows[:, :length])
        assert x[:, :length, -1].eq(1.0).all()
        assert x[:, length:, -1].eq(0.0).all()


@every
def test_nothing_given_is_the_plain_loss(policy: GenerativePolicy, batch: dict[str, Any]) -> None:
    """To the bit: the same network on the same noise, with zeros beside the actions."""
    *own, length = with_length(policy, batch, 0)
    plain, _ = policy.process.loss(
        policy.network,
        policy.normalized(batch["action"]),
        policy.encode(batch["observation"]),
        mask=batch["mask"],
        draws=tuple(own),
    )
    assert torch.equal(policy.loss(batch, draws=(*own, length))[0], plain)


def test_the_loss_of_what_is_left_by_hand(policy: GenerativePolicy, batch: dict[str, Any]) -> None:
    """Flow: the mean squared error of the velocity over the actions that are neither given nor padded."""
    batch["mask"][:] = True
    batch["mask"][0, 1:] = False  # one that counts is left: nothing can be given there
    batch["mask"][1, 2:] = False
    noise, t, length = policy.draw(batch, seeded(7))
    length[:3] = torch.tensor([3, 3, 3])
    action, cond = policy.normalized(batch["action"]), policy.encode(batch["observation"])
    total = 0.0
    for row in range(len(action)):
        valid = int(batch["mask"][row].sum())
        begun = min(int(length[row]), valid - 1)
        x = (1 - t[row]) * action[row] + t[row] * noise[row]
        x[:begun] = action[row, :begun]
        marks = (torch.arange(CHUNK) < begun).float()[:, None]
        network = policy.network
        assert isinstance(network, Prefixed)
        said = network.inner(torch.cat((x, marks), 1)[None], t[row : row + 1], cond[row : row + 1])[0, :, :-1]
        total += (said - (noise[row] - action[row]))[begun:valid].square().mean().item()
    loss, _ = policy.loss(batch, draws=(noise, t, length))
    assert loss.item() == pytest.approx(total / len(action), rel=1e-5)


def test_lengths_are_drawn_evenly(policy: GenerativePolicy) -> None:
    length = policy.draw({"action": torch.zeros(4000, CHUNK, 2)}, seeded(8))[-1]
    shares = torch.bincount(length, minlength=LONGEST + 1) / 4000
    assert shares.numpy() == pytest.approx(np.full(LONGEST + 1, 0.25), abs=0.03)


@pytest.mark.parametrize("network", NETWORKS.names())
def test_the_derivative_is_the_networks(make_policy: Make, network: str) -> None:
    policy = make_policy("meanflow", network, prefix=LONGEST, history=HISTORY, chunk=CHUNK)
    obs, planned, x = inputs(policy)
    cond = policy.encode({"observation": obs})
    first = torch.arange(LONGEST) < torch.tensor([0, 1, 2, 3])[:, None]
    held = holding(cond, policy.normalized(planned[:, :LONGEST]), first)
    tangent = torch.randn(x.shape, generator=seeded(9))
    times, ones = torch.rand(4, 2, generator=seeded(10)), torch.ones(4, 2)
    with torch.no_grad():
        for condition in (cond, held):
            given = (x, times, condition, tangent, ones)
            found, automatic = policy.network.jvp(*given), Network.jvp(policy.network, *given)
            for mine, wanted in zip(found, automatic, strict=True):
                torch.testing.assert_close(mine, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("process", ["flow", "diffusion", "meanflow", "direct"])
def test_the_rest_is_learned_to_go_on_from_it(make_policy: Make, process: str) -> None:
    """Chunks that stay where they begin, at a place that no observation tells: known only to whom it is given."""
    torch.manual_seed(0)
    settings = {} if process in ("direct", "meanflow") else {"steps": 5}
    policy = make_policy(process, "mlp", settings, prefix=1, chunk=4)
    optimizer = torch.optim.Adam(policy.parameters(), lr=3e-3)
    generator = seeded(0)
    for _ in range(400):
        place = policy.to_raw(1.6 * torch.rand(128, 1, 2, generator=generator) - 0.8).expand(-1, 4, -1)
        loss, _ = policy.loss({"observation": {"observation": torch.zeros(128, 1, 3)}, "action": place}, generator)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    place = policy.to_raw(1.6 * torch.rand(200, 1, 2, generator=generator) - 0.8)

    def missed(told: int) -> float:
        chunk = policy.sample(torch.zeros(200, 3), generator=seeded(1), prefix=prefix_for(policy, place, told))
        return (policy.normalized(chunk) - policy.normalized(place))[:, 1:].abs().mean().item()

    assert missed(1) < 0.6 * missed(0)


@every
def test_files(policy: GenerativePolicy, tmp_path: Path) -> None:
    folder = policy.save(tmp_path / "policy")
    assert json.loads((folder / "config.json").read_text())["prefix"] == LONGEST
    restored = load_policy(folder)
    assert restored.prefix == LONGEST
    assert restored.checkpoint_hash() == policy.checkpoint_hash()
    obs, planned, noise = inputs(policy)
    begun = prefix_for(policy, planned, 2)
    assert torch.equal(restored.sample(obs, noise, prefix=begun), policy.sample(obs, noise, prefix=begun))


def test_one_without_a_prefix_does_not_say_so(make_policy: Make) -> None:
    policy = make_policy("flow", chunk=CHUNK)
    assert policy.prefix == 0
    assert "prefix" not in policy.config
    assert not isinstance(policy.network, Prefixed)


@every
def test_loops_that_are_built_once_take_it_as_input(policy: GenerativePolicy) -> None:
    obs, planned, noise = inputs(policy)
    program = SamplingProgram(policy)
    assert program.input_names == ["noise", "prefix", "prefix_length", "observation"]
    begun = prefix_for(policy, planned, torch.tensor([0, 1, 2, 3]))
    wanted = policy.sample(obs, noise, prefix=begun)
    with torch.no_grad():
        found = program(noise, begun.actions, begun.length, obs)
    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-3)
    fast = accelerate(policy, "eager", batch=4)
    assert fast.prefix == LONGEST
    assert torch.equal(fast.sample(obs, noise, prefix=begun), wanted)
    plain = fast.sample(obs, noise)  # the loop remembers nothing
    assert torch.equal(plain, policy.sample(obs, noise, prefix=prefix_for(policy, planned, 0)))


def test_the_key_of_an_observation_may_be_called_prefix(policy: GenerativePolicy) -> None:
    program = SamplingProgram(policy)
    program.keys = ["prefix", "chunk", "noise"]
    wanted = ["noise", "prefix", "prefix_length", "observation.prefix", "observation.chunk", "observation.noise"]
    assert program.input_names == wanted


@pytest.mark.parametrize("process", ["flow", "meanflow"])
def test_export(make_policy: Make, process: str, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    torch.manual_seed(0)
    policy = make_policy(process, prefix=LONGEST, history=HISTORY, chunk=CHUNK, execute=4).eval()
    opened = Exported(export(policy, tmp_path / "onnx", batch=4))
    assert opened.prefix == LONGEST
    obs, planned, noise = inputs(policy)
    for begun in (prefix_for(policy, planned, torch.tensor([0, 1, 2, 3])), None):
        torch.testing.assert_close(
            opened.sample(obs, noise, prefix=begun), policy.sample(obs, noise, prefix=begun), rtol=1e-4, atol=1e-4
        )
    fewer = Prefix(*(part[:3] for part in (planned[:, :LONGEST], torch.tensor([1, 2, 3, 0]))))
    found = opened.sample(obs[:3], noise[:3], prefix=fewer)
    assert torch.equal(found[2, :3], planned[2, :3])
    done = subprocess.run([sys.executable, EXAMPLE, tmp_path / "onnx"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.splitlines()[0]) == (0, "8 actions, of which 4 are executed:"), done.stderr


def test_it_is_compiled_as_one_graph(policy: GenerativePolicy, batch: dict[str, Any]) -> None:
    torch._dynamo.reset()
    obs, planned, noise = inputs(policy)
    begun = prefix_for(policy, planned, 2)
    sampled = torch.compile(policy.sample, backend="eager", fullgraph=True)
    with torch.no_grad():
        torch.testing.assert_close(sampled(obs, noise, prefix=begun), policy.sample(obs, noise, prefix=begun))
    draws = policy.draw(batch, seeded(0))
    loss = torch.compile(lambda: policy.loss(batch, draws=draws)[0], backend="eager", fullgraph=True)
    torch.testing.assert_close(loss(), policy.loss(batch, draws=draws)[0])


def test_composed_policies(policy: GenerativePolicy) -> None:
    """A critic that waits changes nothing; whoever decides by one, or draws the noise itself, takes no prefix."""
    waiting = Guided(policy, new_critic(policy, CriticConfig(width=8, depth=1)))
    obs, planned, noise = inputs(policy)
    begun = prefix_for(policy, planned, 2)
    assert waiting.prefix == LONGEST
    assert torch.equal(waiting.sample(obs, noise, prefix=begun), policy.sample(obs, noise, prefix=begun))
    steered = Steered(policy, new_actor(policy, NoiseActorConfig(width=8, depth=1), 1.0, False), False)
    for other in (guide(waiting, Acting(4)), steered):
        assert other.prefix == 0
        assert other.sample(obs).shape == (4, CHUNK, 2)
        with pytest.raises(LaminarError, match=r"trained without a prefix.*method\.prefix=4"):
            other.sample(obs, prefix=begun)


@pytest.mark.parametrize("longest", [-1, CHUNK, CHUNK + 1])
def test_a_prefix_leaves_something_to_learn(make_policy: Make, longest: int) -> None:
    with pytest.raises(LaminarError, match=r"leaves nothing of a chunk of 8.*method\.prefix from 0 to 7"):
        make_policy("flow", prefix=longest, chunk=CHUNK)


def test_mistakes(policy: GenerativePolicy, make_policy: Make) -> None:
    obs, planned, _ = inputs(policy)
    begun = prefix_for(policy, planned, 2)
    for wrong in (
        Prefix(planned, begun.length),
        Prefix(begun.actions[:2], begun.length),
        Prefix(begun.actions, begun.length[:2]),
        Prefix(begun.actions, begun.length.float()),
    ):
        for one in (policy, accelerate(policy, "eager", batch=4)):
            with pytest.raises(LaminarError, match=r"a prefix has actions .* expected \(4, 3, 2\) and whole numbers"):
                one.sample(obs, prefix=wrong)
    with pytest.raises(LaminarError, match="must be finite"):
        policy.sample(obs, prefix=Prefix(begun.actions * float("nan"), begun.length))
    with pytest.raises(LaminarError, match=r"planned actions have shape \(4, 8, 3\), expected \(batch, any, 2\)"):
        prefix_for(policy, torch.zeros(4, 8, 3), 1)
    plain = make_policy("flow", chunk=CHUNK)
    for call in (lambda: prefix_for(plain, planned, 1), lambda: plain.sample(obs[:, -1], prefix=begun)):
        with pytest.raises(LaminarError, match="trained without a prefix"):
            call()
