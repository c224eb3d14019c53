"""The normaliser: round trip, strictness, constant dimensions, saving."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from laminar.data.normalizer import Normalizer
from laminar.data.spec import Feature
from laminar.errors import LaminarError


def values(rows: int = 200) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "observation": (rng.normal(size=(rows, 5)) * [1e-3, 1.0, 1e3, 5.0, 2.0] + [0, 10, -1e3, 0, 1]).astype("f"),
        "camera.left/state": rng.uniform(-2, 7, size=(rows, 2, 3)).astype("f"),
    }


def tensors(arrays: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
    return {key: torch.from_numpy(array) for key, array in arrays.items()}


@pytest.mark.parametrize("mode", ["minmax", "gaussian", "identity"])
def test_round_trip_keeps_the_values(mode: str) -> None:
    raw = tensors(values())
    normalizer = Normalizer.fit(raw, mode)
    back = normalizer.inverse(normalizer(raw))
    for key, value in raw.items():
        span = value.amax(0) - value.amin(0)
        assert torch.all((back[key] - value).abs() <= 1e-5 * (span + value.abs()))


def test_minmax_fills_the_unit_range_and_gaussian_has_unit_moments() -> None:
    raw = tensors(values())
    unit = Normalizer.fit(raw, {"observation": "minmax", "camera.left/state": "gaussian"})(raw)
    torch.testing.assert_close(unit["observation"].amin(0), -torch.ones(5))
    torch.testing.assert_close(unit["observation"].amax(0), torch.ones(5))
    torch.testing.assert_close(unit["camera.left/state"].mean(0), torch.zeros(2, 3), atol=1e-5, rtol=0)
    torch.testing.assert_close(unit["camera.left/state"].std(0, correction=0), torch.ones(2, 3))


@pytest.mark.parametrize("mode", ["minmax", "gaussian"])
def test_constant_dimensions_get_scale_one_and_are_listed(mode: str) -> None:
    array = values()["observation"]
    array[:, 1], array[:, 3] = 123.456, 0.0
    array[::2, 3] = 1e-9  # rounding, not signal
    normalizer = Normalizer.fit({"observation": array}, mode)
    assert normalizer.constant == {"observation": [1, 3]}
    assert normalizer.statistic("observation", "scale")[[1, 3]].tolist() == [1.0, 1.0]
    unit = normalizer({"observation": torch.from_numpy(array)})["observation"]
    assert unit[:, 1].abs().max() == 0
    assert unit[:, 3].abs().max() < 1e-8
    assert normalizer.inverse({"observation": torch.zeros(5)})["observation"][1] == np.float32(123.456)


def test_leading_dimensions_are_free() -> None:
    normalizer = Normalizer.fit(values())
    batch = {"observation": torch.zeros(4, 7, 5), "camera.left/state": torch.zeros(2, 3)}
    assert normalizer(batch)["observation"].shape == (4, 7, 5)


def test_identity_leaves_images_alone() -> None:
    image = np.random.default_rng(0).integers(0, 255, (10, 3, 4, 4), dtype=np.uint8)
    out = Normalizer.fit({"image": image}, "identity")({"image": torch.from_numpy(image)})["image"]
    assert out.dtype == torch.uint8
    assert torch.equal(out, torch.from_numpy(image))


@pytest.mark.parametrize("direction", ["forward", "inverse"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v.pop("observation"), r"missing \['observation'\]"),
        (lambda v: v.update(extra=torch.zeros(3)), r"extra \['extra'\]"),
        (lambda v: v.update(observation=torch.zeros(2, 4)), r"'observation' should end in shape \(5,\), got \(2, 4\)"),
        (lambda v: v.update(observation=torch.tensor(1.0)), r"should end in shape \(5,\), got \(\)"),
    ],
)  # fmt: skip
def test_keys_and_widths_are_strict(direction, change, message) -> None:
    normalizer = Normalizer.fit(values())
    batch = tensors(values(2))
    change(batch)
    with pytest.raises(LaminarError, match=message):
        getattr(normalizer, direction)(batch)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_non_finite_values_are_named(bad: float) -> None:
    normalizer = Normalizer.fit(values())
    array = values()
    array["camera.left/state"][7, 1, 2] = bad
    with pytest.raises(LaminarError, match=r"'camera.left/state' is not finite at index \(7, 1, 2\)"):
        normalizer.check(tensors(array))
    with pytest.raises(LaminarError, match=r"'camera.left/state' is not finite at index \(7, 1, 2\)"):
        Normalizer.fit(array)
    normalizer.check(tensors(values()))


def test_fit_refuses_what_makes_no_sense() -> None:
    with pytest.raises(LaminarError, match=r"mode 'minmx'.*did you mean 'minmax'"):
        Normalizer.fit(values(), "minmx")
    with pytest.raises(LaminarError, match="modes are given for"):
        Normalizer.fit(values(), {"observation": "minmax"})
    with pytest.raises(LaminarError, match="no rows"):
        Normalizer.fit({"observation": np.zeros((0, 3), "f")})


def test_state_dict_round_trip_is_bit_equal_and_keys_stay_apart() -> None:
    arrays = {name: array for name, array in zip(("a.b", "a%2Eb", "a/b"), [values()["observation"]] * 3, strict=True)}
    arrays["a/b"] = arrays["a/b"] * 3
    fitted = Normalizer.fit(arrays, "gaussian")
    empty = Normalizer.from_config(fitted.config())
    assert torch.isnan(empty(tensors(arrays))["a.b"]).all()
    empty.load_state_dict(fitted.state_dict(), strict=True)
    raw = tensors(arrays)
    for key, value in fitted(raw).items():
        assert torch.equal(value, empty(raw)[key])
    assert empty.constant == fitted.constant
    assert empty.config() == {key: {"mode": "gaussian", "shape": [5]} for key in arrays}


@pytest.mark.parametrize("mode", ["minmax", "gaussian"])
@pytest.mark.parametrize("bound", [0.0, 0.5, 1.0])
def test_a_bound_leaves_what_was_fitted_and_holds_what_is_further_out(mode: str, bound: float) -> None:
    raw = tensors(values())
    free, held = Normalizer.fit(raw, mode), Normalizer.fit(raw, mode, bound=bound)
    for key, value in free(raw).items():
        assert torch.equal(held(raw)[key], value)
        low, high = raw[key].amin(0), raw[key].amax(0)
        wider = bound * (high - low) / 2
        inside = {other: raw[other][:1] for other in raw} | {key: (high + 0.99 * wider)[None]}
        torch.testing.assert_close(held(inside)[key], free(inside)[key], rtol=1e-5, atol=1e-6)
        for edge, far in ((low - wider, low - 1e6), (high + wider, high + 1e6)):
            outside = {other: raw[other][:1] for other in raw} | {key: far[None]}
            at_edge = {other: raw[other][:1] for other in raw} | {key: edge[None]}
            torch.testing.assert_close(held(outside)[key], free(at_edge)[key], rtol=1e-5, atol=1e-6)


def test_a_bound_is_part_of_what_is_saved_and_of_old_it_was_none() -> None:
    fitted = Normalizer.fit(values(), "gaussian", bound=0.5)
    far = {key: value * 100 for key, value in tensors(values(2)).items()}
    again = Normalizer.from_config(fitted.config())
    again.load_state_dict(fitted.state_dict())
    assert torch.equal(again(far)["observation"], fitted(far)["observation"])
    old = Normalizer.from_config({key: {"mode": "gaussian", "shape": list(one.shape[1:])} for key, one in far.items()})
    old.load_state_dict(Normalizer.fit(values(), "gaussian").state_dict())
    assert old(far)["observation"].abs().max() > 50


@pytest.mark.parametrize("mode", ["minmax", "gaussian"])
@pytest.mark.parametrize(("place", "step"), [(4.5e6, 0.01), (1.7e9, 1e-3), (-2.4e10, 1e-4)])
def test_double_precision_keeps_its_digits(place: float, step: float, mode: str) -> None:
    rng = np.random.default_rng(0)
    raw = place + np.cumsum(step * rng.integers(-3, 4, size=(2000, 2)), axis=0)
    features = {"state": Feature((2,), "float64")}
    normalizer = Normalizer.fit({"state": raw}, mode, features, floor=True, bound=1.0)
    assert normalizer.constant == {}
    unit = normalizer({"state": torch.from_numpy(raw)})["state"]
    assert unit.dtype == torch.float32
    assert len(unit[:, 0].unique()) > 0.99 * len(np.unique(raw[:, 0])) > 10
    assert len(np.unique(raw[:, 0].astype("f"))) < 0.5 * len(np.unique(raw[:, 0])), "single precision would not do"
    back = normalizer.inverse({"state": unit})["state"]
    torch.testing.assert_close(back, torch.from_numpy(raw), rtol=0, atol=step / 10)
    again = Normalizer.from_config(normalizer.config())
    again.load_state_dict(normalizer.state_dict())
    assert torch.equal(again({"state": torch.from_numpy(raw)})["state"], unit)
    assert again.statistic("state", "offset").dtype == torch.float64


def test_a_dimension_that_hardly_varies_is_constant_where_it_is_asked_for() -> None:
    array = values()["observation"]
    array[:, 1] = 1.569 + 1e-5 * np.random.default_rng(1).normal(size=len(array))
    features = {"observation": Feature((5,))}
    asked = Normalizer.fit({"observation": array}, "gaussian", features, floor=True)
    assert asked.constant == {"observation": [1]}
    elsewhere = torch.from_numpy(array[:1] + np.float32(0.05))
    assert asked({"observation": elsewhere})["observation"][0, 1] == pytest.approx(0.05, abs=1e-3)
    left = Normalizer.fit({"observation": array}, "gaussian", features)
    assert left.constant == {}
    assert left({"observation": elsewhere})["observation"][0, 1] > 1000


def test_forward_compiles_into_one_graph() -> None:
    normalizer = Normalizer.fit(values())
    raw = tensors(values(3))
    compiled = torch.compile(normalizer, fullgraph=True, backend="eager")(raw)
    for key, value in normalizer(raw).items():
        assert torch.equal(value, compiled[key])


def test_some_of_its_keys_have_the_same_statistics() -> None:
    rng = np.random.default_rng(0)
    values = {"arm": rng.normal(3, 2, (50, 3)), "seen.by": rng.normal(0, 9, (50, 2)), "told": np.zeros((1, 2))}
    modes = {"arm": "gaussian", "seen.by": "minmax", "told": "identity"}
    whole = Normalizer.fit(values, modes, bound=0.5)
    some = whole.only(["seen.by", "arm"])
    row = {"arm": torch.full((2, 3), 40.0), "seen.by": torch.ones(2, 2)}
    wanted = whole({**row, "told": torch.zeros(2, 2)})
    assert all(torch.equal(value, wanted[key]) for key, value in some(row).items())
    assert some.config() == {key: whole.config()[key] for key in ("seen.by", "arm")}
    assert whole.only(["told", "arm", "seen.by"]) is whole
    with pytest.raises(LaminarError, match=r"extra \['told'\]"):
        some({**row, "told": torch.zeros(2, 2)})
