"""Arrays of one row a step: their shapes, and the type that keeps their numbers apart."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import LaminarError
from .variation import MOTION, OWN, is_rough

Array = NDArray[Any]
_FEW = 1 << 12  # values of single precision that a feature is made of
_RESOLVED = 16  # float32 steps that a move from row to row spans at least, to be told from rounding
_USUAL = 0.95  # share of the moves that count; the rest may be resets between episodes, which are few and far


def as_column(array: Array, where: str, path: Path) -> Array:
    """Return (N,) from (N,) or (N, 1).

    Raises:
        LaminarError: any other shape.
    """
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise LaminarError(f"{path}: '{where}' has shape {array.shape}, expected one number a step")
    return array


def as_rows(array: Array, where: str, path: Path) -> Array:
    """Return at least two axes (N, ...), of the type that was recorded.

    Raises:
        LaminarError: a scalar.
    """
    if array.ndim == 0:
        raise LaminarError(f"{path}: '{where}' is a single number, expected one row a step")
    return array[:, None] if array.ndim == 1 else array


def as_actions(array: Array, where: str, path: Path) -> Array:
    """Return (N, A), of the type that was recorded.

    Raises:
        LaminarError: integer (discrete) actions, or more than two axes.
    """
    if array.dtype.kind != "f":
        raise LaminarError(f"{path}: '{where}' holds {array.dtype} (discrete actions), expected floating point")
    rows = as_rows(array, where, path)
    if rows.ndim != 2 or rows.shape[1] == 0:
        raise LaminarError(f"{path}: '{where}' has shape {array.shape}, expected (steps, width)")
    return rows


def as_flags(array: Array, where: str, path: Path) -> Array:
    """Return (N,) bool from zeros and ones of any type; relabelled AntMaze files store them as floats.

    Raises:
        LaminarError: another shape, or other values.
    """
    column = as_column(array, where, path)
    if column.dtype != np.bool_ and not ((column == 0) | (column == 1)).all():
        raise LaminarError(f"{path}: '{where}' holds values other than 0 and 1")
    return column.astype(np.bool_)


def check_rows(arrays: Mapping[str, Array], path: Path) -> int:
    """Return the common number of rows.

    Raises:
        LaminarError: two arrays differ, naming both keys and both lengths.
    """
    first, steps = next((name, array.shape[0] if array.ndim else 0) for name, array in arrays.items())
    for name, array in arrays.items():
        if array.ndim == 0:
            raise LaminarError(f"{path}: '{name}' is a single number, expected one row a step")
        if len(array) != steps:
            raise LaminarError(f"{path}: '{name}' has {len(array)} rows but '{first}' has {steps}")
    return steps


def as_values(array: Array) -> Array:
    """Return numbers in single precision, bytes of pictures as they are, and double precision where single loses them.

    Positions in a map's coordinates or Unix time are large numbers that move in small steps: single precision has
    steps of half a metre at 4,500 km, and of two minutes at the time of today. Such an array stays float64.
    """
    if array.dtype == np.uint8 and array.ndim > 2:
        return array
    if loses_steps(array):
        return array.astype(np.float64)
    with np.errstate(over="ignore"):  # beyond float32 is infinite, which `Episodes` refuses with key and row
        return array.astype(np.float32, copy=False)


def loses_steps(array: Array) -> bool:
    """Tell whether some column's moves from row to row are lost in single precision."""
    exact = array.dtype.itemsize <= 2 or (array.dtype.kind == "f" and array.dtype.itemsize <= 4)
    if exact or array.dtype.kind not in "iuf" or len(array) < 2:
        return False
    flat = array.reshape(len(array), -1)
    low, high = flat.min(axis=0).astype(np.float64), flat.max(axis=0).astype(np.float64)
    magnitude = np.maximum(np.abs(low), np.abs(high))
    with np.errstate(over="ignore", invalid="ignore"):
        step = np.spacing(magnitude.astype(np.float32)).astype(np.float64)
        suspect = np.flatnonzero((low < high) & (high - low < step * 2**24) & np.isfinite(step))
    return any(_loses(flat[:, column], step[column]) for column in suspect)


def _loses(values: Array, step: float) -> bool:
    """Tell whether one column (N,) takes few values in single precision, or goes its way by moves of a few of them.

    Moves count, not the rows in between where a slow sensor holds its value, and not the few resets between episodes. A
    locked joint's noise is no loss.
    """
    values = values.astype(np.float64)
    if not (values.astype(np.float32) != values).any():
        return False
    span = values.max() - values.min()
    if span <= min(OWN * np.abs(values).max(), MOTION) and is_rough(values):
        return False
    if span < _FEW * step:
        return True
    moves = np.abs(np.diff(values))
    moves = moves[moves > 0]
    moves = moves[moves <= np.quantile(moves, _USUAL)]
    return bool(2 * moves[moves < _RESOLVED * step].sum() > moves.sum())
