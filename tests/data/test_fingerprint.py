"""A fingerprint sees any change of the numbers, and none of the names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from laminar.data.episodes import Episodes
from laminar.data.fingerprint import difference, fingerprint
from laminar.data.spec import Feature, Spec

LENGTHS = (700, 1, 299)


def recorded(seed: int = 0) -> Episodes:
    rng, steps = np.random.default_rng(seed), sum(LENGTHS)
    ends = np.cumsum(LENGTHS)
    last = np.isin(np.arange(steps), ends - 1)
    return Episodes(
        observation={"state": rng.normal(size=(steps, 5)), "image": rng.integers(0, 255, (steps, 4, 4, 3), np.uint8)},
        final_observation={"state": rng.normal(size=(3, 5)), "image": rng.integers(0, 255, (3, 4, 4, 3), np.uint8)},
        action=rng.normal(size=(steps, 3)).astype("f"),
        reward=rng.normal(size=steps).astype("f"),
        terminated=np.zeros(steps, bool),
        truncated=last,
        ends=ends,
        spec=Spec({"state": Feature((5,), "float64"), "image": Feature((4, 4, 3), "uint8")}, Feature((3,))),
    )


def changed(episodes: Episodes) -> str | None:
    return difference(fingerprint(episodes), fingerprint(recorded()))


def test_the_same_content_elsewhere_is_the_same() -> None:
    assert changed(recorded()) is None
    assert changed(replace(recorded(), source="elsewhere.hdf5", remarks=["read otherwise"])) is None


@pytest.mark.parametrize("row", [0, 1, 503, 999])
@pytest.mark.parametrize(
    "change",
    [
        lambda e, row: e.observation["state"].__setitem__((row, 4), np.nextafter(e.observation["state"][row, 4], 9)),
        lambda e, row: e.observation["image"].__setitem__((row, 3, 3, 2), e.observation["image"][row, 3, 3, 2] ^ 1),
        lambda e, row: e.action.__setitem__((row, 2), np.nextafter(e.action[row, 2], np.float32(9))),
        lambda e, row: e.reward.__setitem__(row, e.reward[row] + 1),
        lambda e, row: e.terminated.__setitem__(row, True),
        lambda e, row: e.final_observation["state"].__setitem__((row % 3, 0), 0),
    ],
)
def test_any_single_number_counts(change: Callable[[Episodes, int], None], row: int) -> None:
    episodes = recorded()
    change(episodes, row)
    assert changed(episodes) == "as many episodes and steps (3, 1000), other values"


def test_sizes_and_order_are_told() -> None:
    assert changed(recorded().select([0, 1])) == "2 episodes, were 3, 701 steps, were 1000"
    assert changed(recorded().select([2, 1, 0])) == "as many episodes and steps (3, 1000), other values"
    assert difference(None, fingerprint(recorded())) == "there are none now"


def test_pictures_on_disk_stand_by_some_of_their_rows(tmp_path) -> None:
    def opened(images: np.ndarray) -> dict[str, object]:
        np.save(tmp_path / "images.npy", images)
        on_disk = np.load(tmp_path / "images.npy", mmap_mode="r")
        episodes = recorded()
        return fingerprint(replace(episodes, observation=episodes.observation | {"image": on_disk}))

    images = recorded().observation["image"]
    before = opened(images)
    assert opened(images) == before
    assert opened(images ^ 1) != before


def test_names_that_came_later_do_not_count() -> None:
    """Runs of before know CALVIN's recordings by a digest without names of their numbers."""
    before = recorded()
    moved = [
        {"robot_obs": one["state"], "image": one["image"]} for one in (before.observation, before.final_observation)
    ]
    image = before.spec.observation["image"]
    with_names, without = (
        replace(
            before,
            observation=moved[0],
            final_observation=moved[1],
            spec=replace(before.spec, observation={"robot_obs": Feature((5,), "float64", names=names), "image": image}),
        )
        for names in (tuple("abcde"), ())
    )
    assert difference(fingerprint(with_names), fingerprint(without)) is None
