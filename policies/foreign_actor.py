"""The actors of other libraries as noise actors, exactly: Stable-Baselines3's, known by their parts.

Nothing of theirs is imported, and none of their archives is read: who has the model in memory gives it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from .networks.activations import ACTIVATIONS
from .networks.layers import LayerNorm
from .networks.noise_actor import LOG_STD, NoiseActor, NoiseActorConfig


@dataclass
class _Parts:
    """What an actor consists of: hidden layers, and mean and logarithm of the deviation as linear maps of the last."""

    hidden: Iterable[nn.Module]
    mean: nn.Linear
    log_std: tuple[Tensor, Tensor]  # weight (n, width), bias (n,)
    clips: bool


def noise_actor_of(model: Any, bound: float) -> NoiseActor | None:
    """Return an actor that acts as a model does, with a copy of its weights; None where no `NoiseActor` can.

    Known are the actors of SAC and TQC (a squashed Gaussian), TD3 and DDPG (no deviation), PPO, A2C and TRPO (a clipped
    Gaussian), where perceptrons of the activations in `ACTIVATIONS` map the flat observation.

    Args:
        model: the algorithm, or its policy; its actions are noises / bound.
        bound: of the noise.
    """
    policy = getattr(model, "policy", model)
    parts = _squashed(policy) or _deterministic(policy) or _clipped(policy)
    layers = parts and _layers(parts.hidden)
    if parts is None or layers is None:
        return None
    linear = [layer for layer in layers if isinstance(layer, nn.Linear)]
    name = next(name for name, kind in ACTIVATIONS.items() if issubclass(kind, type(layers[-1])))
    widths = [layer.out_features for layer in linear]
    config = NoiseActorConfig(widths[0], len(widths), name, layer_norm=len(layers) > 2 * len(linear))
    differing = widths if len(set(widths)) > 1 else None
    actor = NoiseActor(config, linear[0].in_features, parts.mean.out_features, bound, differing, parts.clips)
    theirs = [weight for layer in layers for weight in layer.parameters()]
    weight, bias = parts.log_std
    head = [torch.cat([parts.mean.weight, weight]), torch.cat([parts.mean.bias, bias])]
    with torch.no_grad():
        for mine, value in zip(actor.parameters(), [*theirs, *head], strict=True):
            mine.copy_(value)
    return actor.requires_grad_(False).eval()


def _squashed(policy: Any) -> _Parts | None:
    """Of SAC and TQC."""
    actor = getattr(policy, "actor", None)
    mean, log_std, hidden = (getattr(actor, name, None) for name in ("mu", "log_std", "latent_pi"))
    if not (isinstance(mean, nn.Linear) and isinstance(log_std, nn.Linear) and isinstance(hidden, nn.Sequential)):
        return None
    return _Parts(hidden, mean, (log_std.weight, log_std.bias), clips=False) if _sees_all(actor) else None


def _deterministic(policy: Any) -> _Parts | None:
    """Of TD3 and DDPG: the last layer is squashed, and the deviation the least there is, which no action shows."""
    actor = getattr(policy, "actor", None)
    whole = getattr(actor, "mu", None)
    if not isinstance(whole, nn.Sequential) or len(whole) < 2 or not _sees_all(actor):
        return None
    *hidden, mean, squash = whole
    if not isinstance(mean, nn.Linear) or type(squash) is not nn.Tanh:
        return None
    return _Parts(hidden, mean, _constant(mean, torch.full_like(mean.bias, LOG_STD[0])), clips=False)


def _clipped(policy: Any) -> _Parts | None:
    """Of PPO, A2C and TRPO, whose deviation is the same everywhere."""
    hidden = getattr(getattr(policy, "mlp_extractor", None), "policy_net", None)
    mean, log_std = getattr(policy, "action_net", None), getattr(policy, "log_std", None)
    if not (isinstance(hidden, nn.Sequential) and isinstance(mean, nn.Linear) and isinstance(log_std, nn.Parameter)):
        return None
    if getattr(policy, "use_sde", False) or hasattr(policy, "lstm_actor") or not _sees_all(policy):
        return None
    return _Parts(hidden, mean, _constant(mean, log_std), clips=True)


def _constant(mean: nn.Linear, log_std: Tensor) -> tuple[Tensor, Tensor]:
    return torch.zeros_like(mean.weight), log_std


def _sees_all(owner: Any) -> bool:
    """Tell whether it sees the observation as it is, flat."""
    return type(getattr(owner, "features_extractor", None)).__name__ == "FlattenExtractor"


def _layers(hidden: Iterable[nn.Module]) -> list[nn.Module] | None:
    """Return hidden layers if a `NoiseActor` has such: linear, maybe a normalization, one activation, and so on."""
    layers = list(hidden)
    normed = len(layers) > 1 and _is_norm(layers[1])
    period = 3 if normed else 2
    if not layers or len(layers) % period:
        return None
    for begin in range(0, len(layers), period):
        linear, *norm, activation = layers[begin : begin + period]
        if not (isinstance(linear, nn.Linear) and all(map(_is_norm, norm)) and type(activation) is type(layers[-1])):
            return None
    # ours may be made of PyTorch's, for a compiler's sake
    return layers if any(issubclass(kind, type(layers[-1])) for kind in ACTIVATIONS.values()) else None


def _is_norm(layer: nn.Module) -> bool:
    standard = isinstance(layer, nn.LayerNorm) and len(list(layer.parameters())) == 2 and layer.eps == 1e-5
    return isinstance(layer, LayerNorm) or standard
