"""The type that keeps numbers apart: single precision, but where it would lose the steps of a feature."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from laminar.data.columns import as_values
from laminar.data.load import load_episodes
from laminar.errors import LaminarError

ROWS = 2000
RNG = np.random.default_rng(0)
WALK = np.cumsum(RNG.normal(size=ROWS)) * 0.02
RESETS = 300.0 * (np.arange(ROWS) // 100 % 5)


@pytest.mark.parametrize(
    ("what", "values"),
    [
        ("a position in UTM coordinates, cm by cm", 4_512_345.0 + WALK),
        ("the same, with a reset every hundred steps", 4_512_345.0 + WALK + RESETS),
        ("time since 1970, 20 Hz", 1.79e9 + 0.05 * np.arange(ROWS)),
        ("time since 1970 in nanoseconds, whole numbers", 1_790_000_000_000_000_000 + 50_000_000 * np.arange(ROWS)),
        ("encoder counts beyond 2^24", 90_000_000 + np.cumsum(RNG.integers(-2, 3, ROWS))),
    ],
)
def test_steps_that_single_precision_loses_are_kept(what: str, values: np.ndarray) -> None:
    column = as_values(np.stack([values.astype(np.float64), RNG.normal(size=ROWS)], axis=1))
    assert column.dtype == np.float64, what
    distinct = len(np.unique(values.astype(np.float64)))
    assert len(np.unique(column[:, 0])) == distinct


@pytest.mark.parametrize(
    ("what", "values"),
    [
        ("joint angles", np.sin(WALK)),
        ("a joint that stands still, with sensor noise", 1.569 + 1e-5 * RNG.normal(size=ROWS)),
        (
            "an object at rest that trembles, and is moved now and then",
            0.8 + 1e-9 * RNG.normal(size=ROWS) + np.cumsum((np.arange(ROWS) % 12 == 0) * 1e-3),
        ),
        ("pixels", RNG.integers(0, 256, ROWS).astype(float)),
        ("what was single precision before", (4.5e6 + WALK).astype(np.float32).astype(np.float64)),
        ("a constant", np.full(ROWS, 4.5e6 + 1 / 3)),
    ],
)
def test_all_else_is_single_precision(what: str, values: np.ndarray) -> None:
    assert as_values(values[:, None]).dtype == np.float32, what


def test_a_file_keeps_double_precision_and_says_so(tmp_path: Path, samples: Any) -> None:
    place = np.cumsum(np.full((13, 3), 0.01), axis=0) + np.array([4.5e6, 5e5, 0.0])
    path = samples.d4rl(tmp_path, observations=place[:-1], next_observations=place[1:])
    episodes = load_episodes(path)
    assert episodes.observation["observation"].dtype == np.float64
    assert episodes.final_observation["observation"].dtype == np.float64
    assert episodes.spec.observation["observation"].dtype == "float64"
    assert any("stays in double precision" in remark for remark in episodes.remarks)
    np.testing.assert_array_equal(episodes.observation["observation"], place[:-1])


def test_files_of_both_kinds_are_joined_in_double_precision(tmp_path: Path, samples: Any) -> None:
    place = np.cumsum(np.full((13, 3), 0.01), axis=0) + 4.5e6
    (tmp_path / "b").mkdir()
    first = samples.d4rl(tmp_path)
    second = samples.d4rl(tmp_path / "b", observations=place[:-1], next_observations=place[1:])
    for files in ([first, second], [second, first]):
        episodes = load_episodes(files)
        assert episodes.observation["observation"].dtype == np.float64
        assert episodes.spec.observation["observation"].dtype == "float64"


def test_actions_that_single_precision_loses_are_refused(tmp_path: Path, samples: Any) -> None:
    way_points = 4.5e6 + np.cumsum(np.full((12, 2), 0.01), axis=0)
    with pytest.raises(LaminarError, match="record them relative to a point nearby"):
        load_episodes(samples.d4rl(tmp_path, actions=way_points))
