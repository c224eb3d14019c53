"""A policy that is only called: what steers it sees numbers, and the function sees its own observations."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import laminar
from laminar.data.spec import Feature, Spec
from laminar.errors import LaminarError
from laminar.policies import GenerativePolicy, load_policy
from laminar.policies.black_box import BlackBox, black_box
from laminar.policies.networks.noise_actor import NoiseActorConfig
from laminar.policies.steered import Steered, new_actor

Make = Callable[..., GenerativePolicy]
SPEC = Spec(
    {"arm": Feature((2, 2)), "door": Feature((1,), "float64")},
    Feature((2,)),
    (-2.0, 0.0),
    (2.0, 20.0),
    history=2,
    chunk=4,
    execute=2,
)


class Asked:
    """A function that notes its observations and does its noise."""

    def __init__(self) -> None:
        self.seen: list[dict[str, torch.Tensor]] = []

    def __call__(self, observation: dict[str, torch.Tensor], noise: torch.Tensor) -> Any:
        self.seen.append(observation)
        return noise.numpy()


def windows(batch: int = 3) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    arm = 5 + 3 * torch.randn(batch, 2, 2, 2, generator=generator)
    return {"arm": arm, "door": 1000 + torch.rand(batch, 2, 1, generator=generator, dtype=torch.float64)}


def recorded() -> dict[str, np.ndarray[Any, Any]]:
    random = np.random.default_rng(0)
    return {"arm": random.normal(5, 3, (200, 2, 2)), "door": 1000 + random.random((200, 1))}


@pytest.mark.parametrize("observations", [None, recorded()])
def test_the_function_sees_its_observations(observations: Any) -> None:
    function = Asked()
    policy = black_box(function, SPEC, observations=observations)
    noise = torch.randn(3, 4, 2, generator=torch.Generator().manual_seed(1))
    assert policy.noise_shape == (4, 2)
    assert torch.equal(policy.sample(windows(), noise), noise)
    assert all(torch.equal(function.seen[0][key], value) for key, value in windows().items())
    cond = policy.encode(windows())
    assert cond.shape == (3, 2, policy.condition_dim)
    assert torch.equal(policy.decode(cond, noise), noise)
    for key, value in windows().items():  # through the condition and back
        torch.testing.assert_close(function.seen[1][key].double(), value.double(), rtol=1e-6, atol=1e-4)
    if observations is not None:
        assert cond.std() < 2.0


def test_actions_are_normalized_by_their_limits() -> None:
    policy = black_box(Asked(), SPEC)
    torch.testing.assert_close(
        policy.normalized(torch.tensor([[2.0, 20.0], [0.0, 0.0]])), torch.tensor([[1.0, 1], [0, -1]])
    )
    assert policy.action_scale.tolist() == [2.0, 10.0]
    unlimited = black_box(Asked(), Spec({"arm": Feature((2,))}, Feature((2,))))
    assert torch.equal(unlimited.normalized(torch.tensor([3.0, -4.0])), torch.tensor([3.0, -4.0]))


def test_any_policy_is_one(make_policy: Make) -> None:
    inner = make_policy("flow", "mlp", {"steps": 2}, chunk=4, history=2).eval()
    policy = black_box(inner)
    obs, noise = torch.randn(2, 2, 3), torch.randn(2, 4, 2)
    torch.testing.assert_close(policy.sample(obs, noise), inner.sample(obs, noise))
    assert not list(policy.state_dict()), "the weights of what is called are not its own"


def test_a_steered_one_is_saved_without_its_function(tmp_path: Path) -> None:
    base = black_box(Asked(), SPEC, observations=recorded())
    torch.manual_seed(0)
    policy = Steered(base, new_actor(base, NoiseActorConfig(8, 1), 1.5, False)).eval()
    policy.save(tmp_path / "policy")
    noise = torch.randn(3, 4, 2, generator=torch.Generator().manual_seed(1))
    loaded = load_policy(tmp_path / "policy")
    with pytest.raises(LaminarError, match=r"give it again by load_policy\(FOLDER, black_box=FUNCTION\)"):
        loaded.sample(windows(), noise)
    attached = laminar.load_policy(tmp_path / "policy", black_box=Asked())
    assert torch.equal(attached.sample(windows(), noise), policy.sample(windows(), noise))
    assert attached.checkpoint_hash() == policy.checkpoint_hash()


def test_a_copy_calls_the_same_function() -> None:
    class Server:
        """Holds what cannot be copied."""

        def __deepcopy__(self, memo: Any) -> Any:
            raise TypeError("a connection")

        def __call__(self, observation: Any, noise: torch.Tensor) -> torch.Tensor:
            return noise

    policy = deepcopy(black_box(Server(), SPEC))
    assert isinstance(policy, BlackBox)
    assert policy.sample(windows(), torch.zeros(3, 4, 2)).shape == (3, 4, 2)


def test_what_is_refused(make_policy: Make, tmp_path: Path) -> None:
    with pytest.raises(
        LaminarError, match=r"a function does not say what it sees and does: give black_box\(function, spec"
    ):
        black_box(lambda obs, noise: noise)
    with pytest.raises(LaminarError, match=r"observations are of \['arm'\], the black box sees \['arm', 'door'\]"):
        black_box(Asked(), SPEC, observations={"arm": recorded()["arm"]})
    short = black_box(lambda obs, noise: noise[:, :3], SPEC)
    with pytest.raises(
        LaminarError, match=r"returned shape \(3, 3, 2\), expected \(3, 4, 2\): \(batch, chunk, action\)"
    ):
        short.sample(windows())
    seeing = black_box(Asked(), Spec({"rgb": Feature((40, 40, 3), "uint8")}, Feature((2,))))
    with pytest.raises(LaminarError, match=r"observation 'rgb' is none: learn on .*encoded=False"):
        _ = seeing.condition_dim
    make_policy("flow").save(tmp_path / "plain")
    with pytest.raises(LaminarError, match="a generative policy is made of no black box; leave black_box= out"):
        load_policy(tmp_path / "plain", black_box=Asked())
