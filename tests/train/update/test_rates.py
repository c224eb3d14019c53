"""Learning rates and averages of weights, from update to update."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest

from laminar.train.update.rates import cosine, ema_decay, warmup_cosine


def test_learning_rate_warms_up_then_follows_a_cosine() -> None:
    shares = [warmup_cosine(step, 110, warmup=10, final=0.1) for step in range(111)]
    assert shares[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert shares[10] == pytest.approx(1.0)
    middle = 0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * 0.5))
    assert shares[60] == pytest.approx(middle)
    assert shares[110] == pytest.approx(0.1)
    assert all(later <= earlier for earlier, later in pairwise(shares[10:]))
    assert warmup_cosine(500, 110, 10, 0.1) == pytest.approx(0.1), "it stays down beyond the end"


def test_learning_rate_without_warmup_or_cosine() -> None:
    assert warmup_cosine(0, 10, warmup=0, final=0.0) == 1.0
    assert warmup_cosine(9, 10, warmup=0, final=1.0) == 1.0
    assert warmup_cosine(3, 4, warmup=10, final=0.0) == pytest.approx(0.4), "a run shorter than its warm-up"


def test_cosine_without_warmup_is_the_same_curve() -> None:
    assert [cosine(step / 8, 0.2) for step in range(9)] == [warmup_cosine(step, 8, 0, 0.2) for step in range(9)]


def test_ema_decay_warms_up() -> None:
    decays = [ema_decay(step, 0.999, 0.75) for step in range(100_000)]
    assert decays[0] == 0.0, "the first update forgets the random start"
    assert decays[15] == pytest.approx(1 - 16**-0.75)
    assert decays == sorted(decays)
    assert decays[-1] == 0.999
