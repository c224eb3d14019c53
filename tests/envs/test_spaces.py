"""What other people's environments show: scalars, nested dictionaries, and what no policy can see."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from laminar.data.spec import Feature, Spec
from laminar.envs import env_spec, make_env
from laminar.envs.fitting import fit_env
from laminar.envs.slots import Slots
from laminar.envs.workers import WorkerSlots
from laminar.errors import LaminarError


def spec_of(env_id: str) -> Spec:
    env = make_env(env_id)
    try:
        return env_spec(env)
    finally:
        env.close()


@pytest.mark.parametrize("name", ["Scalar", "Mixed"])
def test_a_scalar_is_a_vector_of_one_number(strangers: str, name: str) -> None:
    env = make_env(f"strangers:{name}-v0")
    spec = env_spec(env)
    shown = env.reset(seed=0)[0]
    key = {"Scalar": "observation", "Mixed": "height"}[name]
    value = shown[key] if isinstance(shown, dict) else shown
    assert spec.observation[key].shape == (1,)
    assert np.shape(value) == (1,)
    assert env.observation_space.contains(shown)


def test_scalars_and_nested_entries_arrive(strangers: str) -> None:
    env_id = "strangers:Mixed-v0"
    spec = spec_of(env_id)
    assert {key: one.shape for key, one in spec.observation.items()} == {
        **{"height": (1,), "arm/joints": (3,), "arm/grip": (1,)},
    }
    for world in (Slots(env_id, spec, 2), WorkerSlots(env_id, spec, 2, 2)):
        shown = world.reset({0: 0, 1: 1})
        np.testing.assert_array_equal(shown["height"][:, 0], shown["arm/joints"][:, 0])
        assert shown["arm/grip"].tolist() == [[0.5], [0.5]]
        assert world.unseen == ("gear", "mission")
        world.close()


@pytest.mark.parametrize(("key", "kind"), [("mission", "Text"), ("gear", "Discrete")])
def test_a_policy_cannot_see_what_is_no_array(strangers: str, key: str, kind: str) -> None:
    wanted = replace(spec_of("strangers:Mixed-v0"), observation={key: Feature((1,))})
    with pytest.raises(LaminarError, match=f"observation '{key}' of .*Mixed-v0' is a {kind}; only arrays.*wrapper"):
        fit_env("strangers:Mixed-v0", wanted)


@pytest.mark.parametrize(("name", "kind"), [("Pair", "Tuple"), ("Gears", "Discrete")])
def test_without_any_array_the_remedy_is_told(strangers: str, name: str, kind: str) -> None:
    with pytest.raises(LaminarError, match=f"is a {kind}; only arrays .* are supported: register .* wrapper") as caught:
        make_env(f"strangers:{name}-v0")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("env_id", ["PointMaze_UMaze-v3", "strangers:Uneven-v0"])
def test_a_policy_may_see_a_part(strangers: str, env_id: str) -> None:
    whole = spec_of(env_id)
    first = next(iter(whole.observation))
    fitted = fit_env(env_id, replace(whole, observation={first: whole.observation[first]}))
    fitted.env.close()
    assert list(fitted.spec.observation) == [first]
    assert fitted.unseen == tuple(sorted(whole.observation.keys() - {first}))
    with pytest.raises(LaminarError, match="needs observation 'force', which environment") as caught:
        fit_env(env_id, replace(whole, observation={"force": Feature((3,))}))
    assert all(key in str(caught.value) for key in whole.observation), "all that there is is named"
