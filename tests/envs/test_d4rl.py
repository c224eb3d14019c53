"""Every registered D4RL id: steps, reference scores, and what runs it today."""

from __future__ import annotations

import numpy as np
import pytest

from laminar.envs.d4rl import d4rl_table, normalized_score, resolve

# one id or more from each row of D4RL's registration table: steps, lowest, highest reference, today's environment
ROWS = [
    ("hopper-full-replay-v1", 1000, -20.272305, 3234.3, "Hopper-v4"),
    ("hopper-medium-expert-v0", 1000, -20.272305, 3234.3, "Hopper-v4"),
    ("hopper-medium-v2", 1000, -20.272305, 3234.3, "Hopper-v4"),
    ("halfcheetah-random-v0", 1000, -280.178953, 12135.0, "HalfCheetah-v4"),
    ("halfcheetah-full-replay-v2", 1000, -280.178953, 12135.0, "HalfCheetah-v4"),
    ("ant-random-expert-v0", 1000, -325.6, 3879.7, "Ant-v4"),
    ("ant-expert-v2", 1000, -325.6, 3879.7, "Ant-v4"),
    ("walker2d-medium-replay-v1", 1000, 1.629008, 4592.3, "Walker2d-v4"),
    ("walker2d-medium-v2", 1000, 1.629008, 4592.3, "Walker2d-v4"),
    ("antmaze-umaze-diverse-v1", 700, 0.0, 1.0, "AntMaze_UMaze-v4"),
    ("antmaze-large-play-v1", 1000, 0.0, 1.0, "AntMaze_Large-v4"),
    ("antmaze-eval-umaze-diverse-v0", 700, 0.0, 1.0, None),
    ("antmaze-umaze-v2", 700, 0.0, 1.0, "AntMaze_UMaze-v4"),
    ("antmaze-eval-large-diverse-v0", 1000, 0.0, 1.0, None),
    ("antmaze-medium-diverse-v2", 1000, 0.0, 1.0, "AntMaze_Medium-v4"),
    ("maze2d-open-v0", 150, 0.01, 20.66, "PointMaze_Open-v3"),
    ("maze2d-umaze-v0", 150, 0.94, 62.6, "PointMaze_UMaze-v3"),
    ("maze2d-medium-v0", 250, 5.77, 85.14, "PointMaze_Medium-v3"),
    ("maze2d-large-v0", 600, 4.83, 191.99, "PointMaze_Large-v3"),
    ("maze2d-umaze-v1", 300, 23.85, 161.86, "PointMaze_UMaze-v3"),
    ("maze2d-medium-v1", 600, 13.13, 277.39, "PointMaze_Medium-v3"),
    ("maze2d-large-v1", 800, 6.7, 273.99, "PointMaze_Large-v3"),
    ("maze2d-eval-umaze-v1", 300, 36.63, 141.4, None),
    ("maze2d-eval-medium-v1", 600, 13.07, 204.93, None),
    ("maze2d-eval-large-v1", 800, 16.4, 302.22, None),
    ("maze2d-open-dense-v0", 150, 11.17817, 27.166538620695782, "PointMaze_Open-v3"),
    ("maze2d-umaze-dense-v0", 150, 23.249793, 81.78995240126592, "PointMaze_UMaze-v3"),
    ("maze2d-medium-dense-v0", 250, 19.47762, 96.03474232952358, "PointMaze_Medium-v3"),
    ("maze2d-large-dense-v0", 600, 27.38831, 215.09965671563742, "PointMaze_Large-v3"),
    ("maze2d-umaze-dense-v1", 300, 68.537689, 193.66285642381482, "PointMaze_UMaze-v3"),
    ("maze2d-medium-dense-v1", 600, 44.264742, 297.4552547777125, "PointMaze_Medium-v3"),
    ("maze2d-large-dense-v1", 800, 30.569041, 303.4857382709002, "PointMaze_Large-v3"),
    ("maze2d-eval-umaze-dense-v1", 300, 56.95455, 178.21373133248397, None),
    ("maze2d-eval-medium-dense-v1", 600, 42.28578, 235.5658957482388, None),
    ("maze2d-eval-large-dense-v1", 800, 56.95455, 326.09647655082637, None),
    ("hammer-cloned-v1", 200, -274.856578, 12794.134825156867, "AdroitHandHammer-v1"),
    ("hammer-human-longhorizon-v1", 600, -274.856578, 12794.134825156867, "AdroitHandHammer-v1"),
    ("pen-human-v1", 100, 96.262799, 3076.8331017826877, "AdroitHandPen-v1"),
    ("pen-human-longhorizon-v1", 200, 96.262799, 3076.8331017826877, "AdroitHandPen-v1"),
    ("relocate-expert-v1", 200, -6.425911, 4233.877797728884, "AdroitHandRelocate-v1"),
    ("relocate-human-longhorizon-v1", 500, -6.425911, 4233.877797728884, "AdroitHandRelocate-v1"),
    ("door-human-v1", 200, -56.512833, 2880.5693087298737, "AdroitHandDoor-v1"),
    ("door-human-longhorizon-v1", 300, -56.512833, 2880.5693087298737, "AdroitHandDoor-v1"),
    ("relocate-v0", 200, None, None, "AdroitHandRelocate-v1"),
    ("door-expert-v0", 200, -56.512833, 2880.5693087298737, "AdroitHandDoor-v1"),
    ("door-human-longhorizon-v0", 300, -56.512833, 2880.5693087298737, "AdroitHandDoor-v1"),
    ("hammer-human-v0", 200, -274.856578, 12794.134825156867, "AdroitHandHammer-v1"),
    ("hammer-human-longhorizon-v0", 600, -274.856578, 12794.134825156867, "AdroitHandHammer-v1"),
    ("pen-v0", 100, None, None, "AdroitHandPen-v1"),
    ("pen-cloned-v0", 100, 96.262799, 3076.8331017826877, "AdroitHandPen-v1"),
    ("pen-human-longhorizon-v0", 200, 96.262799, 3076.8331017826877, "AdroitHandPen-v1"),
    ("relocate-cloned-v0", 200, -6.425911, 4233.877797728884, "AdroitHandRelocate-v1"),
    ("relocate-human-longhorizon-v0", 500, -6.425911, 4233.877797728884, "AdroitHandRelocate-v1"),
    ("kitchen-complete-v0", 280, 0.0, 4.0, "FrankaKitchen-v1"),
    ("minigrid-fourrooms-random-v0", 50, 0.01442, 2.89685, None),
    ("flow-ring-controller-v0", 500, -165.22, 24.42, None),
    ("flow-merge-render-v0", 750, 118.67993, 330.03179, None),
    ("carla-lane-render-v0", 250, -0.8503839912088142, 1023.5784385429523, None),
    ("carla-town-full-v0", 1000, -114.81579500772153, 2440.1772022247314, None),
    ("carla-town-render-v0", 1000, None, None, None),
    ("bullet-walker2d-v0", 1000, None, None, None),
    ("bullet-hopper-medium-v0", 1000, 20.058972, 1441.8059623430963, None),
    ("bullet-halfcheetah-expert-v0", 1000, -1275.766996, 2381.6725, None),
    ("bullet-ant-medium-expert-v0", 1000, 373.705955, 2650.495, None),
    ("bullet-walker2d-medium-replay-v0", 1000, 16.523877, 1623.6476303317536, None),
    ("bullet-maze2d-open-v0", 150, 8.75, 64.15, None),
    ("bullet-maze2d-umaze-v0", 300, 32.46, 153.99, None),
    ("bullet-maze2d-medium-v0", 600, 14.87, 238.05, None),
    ("bullet-maze2d-large-v0", 800, 1.82, 285.92, None),
]


@pytest.mark.parametrize(("env_id", "steps", "low", "high", "gymnasium_id"), ROWS, ids=[row[0] for row in ROWS])
def test_row(env_id: str, steps: int, low: float | None, high: float | None, gymnasium_id: str | None) -> None:
    task = resolve(env_id)
    assert task is not None
    assert (task.max_steps, task.ref_min, task.ref_max, task.gymnasium_id) == (steps, low, high, gymnasium_id)


def test_table_has_every_registered_id_and_no_other() -> None:
    table = d4rl_table()
    assert len(table) == 195  # number of ids that d4rl 1.1 registers
    assert "hopper-full-replay-v0" not in table  # never existed
    assert "maze2d-open-v1" not in table


def test_score_is_0_at_the_lower_and_100_at_the_upper_reference() -> None:
    scores = normalized_score("door-human-v1", [-56.512833, 2880.5693087298737])
    np.testing.assert_allclose(scores, [0.0, 100.0], atol=1e-9)


@pytest.mark.parametrize(
    ("gymnasium_id", "d4rl_id"),
    [
        ("Hopper-v4", "hopper-medium-v2"),
        ("Hopper-v5", "hopper-expert-v0"),
        ("Walker2d-v4", "walker2d-medium-v2"),
        ("AdroitHandDoor-v1", "door-human-v1"),
        ("AdroitHandRelocate-v1", "relocate-expert-v1"),
    ],
)
def test_gymnasium_ids_normalize_by_family(gymnasium_id: str, d4rl_id: str) -> None:
    returns = [12.5, 1000.0]
    np.testing.assert_array_equal(normalized_score(gymnasium_id, returns), normalized_score(d4rl_id, returns))


@pytest.mark.parametrize("env_id", ["door-v0", "Pendulum-v1", "PointMaze_UMaze-v3", "AdroitHandDoorSparse-v1"])
def test_no_score_without_a_reference(env_id: str) -> None:
    assert normalized_score(env_id, [1.0]) is None
