"""What runs leave behind, to be compared."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from laminar.policies.storage import checkpoints


def rows(run: Path) -> list[dict[str, float]]:
    """Return the rows of a run's log."""
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def final(run: Path) -> dict[str, Any]:
    """Return everything that the last checkpoint holds."""
    last = checkpoints(run)[-1]
    return {
        f"{file.name}/{name}": value
        for file in sorted(last.glob("*.safetensors"))
        for name, value in load_file(file).items()
    }


def assert_same(one: dict[str, Any], other: dict[str, Any]) -> None:
    """Compare what `final` returned of two runs, to the bit."""
    assert one.keys() == other.keys()
    for name, value in one.items():
        np.testing.assert_array_equal(value, other[name], err_msg=name)
