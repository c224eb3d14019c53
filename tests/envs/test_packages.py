"""Environments that need a package say which one, in which versions, and how to get it."""

from __future__ import annotations

import pytest

from laminar.envs import packages
from laminar.envs.make import make_env
from laminar.envs.suites import SUITES, suite_of
from laminar.errors import LaminarError

PUSHT, LIFT, SCENE = "gym_pusht/PushT-v0", "robosuite/Lift", "scene-singletask-v0"


@pytest.mark.parametrize(("env_id", "suite"), [(PUSHT, "pusht"), (LIFT, "robosuite"), (SCENE, "ogbench")])
def test_a_suite_needs_no_package_to_be_asked(env_id: str, suite: str) -> None:
    assert suite_of(env_id) is SUITES.module(suite)


@pytest.mark.parametrize(
    ("env_id", "found", "told"),
    [
        (PUSHT, {}, "needs gym-pusht>=0.1.8,<0.2, which is not installed: pip install 'laminar[pusht]'"),
        (PUSHT, {"gym-pusht": "0.1.8", "pymunk": "7.1.0"}, "needs pymunk<7, and 7.1.0 is installed: pip install"),
        (LIFT, {"mujoco": "3.8.1"}, "needs robosuite>=1.5.2,<1.6, which is not installed: pip install 'laminar[rob"),
        (LIFT, {"mujoco": "3.8.1", "robosuite": "1.4.1"}, "needs robosuite>=1.5.2,<1.6, and 1.4.1 is installed"),
        (LIFT, {"mujoco": "3.11.0", "robosuite": "1.5.2"}, "needs mujoco>=3.3,<3.9, and 3.11.0 is installed"),
        (SCENE, {"mujoco": "3.11.0"}, "needs ogbench>=1.2.2,<1.3, which is not installed: pip install 'laminar[ogb"),
        (SCENE, {"mujoco": "3.9.0", "ogbench": "1.2.2"}, "needs mujoco>=3.3,!=3.9.0,<3.12, and 3.9.0 is installed"),
    ],
)
def test_a_package_that_is_missing_or_of_another_release_is_named(
    env_id: str, found: dict[str, str], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packages, "_installed", found.get)
    with pytest.raises(LaminarError) as raised:
        make_env(env_id)
    assert told in str(raised.value)
    assert "\n" not in str(raised.value)
