"""Which dimensions of recorded features carry a signal, and which are constant but for the noise of a sensor.

A locked joint still shows the last digits of its encoder, up and down from row to row. Divided by the deviation of that
noise, the distance to where the joint sits on another day would be thousands of deviations. Such a dimension counts as
constant: what it holds is a place, not a signal. Motion is smooth, and a signal however small.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .spec import Feature, Spec

Array = NDArray[Any]


class Range(NamedTuple):
    """How far values go.

    Attributes:
        low: lowest value of each dimension, in the feature's shape.
        high: highest value.
        rough: whether a dimension goes up and down from row to row, as noise does and motion does not; also where that
            does not matter, as it goes far.
    """

    low: Array
    high: Array
    rough: Array | bool = True


_ROUGH = 0.5
UNITS = {"rad": 1e-4, "deg": 5e-3, "m": 1e-5, "cm": 1e-3, "mm": 1e-2, "um": 1.0, "s": 1e-4, "ms": 0.1, "N": 1e-3}
"""Unit -> range that is a sensor's noise."""
OWN = 1e-4
"""Share of its own magnitude below which a dimension hardly varies, where the unit is unknown, …"""
MOTION = 1e-2
"""… unless it moves by more than this: coordinates on Earth vary by little of themselves, and all of it is signal."""
BESIDE = 1e-3
"""Share both of its own magnitude and of the range of its neighbours below which a dimension hardly varies."""
ALONE = 1e-4
"""Share of the range of its neighbours, and range, below which values around zero are noise: a locked joint's speed.
Where no dimension of a key of unknown unit moves further than this, its neighbours are those of all keys."""


def resolution(low: Array, high: Array, dtype: str = "float32") -> Array:
    """Return the range that is rounding alone, of numbers between `low` and `high` that were stored as `dtype`."""
    magnitude = _magnitude(low, high)
    return magnitude * 1e-14 if dtype == "float64" else 1e-6 * np.maximum(magnitude, 1.0)


def is_rounding(low: Array, high: Array, dtype: str = "float32") -> Array:
    """Tell for each dimension whether its range is no more than rounding; dividing by it would amplify that."""
    return np.asarray(_span(low, high) <= resolution(low, high, dtype))


def hardly_varies(ranges: Mapping[str, Range], features: Mapping[str, Feature]) -> dict[str, Array]:
    """Tell which dimensions of observations are constant but for noise or rounding.

    Where no dimension of any key would be left, noise is the only signal that there is: then rounding alone counts.

    Args:
        ranges: key -> range.
        features: key -> feature; its unit and type are used.

    Returns:
        key -> bool in the feature's shape.
    """
    rounding = {key: is_rounding(one.low, one.high, features[key].dtype) for key, one in ranges.items()}
    still = _noise(ranges, features)
    return rounding if all(one.all() for one in still.values()) else still


def _noise(ranges: Mapping[str, Range], features: Mapping[str, Feature]) -> dict[str, Array]:
    """Tell which dimensions vary by noise or rounding: of their own, or beside what moves."""
    own = {key: _is_still(one.low, one.high, features[key]) for key, one in ranges.items()}
    moving = {key: _span(one.low, one.high)[~own[key]] for key, one in ranges.items()}
    all_moving = _typical(np.concatenate([np.zeros(0), *moving.values()]))
    still: dict[str, Array] = {}
    for key, (low, high, rough) in ranges.items():
        beside = _typical(moving[key])
        if beside <= ALONE and features[key].unit not in UNITS:  # nothing in this key moves: what else does?
            beside = all_moving
        small = np.maximum(BESIDE * np.minimum(beside, _magnitude(low, high)), min(ALONE * beside, ALONE))
        rounding = is_rounding(low, high, features[key].dtype)
        still[key] = rounding | ((own[key] | (_span(low, high) <= small)) & rough)
    return still


def _is_still(low: Array, high: Array, feature: Feature) -> Array:
    noise = UNITS.get(feature.unit, np.minimum(OWN * _magnitude(low, high), MOTION))
    return is_rounding(low, high, feature.dtype) | (_span(low, high) <= noise)


def _typical(spans: Array) -> float:
    """Return the upper quartile: most joints may be locked, and one force must not make noise of all else."""
    return float(np.quantile(spans, 0.75)) if spans.size else 0.0


def _magnitude(low: Array, high: Array) -> Array:
    return np.maximum(np.abs(low), np.abs(high)).astype(np.float64)


def _span(low: Array, high: Array) -> Array:
    return np.asarray(high, np.float64) - np.asarray(low, np.float64)


@dataclass(frozen=True)
class Still:
    """A dimension that varies by more than nothing and hardly all the same.

    Attributes:
        key: of the observation; None for the action.
        dimension: flat index.
        low: lowest value.
        high: highest value.
    """

    key: str | None
    dimension: int
    low: float
    high: float

    def __str__(self) -> str:
        """Return for example ``2 by 7.4e-05 around 1.569``."""
        return f"{self.dimension} by {self.high - self.low:.2g} around {self.low / 2 + self.high / 2:.6g}"


def still_dimensions(ranges: Mapping[str, Range], action: Range, spec: Spec) -> list[Still]:
    """Return the dimensions of observations and actions that hardly vary, without those that never do.

    Args:
        ranges: observation key -> range; keys may be left out.
        action: range of the actions.
        spec: of the data.
    """
    found = {**_noise(ranges, spec.observation), None: _noise({"": action}, {"": spec.action})[""]}
    edges = {**ranges, None: action}
    return [
        Still(key, int(index), float(low.reshape(-1)[index]), float(high.reshape(-1)[index]))
        for key, (low, high, _) in edges.items()
        for index in np.flatnonzero(found[key] & (_span(low, high) > 0))
    ]


def told(still: Sequence[Still], constant: Mapping[str, Collection[int]], shown: int = 4) -> list[str]:
    """Return one sentence for each feature with dimensions that hardly vary.

    Args:
        still: what was found.
        constant: key -> dimensions of observations that count as constant.
        shown: dimensions that are named, of each feature.
    """
    sentences: list[str] = []
    for key in dict.fromkeys(one.key for one in still):
        mine = [one for one in still if one.key == key]
        if key is None:
            follows = "a policy's actions stay in that range"
        elif {one.dimension for one in mine} <= {*constant.get(key, ())}:
            follows = "taken as constant; policy.observation_floor=false takes it as signal"
        else:
            follows = "taken as signal all the same"
        listed = [str(one) for one in mine[:shown]] + ([f"{len(mine) - shown} more"] if len(mine) > shown else [])
        name = "action" if key is None else f"observation '{key}'"
        what = "dimensions hardly vary" if mine[1:] else "dimension hardly varies"
        sentences.append(f"{name}: {len(mine)} {what} ({', '.join(listed)}); {follows}")
    return sentences


def range_of(values: Array) -> Range:
    """Return the range of (N, ...) values in memory, whose rows are in the order of time."""
    low, high = values.min(axis=0), values.max(axis=0)
    rough = np.ones(low.shape, np.bool_)
    small = (_span(low, high) <= np.maximum(MOTION, BESIDE * _magnitude(low, high))) & (low < high)
    flat = values.reshape(len(values), -1)
    for index in np.flatnonzero(small):
        rough.reshape(-1)[index] = is_rough(flat[:, index])
    return Range(low, high, rough)


def is_rough(column: Array) -> bool:
    """Tell noise from motion in values (N,) of successive rows.

    From row to row white noise moves by 1.13 of its deviation on average, whatever it is white around.
    """
    values = column.astype(np.float64) - float(column[0])
    deviation = values.std()
    return bool(deviation > 0 and np.abs(np.diff(values)).mean() > _ROUGH * deviation)
