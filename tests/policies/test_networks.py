"""Every network: shapes, derivatives, conditioning; and parity with the published architectures."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from laminar.data.spec import Feature, Spec
from laminar.errors import LaminarError
from laminar.policies.networks import Network, mlp, transformer, unet1d
from laminar.policies.networks.activations import Mish, activation
from laminar.policies.networks.critics import Critic, CriticConfig
from laminar.policies.networks.embeddings import Sinusoids
from laminar.policies.networks.encoders import Encoder
from laminar.policies.networks.layers import push_forward

A, D, B = 3, 5, 4

# name -> (module, class, small settings)
NETWORKS: dict[str, tuple[Any, type[Network], dict[str, Any]]] = {
    "mlp": (mlp, mlp.MLP, {"width": 16}),
    "mlp-mish": (mlp, mlp.MLP, {"width": 16, "activation": "mish"}),
    "mlp-residual": (mlp, mlp.MLP, {"width": 16, "residual": True}),
    "mlp-norm-gelu": (mlp, mlp.MLP, {"width": 16, "layer_norm": True, "activation": "gelu"}),
    "mlp-residual-norm": (mlp, mlp.MLP, {"width": 16, "residual": True, "layer_norm": True}),
    "unet1d": (unet1d, unet1d.UNet1D, {"widths": [8, 16], "groups": 4, "time_width": 8}),
    "unet1d-mish": (unet1d, unet1d.UNet1D, {"widths": [8, 16], "groups": 4, "time_width": 8, "activation": "mish"}),
    "transformer": (transformer, transformer.Transformer, {"width": 16, "depth": 2, "heads": 2}),
}


def build(name: str, horizon: int = 4, history: int = 2, n_times: int = 2, **overrides: Any) -> Network:
    """Build a small network whose weights are all away from zero, as after some training."""
    module, kind, settings = NETWORKS[name]
    torch.manual_seed(0)
    network = kind(
        module.Config(**(settings | overrides)),
        horizon=horizon,
        action_dim=A,
        history=history,
        condition_dim=D,
        n_times=n_times,
    )
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.1 * torch.randn(parameter.shape)
    return network


def inputs(horizon: int = 4, history: int = 2, n_times: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(B, horizon, A, generator=generator)
    times = torch.rand(B, n_times, generator=generator)
    return x, times, torch.randn(B, history, D, generator=generator)


def double(*tensors: Tensor) -> tuple[Tensor, ...]:
    return tuple(tensor.double() for tensor in tensors)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize(("horizon", "history", "n_times"), [(1, 1, 1), (1, 2, 2), (4, 1, 2), (8, 3, 1)])
def test_output_has_the_shape_of_the_chunk(name: str, horizon: int, history: int, n_times: int) -> None:
    levels = {"widths": [8]} if horizon == 1 and name.startswith("unet1d") else {}
    network = build(name, horizon, history, n_times, **levels)
    out = network(*inputs(horizon, history, n_times))
    assert out.shape == (B, horizon, A)
    assert torch.isfinite(out).all()


@pytest.mark.parametrize("name", NETWORKS)
def test_every_input_is_used(name: str) -> None:
    network, (x, times, cond) = build(name), inputs()
    out = network(x, times, cond)
    changes = [(x, (slice(None), step)) for step in range(x.shape[1])]
    changes += [(times, (slice(None), k)) for k in range(times.shape[1])]
    changes += [(cond, (slice(None), step)) for step in range(cond.shape[1])]
    for tensor, where in changes:
        kept = tensor[where].clone()
        tensor[where] += 0.3
        changed = (network(x, times, cond) - out).abs().amax(dim=(1, 2))
        tensor[where] = kept
        assert (changed > 1e-5).all(), f"no effect of {tuple(tensor.shape)} at {where[1]}"


@pytest.mark.parametrize("name", NETWORKS)
def test_rows_are_independent_and_repeatable_while_training(name: str) -> None:
    network, (x, times, cond) = build(name).train(), inputs()
    whole = network(x, times, cond)
    torch.testing.assert_close(whole, network(x, times, cond), rtol=0, atol=0)
    torch.testing.assert_close(whole[1:2], network(x[1:2], times[1:2], cond[1:2]))


@pytest.mark.parametrize("name", NETWORKS)
def test_every_parameter_gets_a_gradient(name: str) -> None:
    network = build(name)
    network(*inputs()).square().sum().backward()
    dead = [key for key, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert dead == []


@pytest.mark.parametrize("name", NETWORKS)
def test_jvp_agrees_with_finite_differences(name: str) -> None:
    network = build(name).double()
    x, times, cond = double(*inputs())
    dx, dt = torch.randn(x.shape, dtype=x.dtype), torch.ones_like(times)
    step = 1e-5
    ahead = network(x + step * dx, times + step * dt, cond)
    behind = network(x - step * dx, times - step * dt, cond)
    slope = (ahead - behind) / (2 * step)
    assert slope.abs().max() > 1e-3
    functional = torch.func.jvp(lambda x, times: network(x, times, cond), (x, times), (dx, dt))
    own = network.jvp(x, times, cond, dx, dt)
    for value, tangent in (functional, own):
        torch.testing.assert_close(value, network(x, times, cond), rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(tangent, slope, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", NETWORKS)
def test_gradient_flows_through_value_and_tangent_of_jvp(name: str) -> None:
    network = build(name).double()
    x, times, cond = double(*inputs())
    parameter = max(network.parameters(), key=torch.Tensor.numel)

    def gradient(pair: Any) -> Tensor:
        return torch.autograd.grad(pair[0].square().sum() + pair[1].square().sum(), parameter)[0]

    own = gradient(network.jvp(x, times, cond, x, torch.ones_like(times)))
    directions = (x, torch.ones_like(times))
    functional = torch.func.jvp(lambda x, times: network(x, times, cond), (x, times), directions)
    torch.testing.assert_close(own, gradient(functional), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", NETWORKS)
def test_second_time_derivative_exists(name: str) -> None:
    network = build(name).double()
    x, times, cond = double(*inputs())
    dt = torch.ones_like(times)

    def slope(times: Tensor) -> Tensor:
        return network.jvp(x, times, cond, torch.zeros_like(x), dt)[1]

    curvature = torch.func.jvp(slope, (times,), (dt,))[1]
    step = 1e-6
    torch.testing.assert_close(
        curvature, (slope(times + step * dt) - slope(times - step * dt)) / (2 * step), rtol=1e-5, atol=1e-6
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mlp", "mlp-mish", "unet1d", "transformer"])
def test_compiles_as_one_graph_with_gradient_and_jvp(name: str) -> None:
    network, (x, times, cond) = build(name), inputs()

    def loss(x: Tensor, times: Tensor, cond: Tensor) -> Tensor:
        value, slope = network.jvp(x, times, cond, x, torch.ones_like(times))
        return (value - slope.detach()).square().mean()

    def gradients(function: Any) -> list[Tensor]:
        return list(torch.autograd.grad(function(x, times, cond), list(network.parameters())))

    expected = gradients(loss)
    torch.compiler.reset()
    # The whole graph, forward and backward, without the minute that inductor takes to turn it into C++.
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    for got, want in zip(gradients(compiled), expected, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)


def test_default_mish_mlp_is_dqls_network() -> None:
    # DQL on halfcheetah: 17 observations, 6 actions, time embedding 16 -> 32 -> 16, three layers of 256.
    network = mlp.MLP(mlp.Config(activation="mish"), horizon=1, action_dim=6, history=1, condition_dim=17, n_times=1)
    shapes = [tuple(layer.weight.shape) for layer in network.modules() if isinstance(layer, nn.Linear)]
    assert shapes == [(32, 16), (16, 32), (256, 6 + 16 + 17), (256, 256), (256, 256), (6, 256)]
    count = sum(p.numel() for p in network.parameters())
    assert count == (16 * 32 + 32) + (32 * 16 + 16) + (39 * 256 + 256) + 2 * (256 * 256 + 256) + (256 * 6 + 6)
    assert sum(isinstance(layer, Mish) for layer in network.modules()) == 4


def test_unet_has_as_many_parameters_as_diffusion_policys() -> None:
    # Sizes of the reference implementation with two observations of 20 and actions of 7.
    for widths, millions in (([64, 128, 256], 5.41), ([256, 512, 1024], 65.8)):
        with torch.device("meta"):
            network = unet1d.UNet1D(
                unet1d.Config(widths=widths), horizon=16, action_dim=7, history=2, condition_dim=20, n_times=1
            )
        count = sum(p.numel() for p in network.parameters())
        assert count / 1e6 == pytest.approx(millions, rel=1e-3)


@pytest.mark.parametrize(
    ("horizon", "settings", "parts"),
    [
        (6, {"widths": [8, 16, 32]}, ["6", "4"]),
        (1, {"widths": [8, 16]}, ["1", "2"]),
        (4, {"widths": [8, 12]}, ["12", "groups=8"]),
        (4, {"kernel": 4}, ["kernel", "4"]),
        (4, {"widths": []}, ["widths"]),
    ],
)
def test_unet_refuses_what_does_not_fit(horizon: int, settings: dict[str, Any], parts: list[str]) -> None:
    with pytest.raises(LaminarError) as caught:
        unet1d.UNet1D(unet1d.Config(**settings), horizon=horizon, action_dim=A, history=1, condition_dim=D, n_times=1)
    assert all(part in str(caught.value) for part in parts)
    assert "\n" not in str(caught.value)


def test_transformer_starts_at_zero_and_heads_divide_its_width() -> None:
    sizes = {"horizon": 4, "action_dim": A, "history": 2, "condition_dim": D, "n_times": 2}
    fresh = transformer.Transformer(transformer.Config(width=16, heads=2), **sizes)
    assert not fresh(*inputs()).any()
    with pytest.raises(LaminarError, match=r"width=16.*heads=3"):
        transformer.Transformer(transformer.Config(width=16, heads=3), **sizes)


def test_names_are_file_names() -> None:
    for module in (mlp, unet1d, transformer):
        config = module.Config()
        assert config.name == module.__name__.rpartition(".")[2]
        assert dataclasses.is_dataclass(config)


def test_sinusoids_span_the_frequencies() -> None:
    layer = Sinusoids(8, 0.3, 5.0)
    times = torch.tensor([[0.0, 0.7]])
    out = layer(times)
    assert out.shape == (1, 16)
    frequencies = torch.tensor([0.3 * (5.0 / 0.3) ** (k / 3) for k in range(4)])
    angles = 0.7 * frequencies
    torch.testing.assert_close(out[0, :8], torch.tensor([0.0] * 4 + [1.0] * 4))
    torch.testing.assert_close(out[0, 8:], torch.cat((angles.sin(), angles.cos())))


@pytest.mark.parametrize(("arguments", "named"), [((7, 0.3, 5.0), "7"), ((8, 5.0, 0.3), "0.3"), ((8, 0.0, 5.0), "0.0")])
def test_sinusoids_refuse_bad_settings(arguments: tuple[int, float, float], named: str) -> None:
    with pytest.raises(LaminarError, match=named):
        Sinusoids(*arguments)


def test_push_forward_of_relu() -> None:
    """Within its linear pieces, where the derivative exists."""
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Linear(A, 8), activation("relu"), nn.Linear(8, 2)).double()
    x, direction = torch.randn(2, B, A, dtype=torch.float64)
    value, slope = push_forward(layers, x, direction)
    assert torch.equal(value, layers(x))
    step = 1e-7
    torch.testing.assert_close(slope, (layers(x + step * direction) - layers(x - step * direction)) / (2 * step))


@pytest.mark.parametrize("layer_norm", [False, True])
def test_twin_critic_is_two_separate_networks(layer_norm: bool) -> None:
    torch.manual_seed(0)
    critic = Critic(CriticConfig(width=16, depth=2, layer_norm=layer_norm), D, A)
    with torch.no_grad():
        for parameter in critic.parameters():
            parameter += 0.1 * torch.randn(parameter.shape)
    cond, action = torch.randn(B, D), torch.randn(B, A)
    values = critic(cond, action)
    assert values.shape == (2, B)
    weights = list(critic.parameters())
    for head in range(2):
        hidden = torch.cat((cond, action), dim=1)
        rows = iter(weights)
        for _ in range(2):
            hidden = F.linear(hidden, next(rows)[head].T, next(rows)[head, 0])
            if layer_norm:
                hidden = F.layer_norm(hidden, (16,), next(rows)[head, 0], next(rows)[head, 0])
            hidden = F.mish(hidden)
        expected = F.linear(hidden, next(rows)[head].T, next(rows)[head, 0]).squeeze(1)
        torch.testing.assert_close(values[head], expected)


def test_critic_heads_are_independent_and_sized_as_dqls() -> None:
    critic = Critic(CriticConfig(), 17, 6)
    one = (23 * 256 + 256) + 2 * (256 * 256 + 256) + (256 + 1)
    assert sum(p.numel() for p in critic.parameters()) == 2 * one
    critic(torch.randn(B, 17), torch.randn(B, 6))[0].sum().backward()
    for parameter in critic.parameters():
        assert parameter.grad is not None
        assert parameter.grad[0].any()
        assert not parameter.grad[1].any()
    first = next(critic.parameters())
    assert first.abs().max() <= 23**-0.5
    for part in ("heads", "depth", "width"):
        with pytest.raises(LaminarError, match=rf"critic\.{part} must be at least 1( and at most 1000)?, got 0"):
            Critic(CriticConfig(**{part: 0}), 17, 6)


def test_encoder_concatenates_keys_in_the_order_of_the_spec() -> None:
    features = {"robot.state": Feature((3,)), "hands/points": Feature((2, 2)), "gripper": Feature(())}
    encoder = Encoder(Spec(observation=features, action=Feature((A,))))
    assert encoder.output_dim == 8
    observation = {key: torch.randn(B, 2, *feature.shape) for key, feature in features.items()}
    shuffled = {key: observation[key] for key in reversed(observation)}
    expected = torch.cat([observation[key].reshape(B, 2, -1) for key in features], dim=2)
    torch.testing.assert_close(encoder(shuffled, shuffled), expected, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("features", "named"),
    [
        ({"front": Feature((3, 8, 8))}, "front"),
        ({"gray": Feature((8, 8), dtype="uint8")}, "gray"),
        ({}, "no obs"),
    ],
)
def test_encoder_refuses_what_it_cannot_encode(features: dict[str, Feature], named: str) -> None:
    with pytest.raises(LaminarError, match=named):
        Encoder(Spec(observation=features, action=Feature((A,))))
