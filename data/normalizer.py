"""The strict normalizer: statistics live in buffers, so they are in the weight file and cannot be lost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..errors import LaminarError, nearest

MODES = ("minmax", "gaussian", "identity")
_STATISTICS = ("offset", "scale", "low", "high")


class Normalizer(nn.Module):
    """Maps raw units to normalized units and back, key by key: ``(x - offset) / scale``.

    Mode "minmax" maps the fitted range to [-1, 1], "gaussian" to zero mean and unit variance, "identity"
    leaves the values (and their dtype) alone and has no statistics: data of such a key, pictures on disk for
    example, are not read. A dimension that never varies in the data gets scale 1 and its value as offset, so that it
    maps to 0, and is listed in `constant`. An empty normalizer holds NaN until weights are loaded.
    """

    def __init__(self, modes: Mapping[str, str], shapes: Mapping[str, tuple[int, ...]]) -> None:
        """Prepare buffers for the given keys; `fit` or `load_state_dict` fills them."""
        super().__init__()
        self.modes = dict(modes)
        self.shapes = {key: tuple(shapes[key]) for key in self.modes}
        self._names: dict[str, dict[str, str]] = {}  # of the keys that have statistics
        for key, mode in self.modes.items():
            if mode not in MODES:
                raise LaminarError(f"normalizer: mode '{mode}' of key '{key}' is none of {MODES}{nearest(mode, MODES)}")
            if mode == "identity":
                continue
            self._names[key] = {name: _buffer(key, name) for name in _STATISTICS}
            for name in self._names[key].values():
                self.register_buffer(name, torch.full(self.shapes[key], torch.nan))

    @classmethod
    def fit(cls, values: Mapping[str, NDArray[Any] | Tensor], modes: str | Mapping[str, str] = "minmax") -> Normalizer:
        """Compute statistics over the rows (first axis) of each array of shape ``(N, *feature)``.

        Args:
            values: key -> (N, *feature), raw units.
            modes: one mode for all keys, or one a key.

        Raises:
            LaminarError: no rows, a non-finite value, an unknown mode, or modes for other keys.
        """
        chosen = dict.fromkeys(values, modes) if isinstance(modes, str) else dict(modes)
        if set(chosen) != set(values):
            raise LaminarError(f"normalizer: modes are given for {sorted(chosen)}, values for {sorted(values)}")
        shapes = {key: tuple(value.shape[1:]) for key, value in values.items()}
        normalizer = cls({key: chosen[key] for key in values}, shapes)
        for key, value in values.items():
            if len(value) == 0:
                raise LaminarError(f"normalizer: key '{key}' has no rows to fit")
            if key in normalizer._names:
                array = _to_numpy(value)
                _check_finite(key, torch.from_numpy(array))
                normalizer._fit_key(key, array)
        return normalizer

    def _fit_key(self, key: str, array: NDArray[Any]) -> None:
        low, high = (torch.as_tensor(bound, dtype=torch.float32) for bound in (array.min(axis=0), array.max(axis=0)))
        offset, scale = torch.zeros_like(low), torch.ones_like(low)
        constant = _is_constant(low, high)
        if self.modes[key] == "minmax":
            offset, scale = (high + low) / 2, (high - low) / 2
        elif self.modes[key] == "gaussian":
            mean, deviation = array.mean(axis=0, dtype=np.float64), array.std(axis=0, dtype=np.float64)
            offset = torch.as_tensor(mean, dtype=torch.float32)
            scale = torch.as_tensor(deviation, dtype=torch.float32)
        offset = torch.where(constant, low, offset)
        scale = torch.where(constant, torch.ones_like(scale), scale)
        for statistic, value in zip(_STATISTICS, (offset, scale, low, high), strict=True):
            self.statistic(key, statistic).copy_(value)

    def statistic(self, key: str, name: str) -> Tensor:
        """Return "offset", "scale", "low" or "high" of a key that has statistics: its feature's shape, raw units."""
        return cast("Tensor", getattr(self, self._names[key][name]))

    def forward(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Map raw values (..., *feature) to normalized ones; strict on keys and widths, no host sync."""
        self._check_layout(values)
        return {key: self._normalize(key, value) for key, value in values.items()}

    def inverse(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Map normalized values (..., *feature) back to raw units; strict like `forward`."""
        self._check_layout(values)
        return {key: self._denormalize(key, value) for key, value in values.items()}

    def _normalize(self, key: str, value: Tensor) -> Tensor:
        if key not in self._names:
            return value
        return (value - self.statistic(key, "offset")) / self.statistic(key, "scale")

    def _denormalize(self, key: str, value: Tensor) -> Tensor:
        if key not in self._names:
            return value
        return value * self.statistic(key, "scale") + self.statistic(key, "offset")

    def _check_layout(self, values: Mapping[str, Tensor]) -> None:
        if values.keys() != self.modes.keys():
            expected, got = set(self.modes), set(values)
            raise LaminarError(
                f"normalizer: expected keys {sorted(expected)}, got {sorted(got)} "
                f"(missing {sorted(expected - got)}, extra {sorted(got - expected)})"
            )
        for key, shape in self.shapes.items():
            got = tuple(values[key].shape)
            if len(got) < len(shape) or got[len(got) - len(shape) :] != shape:
                raise LaminarError(f"normalizer: key '{key}' should end in shape {shape}, got {got}")

    def check(self, values: Mapping[str, Tensor]) -> None:
        """Raise when a value is not finite. Reads the result back to the host: not for the inner loop.

        Raises:
            LaminarError: names the key and the index of the first bad value; also wrong keys or widths.
        """
        self._check_layout(values)
        for key, value in values.items():
            if value.is_floating_point():
                _check_finite(key, value)

    @property
    def constant(self) -> dict[str, list[int]]:
        """Key -> flat indices of the dimensions that never vary in the fitted data; keys with any only."""
        found: dict[str, list[int]] = {}
        for key in self._names:
            constant = _is_constant(self.statistic(key, "low"), self.statistic(key, "high"))
            if constant.any():
                found[key] = [int(index) for index in constant.flatten().nonzero().flatten()]
        return found

    def report(self, values: Mapping[str, Tensor]) -> str:
        """Return one line a fitted key: the share of values outside its range, and the worst dimensions."""
        self._check_layout(values)
        return "\n".join(self._report_key(key, values[key]) for key in self._names)

    def _report_key(self, key: str, value: Tensor) -> str:
        rows = value.reshape(-1, *self.shapes[key])
        low, high = self.statistic(key, "low"), self.statistic(key, "high")
        outside = ((rows < low) | (rows > high)).float().mean(dim=0).flatten()  # (features,)
        line = f"{key}: {float(outside.mean()):.2%} of {rows.numel()} values outside the fitted range"
        worst = [int(index) for index in outside.argsort(descending=True)[:5] if outside[index] > 0]
        if worst:
            line += ", most in " + ", ".join(f"dim {index} ({float(outside[index]):.2%})" for index in worst)
        return line

    def config(self) -> dict[str, Any]:
        """Return what `from_config` needs, JSON-able; the statistics themselves are in the state dict."""
        return {key: {"mode": mode, "shape": list(self.shapes[key])} for key, mode in self.modes.items()}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Normalizer:
        """Build an empty normalizer (all NaN) to load a state dict into."""
        modes = {key: entry["mode"] for key, entry in config.items()}
        return cls(modes, {key: tuple(entry["shape"]) for key, entry in config.items()})


def _buffer(key: str, statistic: str) -> str:
    # Buffer names must not contain dots; the escape keeps distinct keys distinct.
    return f"{key.replace('%', '%25').replace('.', '%2E')}:{statistic}"


def _is_constant(low: Tensor, high: Tensor) -> Tensor:
    # A range at the resolution of float32 is rounding, not signal; dividing by it would amplify noise.
    return high - low <= 1e-6 * torch.maximum(low.abs(), high.abs()).clamp(min=1.0)


def _to_numpy(value: NDArray[Any] | Tensor) -> NDArray[Any]:
    return value.detach().cpu().numpy() if isinstance(value, Tensor) else np.ascontiguousarray(value)


def _check_finite(key: str, value: Tensor) -> None:
    bad = ~torch.isfinite(value)
    if bad.any():
        index = tuple(int(i) for i in bad.nonzero()[0])
        number = float(value[index])
        raise LaminarError(f"normalizer: key '{key}' is not finite at index {index} ({number}); remove or repair it")
