"""What tells recordings from others: sums over every number, and hashes of these and of a part of the rows.

A change of any single number changes a sum. What leaves the sum of a block alone, such as two words that change places,
is seen in every sixteenth block only. So memory is read as fast as it can be.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .episodes import Episodes
from .on_disk import is_on_disk

Array = NDArray[Any]
_WORDS = 512  # of 8 bytes in a block
_EVERY = 16  # blocks of which one is hashed as a whole
_ROWS = 64  # that stand for an array on disk, evenly spread
_NAMED_SINCE = ("robot_obs", "scene_obs")  # observations whose numbers had no names when the first digests were made


def fingerprint(episodes: Episodes) -> dict[str, Any]:
    """Return the numbers of episodes and steps and a digest of the content, whatever the files are called."""
    spec = episodes.spec.to_json()
    for key in spec["observation"].keys() & set(_NAMED_SINCE):
        spec["observation"][key]["names"] = ()
    digest = hashlib.blake2b(json.dumps(spec, sort_keys=True).encode(), digest_size=16)
    for name, array in _arrays(episodes):
        digest.update(f"{name} {array.shape} {array.dtype}".encode())
        for part in _parts(array):
            digest.update(part.data)
    return {"episodes": episodes.num_episodes, "steps": len(episodes), "digest": digest.hexdigest()}


def difference(found: Mapping[str, Any] | None, before: Mapping[str, Any]) -> str | None:
    """Tell how recordings differ from those of an earlier fingerprint; None where they do not."""
    if found is None:
        return "there are none now"
    if found["digest"] == before["digest"]:
        return None
    counts = [
        f"{found[name]} {name}, were {before[name]}" for name in ("episodes", "steps") if found[name] != before[name]
    ]
    return ", ".join(counts) or f"as many episodes and steps ({found['episodes']}, {found['steps']}), other values"


def _arrays(episodes: Episodes) -> Iterator[tuple[str, Array]]:
    for key, value in episodes.observation.items():
        yield f"observation {key}", value
        yield f"final observation {key}", episodes.final_observation[key]
    for name in ("action", "reward", "terminated", "truncated", "ends"):
        yield name, getattr(episodes, name)


def _parts(array: Array) -> Iterator[Array]:
    """Return what is hashed of an array."""
    if is_on_disk(array):
        array = np.asarray(array[np.linspace(0, len(array) - 1, min(len(array), _ROWS)).astype(np.int64)])
    flat = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    whole = len(flat) // (8 * _WORDS) * (8 * _WORDS)
    blocks = flat[:whole].view(np.uint64).reshape(-1, _WORDS)
    yield blocks.sum(axis=1)
    yield np.ascontiguousarray(blocks[::_EVERY])
    yield flat[whole:]
