"""Bounds beside their fields: what is refused, in which words, and what the help shows."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from omegaconf import OmegaConf

from laminar.errors import LaminarError
from laminar.settings import bounds, check, choice, number, numbers, share


@dataclass
class Inner:
    rate: float = number(0.1, above=0, most=1)
    free: float = number(0.0)
    flag: bool = False


@dataclass
class Config:
    lr: float = number(3e-4, above=0)
    depth: int = number(3, least=1)
    clip: float | None = number(1.0, above=0, null=True, infinite=True)
    count: int | None = number(None, least=2, null=True)
    part: float = share(0.5)
    decay: float = number(0.9, least=0, below=1)
    solver: str = choice("ddim", "ddim", "ddpm")
    schedule: str | None = choice(None, "cosine", "linear", null=True)
    widths: list[int] = numbers([4, 8], least=1)  # noqa: RUF009  # returns a field
    inner: Inner = field(default_factory=Inner)


def test_the_defaults_and_the_ends_of_each_interval_are_allowed() -> None:
    check(Config())
    check(Config(lr=1e-12, depth=1, clip=None, count=2, part=0.0, decay=0.0, schedule="linear", widths=[1]))
    check(Config(clip=math.inf, part=1.0, inner=Inner(rate=1.0, free=-7.0)))
    check(Config(depth=np.int64(4), lr=np.float32(0.1)))  # pyright: ignore


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lr": 0.0}, "method.lr must be above 0, got 0.0"),
        ({"lr": math.nan}, "method.lr must be above 0, got nan"),
        ({"lr": math.inf}, "method.lr must be above 0 and finite, got inf"),
        ({"lr": None}, "method.lr must be above 0, got None"),
        ({"lr": "fast"}, "method.lr must be above 0, got fast"),
        ({"lr": True}, "method.lr must be above 0, got True"),
        ({"depth": 0}, "method.depth must be at least 1, got 0"),
        ({"depth": 2.5}, "method.depth must be a whole number, at least 1, got 2.5"),
        ({"clip": -1.0}, "method.clip must be above 0, or null, got -1.0"),
        ({"count": 1}, "method.count must be at least 2, or null, got 1"),
        ({"count": 2.0}, "method.count must be a whole number, at least 2, or null, got 2.0"),
        ({"part": 1.1}, "method.part must be a share between 0 and 1, got 1.1"),
        ({"decay": 1.0}, "method.decay must be at least 0 and below 1, got 1.0"),
        ({"solver": "dimm"}, "method.solver must be ddim or ddpm, got dimm; did you mean 'ddim'?"),
        ({"solver": None}, "method.solver must be ddim or ddpm, got None"),
        ({"schedule": "x"}, "method.schedule must be cosine, linear or null, got x"),
        ({"widths": []}, "method.widths must be a list of numbers, each at least 1, got []"),
        ({"widths": [4, 0]}, "method.widths must be a list of numbers, each at least 1, got [4, 0]"),
        ({"widths": [1.5]}, "method.widths must be a list of numbers, each at least 1, got [1.5]"),
        ({"widths": 4}, "method.widths must be a list of numbers, each at least 1, got 4"),
        ({"inner": Inner(rate=2.0)}, "method.inner.rate must be above 0 and at most 1, got 2.0"),
        ({"inner": Inner(free=math.inf)}, "method.inner.free must be a finite number, got inf"),
    ],
)
def test_what_is_outside_is_refused_by_name_bound_and_value(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(LaminarError) as error:
        check(Config(**settings), "method")
    assert str(error.value) == message


def test_without_a_place_the_bare_name() -> None:
    with pytest.raises(LaminarError, match=r"^inner\.rate must be"):
        check(Config(inner=Inner(rate=0.0)))


def test_bounds_in_words() -> None:
    found = bounds(Config(), "method")
    assert found["method.lr"] == "above 0"
    assert found["method.clip"] == "above 0, or null"
    assert found["method.schedule"] == "cosine, linear or null"
    assert found["method.inner.rate"] == "above 0 and at most 1"
    assert "method.inner.flag" not in found


def test_the_classes_are_schemas_of_omegaconf() -> None:
    config = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(Config), {"widths": [2], "inner": {"rate": 0.5}}))
    assert config == Config(widths=[2], inner=Inner(rate=0.5))
    assert Config().widths is not Config().widths
