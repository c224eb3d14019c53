"""Observations as a user gives them, as the tensors that a policy takes: any type and layout, one key or many."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..data.spec import Feature, Spec, joined
from ..errors import LaminarError, nearest

Observation = Mapping[str, Any] | Any


class Windows(dict[str, Tensor]):
    """Observation windows {key: (B, h, ...)} that an actor has checked: whoever gets them need not do it again."""

    def rows(self, index: Tensor) -> Windows:
        """Return the windows of some rows, given by their numbers (P,)."""
        return Windows({key: value[index.to(value.device)] for key, value in self.items()})

    def to(self, device: torch.device) -> Windows:
        """Return the windows on a device, themselves if they are there."""
        if all(value.device == device for value in self.values()):
            return self
        return Windows({key: value.to(device) for key, value in self.items()})


def as_tensors(spec: Spec, obs: Observation, device: torch.device | None) -> dict[str, Tensor]:
    """Return an observation as tensors {key: (B, ...)}, numbers in single precision, or double where the Spec needs it.

    Bytes stay bytes where the Spec has them; other whole numbers, true and false become floats.

    Args:
        spec: names the keys, their shapes and types.
        obs: {key: (B, ...)}; a single array when there is one key. Arrays, tensors or nested lists.
        device: where the tensors shall be; None leaves them where they are.

    Raises:
        LaminarError: a value is no array of numbers, has too few axes or other rows than the rest, or is no picture of
            bytes where one is needed.
    """
    keys = list(spec.observation)
    if not isinstance(obs, Mapping):
        if len(keys) != 1:
            raise LaminarError(f"the policy needs a dictionary with observations {keys}, got one array")
        obs = {keys[0]: obs}
    if not obs:
        raise LaminarError(f"the observation is empty; the policy needs {keys}")
    features = spec.observation
    tensors = {key: _tensor(key, value, device, _is_double(features.get(key))) for key, value in obs.items()}
    for key, value in tensors.items():
        feature = spec.observation.get(key)
        if feature is None:
            continue  # the normalizer names unknown keys
        if value.ndim < 1 + len(feature.shape):
            raise LaminarError(
                f"observation '{key}' has shape {tuple(value.shape)}; a batch of {feature.shape} needs "
                f"{1 + len(feature.shape)} axes"
            )
        if feature.dtype == "uint8":
            if value.dtype != torch.uint8:
                raise LaminarError(f"observation '{key}' is {value.dtype}; the policy takes bytes (uint8), 0 to 255")
        elif not value.is_floating_point():
            tensors[key] = value.double() if _is_double(feature) else value.float()
    if len(tensors) > 1:
        _check_rows({key: value for key, value in tensors.items() if key in spec.observation})
    return tensors


def as_batch(spec: Spec, obs: Observation) -> tuple[Observation, bool]:
    """Return an observation as a batch, and whether it was that of one robot, as an environment of gymnasium gives it.

    Dictionaries inside are joined, "arm/joints", as the keys of recordings and environments are.

    Args:
        spec: tells by the shape of its features which of both it is.
        obs: {key: (B, ...)} or {key: (...)}; a single array when there is one key.
    """
    if isinstance(obs, Mapping) and any(isinstance(value, Mapping) for value in obs.values()):
        obs = joined(obs)
    key, feature = next(iter(spec.observation.items()))
    value = obs.get(key) if isinstance(obs, Mapping) else obs
    axes = -1 if value is None else _axes(value)
    if axes != len(feature.shape) and (axes, feature.shape) != (0, (1,)):
        return obs, False
    if not isinstance(obs, Mapping):
        return _one(obs, feature), True
    return {key: _one(value, spec.observation.get(key)) for key, value in obs.items()}, True


def _axes(value: Any) -> int:
    """Return how many axes a value has; -1 of what is no array, which `as_tensors` refuses by its key."""
    try:
        return value.ndim if hasattr(value, "ndim") else np.ndim(value)
    except (TypeError, ValueError, RuntimeError):
        return -1


def _one(value: Any, feature: Feature | None) -> Any:
    """Return a value as a batch of one; a single number is a vector of one, as in `envs.spec`."""
    try:
        array = value if isinstance(value, Tensor) else np.asarray(value)
    except (TypeError, ValueError, RuntimeError):
        return [value]  # no array: refused by its key
    return array.reshape(1, 1) if feature is not None and (array.ndim, feature.shape) == (0, (1,)) else array[None]


def as_windows(spec: Spec, obs: Observation, device: torch.device | None) -> dict[str, Tensor]:
    """Return an observation as tensors {key: (B, h, ...)} on `device`; history axis added if left out.

    Raises:
        LaminarError: as in `as_tensors`; also if a window has another length than the history, or too many axes.
    """
    if isinstance(obs, Windows):
        return obs if device is None else obs.to(device)
    windows = as_tensors(spec, obs, device)
    for key, value in windows.items():
        feature = spec.observation.get(key)
        if feature is None:
            continue
        if value.ndim == 1 + len(feature.shape) and spec.history == 1:
            windows[key] = value.unsqueeze(1)
        elif value.ndim != 2 + len(feature.shape) or value.shape[1] != spec.history:
            raise LaminarError(
                f"observation '{key}' has shape {tuple(value.shape)}, expected a history of {spec.history}: "
                f"(batch, {spec.history}, {', '.join(map(str, feature.shape))})"
            )
    return windows


def check_values(spec: Spec, observation: Mapping[str, Tensor]) -> None:
    """Refuse an observation {key: (B, ...)} that a policy could not make sense of.

    Values on a GPU are not looked at, which would wait for it.

    Raises:
        LaminarError: a key is missing or unknown, a width is wrong, or a value is not finite; it is named.
    """
    for key, feature in spec.observation.items():
        value = observation.get(key)
        if value is None:
            known = sorted(map(str, observation))
            raise LaminarError(f"observation '{key}' is missing (got {known}){nearest(key, known)}")
        if value.shape[1:] != feature.shape:
            raise LaminarError(f"observation '{key}' has shape {tuple(value.shape[1:])}, expected {feature.shape}")
        # A sum is finite if all its terms are, unless they are huge; where it is not, they deserve a closer look.
        if value.is_floating_point() and not value.is_cuda and not math.isfinite(value.sum().item()):
            _check_finite(key, value)
    unknown = sorted(map(str, observation.keys() - spec.observation.keys()))
    if unknown:
        raise LaminarError(
            f"the policy has no observation '{unknown[0]}' (it has {sorted(spec.observation)})"
            f"{nearest(unknown[0], spec.observation)}"
        )


def _check_finite(key: str, value: Tensor) -> None:
    bad = ~torch.isfinite(value)
    if bad.any():
        row, *index = (int(i) for i in bad.nonzero()[0])
        number = float(value[(row, *index)])
        raise LaminarError(
            f"observation '{key}' of robot {row} is not finite ({number} at {tuple(index)}); check the sensor before "
            "asking the policy"
        )


def _is_double(feature: Feature | None) -> bool:
    return feature is not None and feature.dtype == "float64"


def _tensor(key: str, value: Any, device: torch.device | None, double: bool) -> Tensor:
    if isinstance(value, np.ndarray) and not value.flags.writeable:
        value = value.copy()  # PyTorch warns of memory that it may not write to
    dtype = torch.float64 if double and isinstance(value, list | tuple) else None  # PyTorch would read single ones
    try:
        tensor = torch.as_tensor(value, dtype=dtype, device=device)
    except (TypeError, ValueError, RuntimeError) as error:
        tensor = torch.as_tensor(_plain(key, value, error), device=device)
    if tensor.is_floating_point():
        return tensor.double() if double else tensor.float()
    if tensor.is_complex():
        raise LaminarError(f"observation '{key}' is complex; the policy takes real numbers")
    return tensor


def _plain(key: str, value: Any, error: Exception) -> np.ndarray[Any, Any]:
    """Return an array that PyTorch can read: it refuses negative strides and bytes in another machine's order."""
    array = value if isinstance(value, np.ndarray) else np.empty(0, object)
    if array.dtype.kind not in "fiub":
        reason = str(error).split("\n", 1)[0].rstrip(".")
        raise LaminarError(f"observation '{key}' is no array of numbers ({reason}); give one row a robot") from error
    return np.ascontiguousarray(array, array.dtype.newbyteorder("="))


def _check_rows(tensors: Mapping[str, Tensor]) -> None:
    rows = {key: value.shape[0] for key, value in tensors.items()}
    if len(set(rows.values())) > 1:
        (first, count), *others = rows.items()
        key, other = next(pair for pair in others if pair[1] != count)
        raise LaminarError(f"observation '{key}' has {other} rows and '{first}' has {count}; give one row a robot")
