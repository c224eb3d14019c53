"""Angles and numbers of two values are found in recordings, and come back as they were."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch

from laminar.world_models.values import Values, error

ENDS = np.array([50, 100])


@pytest.fixture
def rows() -> np.ndarray:
    """100 rows: an angle that turns around, a plain number, one of two values, a constant, an angle that never does."""
    steps = np.arange(100)
    turning = np.remainder(0.1 * steps + math.pi, 2 * math.pi) - math.pi
    plain = np.sin(steps)
    return np.stack([turning, plain, np.where(steps % 7 < 3, 0.0, 0.088), 0 * steps + 2.0, 0.5 * plain], axis=1)


def test_they_are_found(rows: np.ndarray) -> None:
    found = Values.found(rows.astype(np.float32), ENDS)
    assert found.angles == (0,)
    assert [(at, low, pytest.approx(high)) for at, low, high in found.pairs] == [(2, 0.0, 0.088)]
    assert (found.width, found.seen) == (5, 6)


def test_a_jump_between_episodes_is_none() -> None:
    rows = np.array([[3.1], [3.1], [-3.1], [-3.1]])
    assert Values.found(rows, np.array([2, 4])).angles == ()
    assert Values.found(rows, np.array([4])).angles == (0,)


def test_what_leaves_half_a_turn_is_no_angle() -> None:
    assert Values.found(np.array([[0.0], [6.2], [0.0]]), np.array([3])).angles == ()


def test_one_row_tells_nothing() -> None:
    assert Values.found(np.zeros((1, 3)), np.array([1])) == Values(3)


def test_there_and_back(rows: np.ndarray) -> None:
    values = Values.found(rows, ENDS)
    recorded = torch.from_numpy(rows)
    seen = values.to_seen(recorded)
    torch.testing.assert_close(seen[:, 0], recorded[:, 0].sin())
    torch.testing.assert_close(seen[:, 5], recorded[:, 0].cos())
    torch.testing.assert_close(values.to_recorded(seen), recorded)
    torch.testing.assert_close(
        values.to_recorded(3 * seen)[:, 0], recorded[:, 0]
    )  # the length of (sin, cos) is nothing
    torch.testing.assert_close(recorded, torch.from_numpy(rows))  # what was given is as it was


def test_of_two_values_the_nearer_one() -> None:
    values = Values(2, pairs=((1, -1.0, 1.0),))
    found = values.snapped(torch.tensor([[0.3, 0.3], [0.3, -0.2], [7.0, 9.0]]))
    assert found.tolist() == [[pytest.approx(0.3), 1], [pytest.approx(0.3), -1], [7, 1]]


def test_errors_go_the_short_way_round() -> None:
    values = Values(2, angles=(0,))
    found = error(torch.tensor([[3.1, 3.1], [-3.1, 0.0]]), torch.tensor([[-3.1, -3.1], [3.1, 0.0]]), values)
    turn = 2 * math.pi - 6.2
    torch.testing.assert_close(found, torch.tensor([[-turn, 6.2], [turn, 0.0]]))


def test_they_are_saved_as_plain_values(rows: np.ndarray) -> None:
    values = Values.found(rows, ENDS)
    assert Values.from_json(json.loads(json.dumps(values.to_json()))) == values
