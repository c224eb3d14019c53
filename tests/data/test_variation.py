"""What counts as a signal: sensors' noise does not, the small motions of large coordinates do."""

from __future__ import annotations

import numpy as np
import pytest

from laminar.data.spec import Feature, Spec
from laminar.data.variation import Range, hardly_varies, is_rounding, range_of, still_dimensions, told

RNG = np.random.default_rng(0)
ROWS = 2000


def noise(around: float, size: float, dtype: str = "float32") -> np.ndarray:
    return (around + size * RNG.normal(size=ROWS)).astype(dtype)


def motion(around: float, span: float, dtype: str = "float32") -> np.ndarray:
    return (around + span * np.sin(np.arange(ROWS) / 50)).astype(dtype)


def still(*columns: np.ndarray, unit: str = "", beside: np.ndarray | None = None) -> list[int]:
    """Return the dimensions of a state that hardly vary, beside a key that does."""
    state = np.stack(columns, axis=1)
    other = motion(0, 1)[:, None] if beside is None else beside
    features = {"state": Feature(state.shape[1:], str(state.dtype), unit), "other": Feature(other.shape[1:])}
    found = hardly_varies({"state": range_of(state), "other": range_of(other)}, features)
    return np.flatnonzero(found["state"]).tolist()


@pytest.mark.parametrize(
    ("columns", "unit"),
    [
        ([noise(1.569, 1e-5), motion(0, 2)], ""),  # a locked joint among joints, rad
        ([noise(89.9, 6e-4), motion(0, 110)], ""),  # the same in degrees
        ([noise(-512.0, 1e-2), motion(300, 250)], ""),  # a lifted axis in mm
        ([noise(0.0, 1e-6), motion(0, 3)], ""),  # the speed of a locked joint
        ([noise(0.0, 1e-5), motion(0, 2)], ""),  # a joint that is locked at zero
        ([noise(0.0, 1e-6)], ""),  # a joint that is locked at zero, in a key of its own
        ([noise(0.04, 5e-7)], ""),  # a gripper that is never used, in a key of its own
        ([noise(1.569, 1e-5)], "rad"),
        ([noise(0.3, 1e-6)], "m"),
        ([noise(-30.0, 5e-4)], "deg"),
        ([noise(2.0, 1e-4), motion(0, 2)], ""),  # more noise, and neighbours that move a thousand times as far
    ],
)
def test_the_noise_of_a_sensor_is_no_signal(columns: list[np.ndarray], unit: str) -> None:
    assert still(*columns, unit=unit) == [0]


@pytest.mark.parametrize(
    ("columns", "unit"),
    [
        ([motion(4.5e6, 30.0, "float64"), motion(5.1e5, 0.5, "float64")], ""),  # a vehicle, UTM
        ([motion(1.7e9, 20.0, "float64")], ""),  # twenty seconds of Unix time
        ([motion(4.5e6, 40.0)], ""),  # coordinates that someone cast before
        ([motion(0.3, 2e-5), motion(0.1, 3e-5)], "m"),  # a micro-manipulator that says its unit
        ([motion(0.0, 1e-5), motion(0.0, 1e-5)], "m"),  # one with its origin in the work piece
        ([motion(0.5, 0.01), motion(0, 3)], ""),
        ([motion(0, 0.2), motion(0, 1e3)], ""),  # an angle beside coordinates of a kilometre
    ],
)
def test_small_motions_are(columns: list[np.ndarray], unit: str) -> None:
    assert still(*columns, unit=unit) == []


@pytest.mark.parametrize(
    "column",
    [
        motion(48.123, 3e-4, "float64"),  # latitude in degrees, some metres there and back
        motion(0.3, 4e-5),  # a micro-manipulator whose unit nobody told
        motion(1.2, 6e-5),  # a joint of a few hundred encoder steps
        (np.arange(ROWS) // 97 % 2 * 9e-5).astype("f"),  # two values, in turns
    ],
)
def test_a_smooth_motion_is_a_signal_however_small(column: np.ndarray) -> None:
    assert still(column, motion(0, 2)) == []


def test_what_is_nothing_but_small_is_not_flattened_wholesale() -> None:
    """Noise of three sensors, and nothing else that the policy could go by."""
    state = np.stack([noise(0.3, 2e-6), noise(0.2, 2e-6), noise(0.1, 1e-6)], axis=1)
    ranges, features = {"state": range_of(state)}, {"state": Feature((3,))}
    assert not hardly_varies(ranges, features)["state"].any()
    action = Range(np.zeros(1), np.ones(1))
    found = still_dimensions(ranges, action, Spec(features, Feature((1,))))
    assert [one.dimension for one in found] == [0, 1, 2]
    (line,) = told(found, {})
    assert line.startswith("observation 'state': 3 dimensions hardly vary (0 by ")
    assert line.endswith("taken as signal all the same")


def test_most_joints_may_be_locked() -> None:
    columns = [noise(0.0, 1e-6) for _ in range(5)] + [motion(0, 1), motion(0, 2)]
    assert still(*columns) == [0, 1, 2, 3, 4]


def test_rounding_depends_on_the_type() -> None:
    low, high = np.array([1.7e9]), np.array([1.7e9 + 20])
    assert is_rounding(low, high).all(), "single precision cannot tell these apart"
    assert not is_rounding(low, high, "float64").any()


def test_actions_are_told_and_stay_small() -> None:
    action = np.stack([motion(0, 1), noise(0.5, 1e-5), np.full(ROWS, 0.3, "f")], axis=1)
    spec = Spec({"observation": Feature((1,))}, Feature((3,)))
    observed = {"observation": range_of(motion(0, 1)[:, None])}
    (found,) = still_dimensions(observed, range_of(action), spec)
    assert (found.key, found.dimension) == (None, 1), "what never changes is told elsewhere"
    (line,) = told([found], {})
    assert line.startswith("action: 1 dimension hardly varies (1 by ")
    assert line.endswith("a policy's actions stay in that range")
