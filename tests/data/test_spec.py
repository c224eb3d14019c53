"""Specs refuse numbers that make no sense, and joined files keep only what holds for all."""

from dataclasses import replace

import numpy as np
import pytest

from laminar.data.episodes import Episodes
from laminar.data.spec import Feature, Spec
from laminar.errors import LaminarError

SPEC = Spec({"observation": Feature((3,))}, Feature((2,)), (-1.0, -1.0), (1.0, 1.0))


def recording(spec: Spec, info: tuple[int, ...] = (1,)) -> Episodes:
    zeros = np.zeros((4, 3), np.float32)
    flags = np.zeros(4, bool)
    return Episodes(
        observation={"observation": zeros},
        final_observation={"observation": zeros[:1]},
        action=np.full((4, 2), 0.5, np.float32),
        reward=np.zeros(4, np.float32),
        terminated=flags,
        truncated=flags,
        ends=np.array([4]),
        spec=spec,
        infos={"q": np.zeros((4, *info), np.float32)},
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"action_high": None}, "one action limit without the other"),
        ({"action_low": (-1.0,), "action_high": (1.0,)}, "1 lower and 1 upper action limits for 2 actions"),
        ({"action_low": (2.0, 2.0)}, "inverted"),
        ({"history": 0}, "history and chunk of at least 1"),
        ({"rate_hz": -5.0}, "above 0 Hz"),
    ],
)
def test_nonsense_is_refused(change: dict, message: str) -> None:
    with pytest.raises(LaminarError, match=message):
        replace(SPEC, **change)


def test_joined_files_keep_only_common_limits() -> None:
    free = replace(SPEC, action_low=None, action_high=None, rate_hz=20.0)
    for parts in ([SPEC, free], [free, SPEC]):
        joined = Episodes.concatenate([recording(spec) for spec in parts])
        assert joined.spec.action_low is None
        assert joined.spec.rate_hz == 20.0
        assert any("limits differ" in remark for remark in joined.remarks)
    assert Episodes.concatenate([recording(SPEC), recording(SPEC)]).spec == SPEC


def test_infos_of_other_shapes_are_left_out() -> None:
    joined = Episodes.concatenate([recording(SPEC, (1,)), recording(SPEC, (2,))])
    assert joined.infos == {}
    assert any("'q'" in remark for remark in joined.remarks)
