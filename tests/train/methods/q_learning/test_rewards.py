"""Tuned rewards: every formula on numbers worked out by hand, and what cannot be tuned."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from laminar.data.episodes import Episodes
from laminar.data.spec import Feature, Spec
from laminar.errors import LaminarError
from laminar.train.methods.q_learning.rewards import TUNINGS, tune


def make_episodes(reward: list[float], ends: list[int]) -> Episodes:
    steps, last = len(reward), np.isin(np.arange(len(reward)), np.array(ends) - 1)
    return Episodes(
        observation={"observation": np.zeros((steps, 2), np.float32)},
        final_observation={"observation": np.zeros((len(ends), 2), np.float32)},
        action=np.zeros((steps, 1), np.float32),
        reward=np.array(reward, np.float32),
        terminated=last,
        truncated=np.zeros(steps, bool),
        ends=np.array(ends),
        spec=Spec({"observation": Feature((2,))}, Feature((1,))),
    )


FORMULAS = {
    "none": [0, 1, 3, 0, 1],
    "antmaze_minus_one": [-1, 0, 2, -1, 0],
    "cql_antmaze": [-2, 2, 10, -2, 2],
    "dql_antmaze": [-0.5, 1.5, 5.5, -0.5, 1.5],
    "rebrac_antmaze": [0, 100, 300, 0, 100],
    # the returns are 4 and 1
    "iql_locomotion": [0, 1000 / 3, 1000, 0, 1000 / 3],
    "sparse": [0, -1, -1, 0, -1],
    # mean 1, variance (1 + 0 + 4 + 1 + 0) / 5
    "normalize": [-1 / 1.2**0.5, 0, 2 / 1.2**0.5, -1 / 1.2**0.5, 0],
}


@pytest.mark.parametrize("name", TUNINGS)
def test_formula(name: str) -> None:
    episodes = make_episodes([0, 1, 3, 0, 1], [3, 5])
    tuned = tune(name, episodes)
    assert tuned.dtype == np.float32
    np.testing.assert_allclose(tuned, FORMULAS[name], rtol=1e-6, atol=1e-6)
    assert episodes.reward.tolist() == [0, 1, 3, 0, 1], "evaluation and returns stay raw"


def test_every_tuning_tells_its_formula_and_source() -> None:
    assert all(tuning.__doc__ and ":" in tuning.__doc__.splitlines()[0] for tuning in TUNINGS.values())


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(LaminarError, match=r"method.reward is 'iql_locomotive' .*did you mean 'iql_locomotion'\?"):
        tune("iql_locomotive", make_episodes([0, 1], [2]))


def test_what_has_no_scale_is_refused() -> None:
    with pytest.raises(LaminarError, match=r"memory: .*iql_locomotion .* all 2 have the return 3; .* such as none"):
        tune("iql_locomotion", make_episodes([1, 2, 3], [2, 3]))
    with pytest.raises(LaminarError, match="there is one episode, with the return 3"):
        tune("iql_locomotion", make_episodes([1, 2], [2]))
    with pytest.raises(LaminarError, match=r"memory: .*normalize .* all are 2; .* such as none"):
        tune("normalize", make_episodes([2, 2, 2], [2, 3]))
    assert tune("none", make_episodes([2, 2, 2], [2, 3])).tolist() == [2, 2, 2]


def test_a_file_without_rewards_is_told_from_one_with_zeros() -> None:
    zeros = make_episodes([0, 0], [2])
    assert tune("none", zeros).tolist() == [0, 0]
    without = replace(zeros, has_reward=False, source="demos.hdf5")
    for name in TUNINGS:
        with pytest.raises(LaminarError, match=r"demos.hdf5: the file has no rewards, .*method=bc"):
            tune(name, without)
    for joined in (without.select([0]), Episodes.concatenate([zeros, without])):
        with pytest.raises(LaminarError, match="no rewards"):
            tune("none", joined)
