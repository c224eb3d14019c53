"""The strict normalizer: statistics live in buffers, so they are in the weight file and cannot be lost."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..errors import LaminarError, nearest
from .spec import Feature
from .variation import hardly_varies, is_rounding, range_of

MODES = ("minmax", "gaussian", "identity")
_STATISTICS = ("offset", "scale", "low", "high")
_BOUNDS = ("floor", "ceiling")


class Normalizer(nn.Module):
    """Maps raw units to normalized units and back, key by key: ``(x - offset) / scale``.

    Mode "minmax" maps the fitted range to [-1, 1], "gaussian" to zero mean and unit variance, "identity"
    leaves the values (and their dtype) alone and has no statistics: data of such a key, pictures on disk for
    example, are not read. A dimension that is constant in the data, see `variation`, gets scale 1 and its middle as
    offset, so that it maps to 0, and is listed in `constant`. A feature whose numbers need double precision has its
    offset in it, and is single precision from there on. An empty normalizer holds NaN until weights are loaded.

    With a `bound` normalized values stay within the fitted range, widened on each side by that share of its half: what
    was fitted is never altered, and a sensor far outside of it moves a policy no further than the bound.
    """

    def __init__(
        self,
        modes: Mapping[str, str],
        shapes: Mapping[str, tuple[int, ...]],
        double: Collection[str] = (),
        bound: float | None = None,
        constant: Mapping[str, Sequence[int]] | None = None,
    ) -> None:
        """Prepare buffers for the given keys; `fit` or `load_state_dict` fills them.

        Args:
            modes: key -> mode.
            shapes: key -> shape without batch.
            double: keys whose raw values are float64.
            bound: see the class; None does not bound.
            constant: key -> flat indices of the dimensions that count as constant.
        """
        super().__init__()
        self.modes = dict(modes)
        self.shapes = {key: tuple(shapes[key]) for key in self.modes}
        self.bound = bound
        self._constant = {key: list(indices) for key, indices in (constant or {}).items()}
        self._names: dict[str, dict[str, str]] = {}  # of the keys that have statistics
        self._double = frozenset(double)
        for key, mode in self.modes.items():
            if mode not in MODES:
                raise LaminarError(f"normalizer: mode '{mode}' of key '{key}' is none of {MODES}{nearest(mode, MODES)}")
            if mode == "identity":
                continue
            names = _STATISTICS if bound is None else _STATISTICS + _BOUNDS
            self._names[key] = {name: _buffer(key, name) for name in names}
            for name, buffer in self._names[key].items():
                double_one = key in self._double and name in ("offset", "low", "high")
                dtype = torch.float64 if double_one else torch.float32
                self.register_buffer(buffer, torch.full(self.shapes[key], torch.nan, dtype=dtype))

    @classmethod
    def fit(
        cls,
        values: Mapping[str, NDArray[Any] | Tensor],
        modes: str | Mapping[str, str] = "minmax",
        features: Mapping[str, Feature] | None = None,
        floor: bool = False,
        bound: float | None = None,
    ) -> Normalizer:
        """Compute statistics over the rows (first axis) of each array of shape ``(N, *feature)``, in double precision.

        Args:
            values: key -> (N, *feature), raw units.
            modes: one mode for all keys, or one a key.
            features: key -> what is known of it: those of type float64 keep their precision. None knows nothing.
            floor: count dimensions as constant that hardly vary, see `variation`; else only rounding does.
            bound: see the class.

        Raises:
            LaminarError: no rows, a non-finite value, an unknown mode, or modes for other keys.
        """
        chosen = dict.fromkeys(values, modes) if isinstance(modes, str) else dict(modes)
        if set(chosen) != set(values):
            raise LaminarError(f"normalizer: modes are given for {sorted(chosen)}, values for {sorted(values)}")
        arrays: dict[str, NDArray[Any]] = {}
        for key, value in values.items():
            if len(value) == 0:
                raise LaminarError(f"normalizer: key '{key}' has no rows to fit")
            if chosen[key] in ("minmax", "gaussian"):
                arrays[key] = _to_numpy(value)
                _check_finite(key, torch.from_numpy(arrays[key]))
        ranges = {key: range_of(array) for key, array in arrays.items()}
        known = {key: Feature(array.shape[1:]) for key, array in arrays.items()} if features is None else features
        if floor:
            still = hardly_varies(ranges, known)
        else:
            still = {key: is_rounding(one.low, one.high, known[key].dtype) for key, one in ranges.items()}
        double = [key for key in arrays if known[key].dtype == "float64"]
        constant = {key: [int(index) for index in np.flatnonzero(one)] for key, one in still.items() if one.any()}
        shapes = {key: tuple(value.shape[1:]) for key, value in values.items()}
        normalizer = cls({key: chosen[key] for key in values}, shapes, double, bound, constant)
        for key, array in arrays.items():
            normalizer._fit_key(key, array, ranges[key].low, ranges[key].high, still[key])
        return normalizer

    def _fit_key(
        self, key: str, array: NDArray[Any], low: NDArray[Any], high: NDArray[Any], constant: NDArray[Any]
    ) -> None:
        low, high = low.astype(np.float64), high.astype(np.float64)
        middle = low / 2 + high / 2
        offset, scale = middle, high / 2 - low / 2
        if self.modes[key] == "gaussian":
            offset, scale = array.mean(axis=0, dtype=np.float64), array.std(axis=0, dtype=np.float64)
        offset, scale = np.where(constant, middle, offset), np.where(constant, 1.0, scale)
        for statistic, value in zip(_STATISTICS, (offset, scale, low, high), strict=True):
            self.statistic(key, statistic).copy_(torch.as_tensor(value))
        if self.bound is not None:
            self._fit_bounds(key, self.bound)

    def _fit_bounds(self, key: str, bound: float) -> None:
        """Set the least and largest normalized values; no rounding may cut what was fitted."""
        low, high = self.statistic(key, "low"), self.statistic(key, "high")
        offset, scale = self.statistic(key, "offset"), self.statistic(key, "scale")
        wider = bound * (high.double() - low.double()) / 2
        for name, edge, wide in (("floor", low, -wider), ("ceiling", high, wider)):
            reached = self._scaled(key, edge)
            further = ((edge.double() + wide - offset) / scale).to(reached.dtype)
            limit = torch.minimum(reached, further) if name == "floor" else torch.maximum(reached, further)
            self.statistic(key, name).copy_(limit)

    def statistic(self, key: str, name: str) -> Tensor:
        """Return a statistic in the shape of a key's feature: "offset", "scale", "low" or "high", in raw units.

        With a bound also "floor" and "ceiling", the least and the largest normalized value.
        """
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
        scaled = self._scaled(key, value)
        if self.bound is None:
            return scaled
        return torch.clamp(scaled, self.statistic(key, "floor"), self.statistic(key, "ceiling"))

    def _scaled(self, key: str, value: Tensor) -> Tensor:
        centered, scale = value - self.statistic(key, "offset"), self.statistic(key, "scale")
        return centered.to(scale.dtype) / scale  # where the offset is gone, single precision holds the signal

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

    def only(self, keys: Collection[str]) -> Normalizer:
        """Return the normalizer of some of its keys, with the same statistics; itself where these are all."""
        if set(keys) == self.modes.keys():
            return self
        modes = {key: self.modes[key] for key in keys}
        constant = {key: indices for key, indices in self._constant.items() if key in modes}
        found = Normalizer(modes, self.shapes, self._double & modes.keys(), self.bound, constant)
        for name in dict(found.named_buffers()):
            setattr(found, name, getattr(self, name))
        return found

    @property
    def constant(self) -> dict[str, list[int]]:
        """Key -> flat indices of the dimensions that count as constant; keys with any only."""
        return {key: list(indices) for key, indices in self._constant.items()}

    @property
    def fitted_range(self) -> dict[str, tuple[Tensor, Tensor]]:
        """Key -> lowest and highest fitted value in its feature's shape, raw units; keys with statistics only."""
        return {key: (self.statistic(key, "low"), self.statistic(key, "high")) for key in self._names}

    def config(self) -> dict[str, Any]:
        """Return what `from_config` needs, JSON-able; the statistics themselves are in the state dict."""
        return {key: self._key_config(key) for key in self.modes}

    def _key_config(self, key: str) -> dict[str, Any]:
        config: dict[str, Any] = {"mode": self.modes[key], "shape": list(self.shapes[key])}
        if key in self._double:
            config["dtype"] = "float64"
        if key in self._constant:
            config["constant"] = self._constant[key]
        return config if self.bound is None or key not in self._names else config | {"bound": self.bound}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Normalizer:
        """Build an empty normalizer (all NaN) to load a state dict into; one of an earlier version has no bound."""
        modes = {key: entry["mode"] for key, entry in config.items()}
        shapes = {key: tuple(entry["shape"]) for key, entry in config.items()}
        double = [key for key, entry in config.items() if entry.get("dtype") == "float64"]
        bound = next((entry["bound"] for entry in config.values() if "bound" in entry), None)
        constant = {key: entry["constant"] for key, entry in config.items() if "constant" in entry}
        return cls(modes, shapes, double, bound, constant)


def _buffer(key: str, statistic: str) -> str:
    # Buffer names must not contain dots; the escape keeps distinct keys distinct.
    return f"{key.replace('%', '%25').replace('.', '%2E')}:{statistic}"


def _to_numpy(value: NDArray[Any] | Tensor) -> NDArray[Any]:
    return value.detach().cpu().numpy() if isinstance(value, Tensor) else np.ascontiguousarray(value)


def _check_finite(key: str, value: Tensor) -> None:
    bad = ~torch.isfinite(value)
    if bad.any():
        index = tuple(int(i) for i in bad.nonzero()[0])
        number = float(value[index])
        raise LaminarError(f"normalizer: key '{key}' is not finite at index {index} ({number}); remove or repair it")
