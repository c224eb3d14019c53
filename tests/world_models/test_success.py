"""The classifier that ends dreams: what it learns, how sure it is, and where it draws the line."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from laminar.world_models.success import (
    Labelled,
    Scores,
    Success,
    SuccessConfig,
    _calibrate,  # pyright: ignore[reportPrivateUsage]
    _choose_threshold,  # pyright: ignore[reportPrivateUsage]
    learn,
    scores,
    supervised_contrast,
)

SMALL = SuccessConfig(members=2, width=16, updates=150, batch_size=64)


def rows(count: int, seed: int, gap: float) -> Labelled:
    """Return latents (count, 6) whose classes are that far apart, in deviations; every second one is imagined."""
    generator = torch.Generator().manual_seed(seed)
    success = torch.rand(count, generator=generator) < 0.3
    features = torch.randn(count, 6, generator=generator)
    features[:, 0] += gap * success
    return Labelled(features, success, torch.arange(count) % 2 == 0)


class Given(Success):
    """A classifier whose logit is the first feature."""

    def probability(self, features: Tensor) -> Tensor:
        return torch.sigmoid(features[:, 0] / self.temperature)


def given() -> Given:
    return Given(1, SMALL)


def loop(embedding: Tensor, label: Tensor, temperature: float) -> float:
    """Supervised contrast as it is written down: a mean over anchors of a mean over those of the same label."""
    unit = [(row / row.norm()).tolist() for row in embedding]
    total = 0.0
    for i, anchor in enumerate(unit):
        alike = {
            k: math.exp(math.fsum(a * b for a, b in zip(anchor, other, strict=True)) / temperature)
            for k, other in enumerate(unit)
            if k != i
        }
        same = [k for k in alike if label[k] == label[i]]
        terms = [-math.log(alike[k] / sum(alike.values())) for k in same]
        total += sum(terms) / max(len(terms), 1)
    return total / len(unit)


def test_contrast_against_a_loop() -> None:
    embedding = torch.randn(7, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    label = torch.tensor([True, True, False, True, False, False, False])
    for temperature in (0.5, 0.1):
        assert float(supervised_contrast(embedding, label, temperature)) == pytest.approx(
            loop(embedding, label, temperature)
        )
    alone = torch.tensor([True] + [False] * 6)
    assert float(supervised_contrast(embedding, alone)) == pytest.approx(loop(embedding, alone, 0.5))


def test_contrast_falls_when_labels_part() -> None:
    label = torch.arange(8) < 4
    mixed = torch.randn(8, 4, generator=torch.Generator().manual_seed(0))
    parted = torch.where(label[:, None], 1.0, -1.0) * torch.ones(8, 4) + 0.1 * mixed
    assert supervised_contrast(parted, label) < supervised_contrast(mixed, label)


def test_what_can_be_told_apart_is_learned() -> None:
    torch.manual_seed(0)
    success = learn(rows(600, 0, 8.0), rows(200, 1, 8.0), SMALL, torch.Generator().manual_seed(0))
    found = scores(success, rows(400, 2, 8.0))
    assert found.precision >= 0.97
    assert found.recall >= 0.97
    assert found.calibration_error < 0.05
    assert not any(one.requires_grad for one in success.parameters())


def test_the_same_seed_learns_the_same() -> None:
    parts = rows(200, 0, 3.0), rows(100, 1, 3.0)
    settings = SuccessConfig(members=1, width=8, updates=20, batch_size=16)
    made: list[Success] = []
    for _ in range(2):
        torch.manual_seed(0)
        made.append(learn(*parts, settings, torch.Generator().manual_seed(0)))
    assert torch.equal(made[0].probability(parts[0].features), made[1].probability(parts[0].features))


def test_the_threshold_reaches_its_precision_and_no_more() -> None:
    logit = torch.linspace(-3, 3, 400)
    features, success = logit[:, None], torch.sigmoid(logit) > 0.8  # of those above a half many are none
    held_out = Labelled(features, success, torch.ones(400, dtype=torch.bool))
    model = given()
    _choose_threshold(model, held_out, 0.93)
    chosen = float(model.threshold)
    assert scores(model, held_out).precision >= 0.93
    assert scores(model, held_out).recall == 1
    model.threshold.fill_(chosen - 0.011)
    assert scores(model, held_out).precision < 0.93, "a lower one would not"


def test_where_no_threshold_is_precise_the_best_one_is_taken_and_not_the_highest() -> None:
    """One failure that looks like the surest success: 0.99 would let nothing else count."""
    logit = torch.linspace(-4, 4, 400)
    success = torch.sigmoid(logit) > 0.7
    success[-4:] = False
    held_out = Labelled(logit[:, None], success, torch.ones(400, dtype=torch.bool))
    model = given()
    _choose_threshold(model, held_out, 0.99)
    found = scores(model, held_out)
    assert found.precision == pytest.approx(success.sum().item() / (success.sum().item() + 4), abs=0.01)
    assert found.recall > 0.98


def test_a_half_is_the_lowest_threshold() -> None:
    features = torch.linspace(-3, 3, 100)[:, None]
    held_out = Labelled(features, torch.ones(100, dtype=torch.bool), torch.ones(100, dtype=torch.bool))
    model = given()
    _choose_threshold(model, held_out, 0.95)
    assert float(model.threshold) == 0.5


@pytest.mark.parametrize("too_sure", [1.0, 3.0, 10.0])
def test_calibration_finds_how_much_too_sure_it_was(too_sure: float) -> None:
    generator = torch.Generator().manual_seed(0)
    logit = 4 * torch.rand(20_000, generator=generator) - 2
    success = torch.rand(20_000, generator=generator) < torch.sigmoid(logit)
    held_out = Labelled(too_sure * logit[:, None], success, torch.zeros(20_000, dtype=torch.bool))
    model = given()
    _calibrate(model, held_out)
    assert float(model.temperature) == pytest.approx(too_sure, rel=0.15)
    assert scores(model, held_out).calibration_error < 0.03


def test_scores_of_a_known_case() -> None:
    logits = torch.tensor([3.0, 3.0, 3.0, -3.0, -3.0])
    truth = torch.tensor([True, True, False, True, False])
    found = scores(given(), Labelled(logits[:, None], truth, truth))
    sure = 1 / (1 + math.exp(-3))
    gap = 0.6 * abs(sure - 2 / 3) + 0.4 * abs(1 - sure - 1 / 2)
    assert found == Scores(pytest.approx(2 / 3), pytest.approx(2 / 3), pytest.approx(gap))


def test_scores_that_nothing_tells_are_no_number() -> None:
    none = torch.zeros(3, dtype=torch.bool)
    found = scores(given(), Labelled(torch.full((3, 1), -3.0), none, none))
    assert math.isnan(found.precision)
    assert math.isnan(found.recall)


def test_an_ensemble_is_the_mean_of_its_members() -> None:
    torch.manual_seed(0)
    success = Success(6, SuccessConfig(members=3, width=8))
    features = torch.randn(5, 6)
    single = torch.stack([torch.sigmoid(member(features)[1]) for member in success.members])
    torch.testing.assert_close(success.probability(features), single.mean(dim=0))
    assert torch.equal(success(features), success.probability(features) >= 0.5)
