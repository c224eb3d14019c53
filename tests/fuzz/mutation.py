"""Damage: bytes in, other bytes out, the same ones for the same seed."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

# Where lengths, counts and types turn over, for 1, 2, 4 and 8 bytes; and what stands for "not given" in HDF5.
BOUNDARIES = [0, 1, 2, 3, 7, 8, 16, 127, 128, 255]
BOUNDARIES += [(1 << bits) + offset for bits in (8, 15, 16, 24, 31, 32, 40, 62, 63, 64) for offset in (-1, 0)]
VALUES: list[Any] = [
    None,
    True,
    False,
    -1,
    0,
    1,
    2,
    0.5,
    1e-300,
    1e308,
    float("nan"),
    float("inf"),
    10**9,
    2**63,
    10**30,
]
VALUES += ["", "x", "é\n", "0", "mlp", "../..", [], [[]], {}, [0], [1, 2, 3], {"name": "x"}, [None], "a" * 1000]


def mutate(data: bytes, source: random.Random, is_json: bool = False) -> bytes:
    """Return damaged bytes; of JSON, half of the time a tree of which one node is another, which is JSON still."""
    if is_json and source.random() < 0.5:
        return _mutate_tree(data, source)
    damaged = bytearray(data)
    for _ in range(source.choice((1, 1, 1, 2, 4))):
        source.choice(_DAMAGES)(damaged, source)
    return bytes(damaged)


def _place(data: bytearray, source: random.Random) -> int:
    return source.randrange(len(data) + 1)


def _span(data: bytearray, source: random.Random) -> slice:
    at = _place(data, source)
    return slice(at, min(len(data), at + source.choice((1, 2, 4, 8, 16, 64, 256, 1024))))


def _flip(data: bytearray, source: random.Random) -> None:
    for _ in range(source.choice((1, 1, 2, 8))):
        if data:
            data[source.randrange(len(data))] ^= 1 << source.randrange(8)


def _overwrite(data: bytearray, source: random.Random) -> None:
    span = _span(data, source)
    data[span] = source.randbytes(span.stop - span.start)


def _cut(data: bytearray, source: random.Random) -> None:
    del data[_place(data, source) :]


def _zero(data: bytearray, source: random.Random) -> None:
    span = _span(data, source)
    data[span] = bytes([source.choice((0, 255))]) * (span.stop - span.start)


def _remove(data: bytearray, source: random.Random) -> None:
    del data[_span(data, source)]


def _insert(data: bytearray, source: random.Random) -> None:
    at = _place(data, source)
    data[at:at] = source.randbytes(source.choice((1, 2, 4, 8, 64)))


def _repeat(data: bytearray, source: random.Random) -> None:
    at = _place(data, source)
    data[at:at] = data[_span(data, source)] * source.choice((1, 1, 2, 50))


def _swap(data: bytearray, source: random.Random) -> None:
    one, other = _span(data, source), _span(data, source)
    data[one], data[other] = data[other], data[one]


def _number(data: bytearray, source: random.Random) -> None:
    size = source.choice((1, 2, 4, 8))
    if len(data) >= size:
        at = source.randrange(len(data) // size) * size
        value = source.choice(BOUNDARIES) % (1 << 8 * size)
        data[at : at + size] = value.to_bytes(size, source.choice(("little", "little", "big")))


_DAMAGES: list[Callable[[bytearray, random.Random], None]] = [
    *[_flip] * 3,
    *[_number] * 3,
    *[_overwrite] * 2,
    _cut,
    _zero,
    _remove,
    _insert,
    _repeat,
    _swap,
]


def _mutate_tree(data: bytes, source: random.Random) -> bytes:
    tree = {"": json.loads(data)}
    owners = _owners(tree)
    owner, key = owners[source.randrange(len(owners))]
    how = source.random()
    if how < 0.2:
        del owner[key]
    elif how < 0.3 and isinstance(owner, dict):
        owner[f"{key}x"] = owner.pop(key)
    elif how < 0.4:
        other, place = owners[source.randrange(len(owners))]
        owner[key] = json.loads(json.dumps(other[place])) if place in _keys(other) else None
    elif how < 0.5 and isinstance(owner[key], int | float):
        owner[key] = owner[key] * source.choice((-1, 0.5, 10, 1000, 10**6))
    else:
        owner[key] = source.choice(VALUES)
    return json.dumps(tree.get("")).encode()


def _keys(owner: Any) -> list[Any]:
    return list(owner) if isinstance(owner, dict) else list(range(len(owner)))


def _owners(owner: Any) -> list[tuple[Any, Any]]:
    """Return every node below, as what holds it and its key."""
    found = [(owner, key) for key in _keys(owner)]
    return found + [pair for key in _keys(owner) if isinstance(owner[key], dict | list) for pair in _owners(owner[key])]
