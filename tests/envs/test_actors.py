"""Worlds over a Ray cluster: the same to the bit as in this process, and what is lost is told."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from laminar.data.spec import Spec
from laminar.envs.actors import Actors
from laminar.envs.slots import Slots
from laminar.envs.workers import WorkerSlots
from laminar.errors import LaminarError

pytestmark = pytest.mark.timeout(300)  # Ray and its workers take their time on a busy machine
SpecOf = Callable[[str], Spec]
Trouble = Callable[[WorkerSlots, str], None]
EndedAlike = Callable[..., int]
ENV_ID = "user/Count-v0"


def test_actors_are_equal_to_slots_to_the_bit(ray: Any, spec_of: SpecOf, ended_alike: EndedAlike) -> None:
    spec = spec_of("Hopper-v4")
    here, there = Slots("Hopper-v4", spec, 3), WorkerSlots("Hopper-v4", spec, 3, 2, Actors)
    assert ended_alike(here, there, rounds=12) > 0
    shown = there.observations["observation"].copy()
    here.close(), there.close()
    np.testing.assert_equal(there.observations["observation"], shown)
    with pytest.raises(LaminarError, match="is closed; make a new one"):
        there.reset({0: 0})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("trouble", "message"),
    [
        ("refusal", "the counter refuses"),
        ("death", f"worker 1 of '{ENV_ID}?trouble=death' (slots 1 to 2) was lost on the cluster (ActorDiedError: "),
    ],
)
def test_trouble_in_a_worker_is_told_here_in_one_line(
    ray: Any, registered: ModuleType, spec_of: SpecOf, told_of_trouble: Trouble, trouble: str, message: str
) -> None:
    env_id = f"{ENV_ID}?trouble={trouble}"
    world = WorkerSlots(env_id, spec_of(env_id), 3, 2, Actors)
    told_of_trouble(world, message)
    with pytest.raises(LaminarError, match="is closed; make a new one"):
        world.reset({0: 0})


def test_more_workers_than_cores_are_refused(ray: Any, spec_of: SpecOf) -> None:
    with pytest.raises(LaminarError, match=r"env\.workers=ray:3 needs as many cores, the cluster has 2"):
        WorkerSlots("Hopper-v4", spec_of("Hopper-v4"), 3, 3, Actors)
