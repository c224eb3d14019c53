"""What an environment measures of an episode besides: asked for once, checked, averaged, kept."""

from __future__ import annotations

from typing import Any, cast

import gymnasium
import pytest

from laminar.envs.figures import episode_figures
from laminar.errors import LaminarError
from laminar.eval.results.result import Episode, Result


class _Measures(gymnasium.Env[Any, Any]):
    def __init__(self, told: Any) -> None:
        self.told = told

    def episode_figures(self) -> Any:
        return self.told


def test_an_environment_without_any_has_none() -> None:
    assert episode_figures(cast(Any, gymnasium.Env()), "some") == {}
    odd = _Measures({})
    odd.episode_figures = 3  # type: ignore[method-assign, assignment]
    assert episode_figures(odd, "some") == {}


def test_numbers_are_taken() -> None:
    assert episode_figures(_Measures({"reached": 1, "share": 0.25}), "some") == {"reached": 1.0, "share": 0.25}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "much", None])
def test_what_is_no_number_is_refused(value: Any) -> None:
    with pytest.raises(
        LaminarError, match=r"'some' says that 'share' of an episode is .*; it has to be a finite number"
    ):
        episode_figures(_Measures({"share": value}), "some")


def test_figures_are_means_of_all_episodes() -> None:
    episodes = [Episode(seed, 0.0, 5, None, figures={"share": seed / 4}) for seed in range(4)]
    result = Result("some", episodes)
    assert result.figures["share"].mean == pytest.approx(0.375)
    assert result.figures["share"].low < 0.375 < result.figures["share"].high
    assert "share 0.375" in result.summary()
    assert Result.from_json(result.to_json()).episodes == episodes


def test_records_of_before_have_none() -> None:
    stored = Result("some", [Episode(0, 0.0, 5, None)]).to_json()
    assert stored.pop("figures") == {}
    assert "figures" not in stored["episodes"][0]
    assert Result.from_json(stored).figures == {}


def test_a_figure_that_one_episode_lacks_is_no_mean() -> None:
    episodes = [Episode(0, 0.0, 5, None, figures={"share": 0.5}), Episode(1, 0.0, 5, None)]
    assert Result("some", episodes).figures == {}
