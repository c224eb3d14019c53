"""What a CUDA graph forbids, found without a GPU: the loop runs on shapes alone, and never looks at a value.

Tensors on the "meta" device have no values. A read on the host, an operator whose result has a size that depends on
values, or a constant that is made on the host and copied fails there, or is seen in the trace.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from laminar.data.episodes import Episodes
from laminar.policies import NETWORKS, PROCESSES, GenerativePolicy
from laminar.policies.edited import Edited, new_editor
from laminar.policies.fine_tuned import FineTuned
from laminar.policies.guided import Acting, Guided, new_critic
from laminar.policies.module import PolicyModule
from laminar.policies.networks.critics import CriticConfig
from laminar.policies.networks.noise_actor import NoiseActorConfig
from laminar.policies.planners import PlannerConfig, fitting
from laminar.policies.planners.config import InverseConfig, Refinement
from laminar.policies.runtimes.program import SamplingProgram
from laminar.policies.steered import Steered, new_actor

PAIRS = [(process, network) for process in PROCESSES.names() for network in NETWORKS.names()]
Make = Callable[..., GenerativePolicy]


class OneDevice(TorchDispatchMode):
    """Fails on the first operator that takes or makes a tensor elsewhere than on the meta device."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        self.calls += 1
        for value in tree_flatten((args, kwargs, result))[0]:
            if isinstance(value, Tensor) and value.device.type != "meta":
                raise AssertionError(f"{func} touches a tensor on {value.device}")
        return result


def trace(policy: PolicyModule, steps: int | None = None, batch: int = 2) -> int:
    """Run the program on the meta device; return the number of operators."""
    program = SamplingProgram(policy, steps)
    inputs = [tensor.to("meta") for tensor in program.example(batch)]
    program.times = None if program.times is None else program.times.to("meta")
    program.to("meta")
    with torch.no_grad(), OneDevice() as mode:
        chunk = program(*inputs)
    assert chunk.shape == (batch, policy.spec.chunk, policy.spec.action_dim)
    return mode.calls


@pytest.mark.parametrize(("process", "network"), PAIRS)
def test_nothing_waits_for_the_device(make_policy: Make, process: str, network: str) -> None:
    assert trace(make_policy(process, network, history=2, chunk=4)) > 10


@pytest.mark.parametrize(("process", "network"), PAIRS)
def test_a_prefix_is_an_input_that_nobody_looks_at(make_policy: Make, process: str, network: str) -> None:
    assert trace(make_policy(process, network, prefix=2, history=2, chunk=4)) > 10


@pytest.mark.parametrize("solver", ["ddim", "ddpm", "dpmpp_1", "dpmpp_2s", "dpmpp_2m"])
def test_solvers(make_policy: Make, solver: str) -> None:
    trace(make_policy("diffusion", "mlp", {"solver": solver, "steps": 5}))


@pytest.mark.parametrize("selection", ["softmax", "argmax"])
def test_guided(make_policy: Make, selection: str) -> None:
    policy = make_policy("meanflow", "mlp")
    critic = new_critic(policy, CriticConfig(width=16, depth=1))
    trace(Guided(policy, critic, Acting(8, selection)))


@pytest.mark.parametrize("repeated", [False, True])
def test_steered_and_edited(make_policy: Make, repeated: bool) -> None:
    policy, actor = make_policy("flow", "mlp", {"steps": 2}, chunk=4, execute=2), NoiseActorConfig(width=8, depth=1)
    steered = Steered(policy, new_actor(policy, actor, 2.0, repeated), repeated)
    edited = Edited(steered, new_editor(steered, actor, 0.2, 0.1), share=0.5)
    trace(Guided(edited, new_critic(policy, CriticConfig(width=16, depth=1), 2), Acting(4, "argmax")))


@pytest.mark.parametrize("solver", ["ddim", "ddpm"])
def test_fine_tuned(make_policy: Make, solver: str) -> None:
    policy = make_policy("diffusion", "mlp", {"solver": solver, "steps": 4}, chunk=2)
    trace(FineTuned(policy, deepcopy(policy.network), 2))


GUIDANCES = [
    Acting(guidance="gradient"),
    Acting(3, guidance="gradient", jacobian="exact"),
    Acting(8, guidance="fk"),
    Acting(8, "argmax", guidance="fk", resampling="multinomial", potential="max"),
    Acting(3, guidance="tree"),
    Acting(3, "argmax", guidance="tree"),
]


@pytest.mark.parametrize("acting", GUIDANCES, ids=str)
@pytest.mark.parametrize("process", ["flow", "diffusion"])
def test_guidance_on_the_way(make_policy: Make, process: str, acting: Acting) -> None:
    policy = make_policy(process, "mlp", {"steps": 3}, chunk=2)
    trace(Guided(policy, new_critic(policy, CriticConfig(width=16, depth=1)), acting))


PLANNERS: list[dict[str, Any]] = [
    {"actions": True, "candidates": 3},
    {"actions": True, "candidates": 2, "guidance": "gradient", "jacobian": "identity"},
    {"returns": True, "judge": False},
    {"returns": True, "draft": Refinement(width=16, depth=1, heads=2, steps=1), "candidates": 3},
    {"stride": 2, "candidates": 3, "selection": "softmax", "inverse": InverseConfig("meanflow", width=16, depth=1)},
]


@pytest.mark.parametrize("settings", PLANNERS, ids=str)
@pytest.mark.parametrize("process", ["diffusion", "flow", "meanflow"])
def test_planners(episodes: Episodes, process: str, settings: dict[str, Any]) -> None:
    config = PlannerConfig(
        process=PROCESSES.config_class(process)(steps=2),
        **({"horizon": 5, "chunk": 3, "critic": CriticConfig(width=8, depth=1)} | settings),
    )
    trace(fitting.new(config, NETWORKS.config_class("mlp")(width=16, depth=1), episodes))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda x: x * x.mean().item(),
        lambda x: x[x > 0].sum() + x,
        lambda x: x + torch.tensor([1.0]),
        lambda x: x if bool((x > 0).any()) else -x,
    ],
    ids=["item", "boolean index", "constant of the host", "branch"],
)
def test_a_loop_that_waits_is_caught(make_policy: Make, monkeypatch: pytest.MonkeyPatch, spoil: Any) -> None:
    policy = make_policy("flow", "mlp")
    body = policy.network.body
    monkeypatch.setattr(policy.network, "body", lambda x, condition: spoil(body(x, condition)))
    with pytest.raises((AssertionError, RuntimeError, NotImplementedError)):
        trace(policy)


@pytest.mark.parametrize("network", NETWORKS.names())
def test_observation_and_times_are_embedded_once(make_policy: Make, network: str) -> None:
    """Calls beyond the first cost the same number of operators each, and fewer than the whole network."""

    def calls(steps: int) -> int:
        return trace(make_policy("flow", network, history=2, chunk=4), steps)

    policy = make_policy("flow", network, history=2, chunk=4).to("meta")
    with torch.no_grad(), OneDevice() as whole:
        policy.network(*(torch.empty(shape, device="meta") for shape in ((2, 4, 2), (2, 1), (2, 2, 3))))
    each = calls(2) - calls(1)
    assert calls(9) - calls(2) == 7 * each
    assert each < whole.calls  # although a step of the solver is in it
