"""What lies in a data set and nobody reads, or says twice in different words."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..packing import CACHE
from .info import BOOKKEEPING, INFO, Info

if TYPE_CHECKING:
    from .columns import Rows
    from .listing import Listing

_SHOWN = 12
_DRIFT = 1e-3  # seconds between a timestamp and frame_index / fps that rounding does not explain
_TOP = {"meta", "data", "videos", "images", "README.md", ".gitattributes", ".gitignore", ".git", ".cache", CACHE}
_META = {
    "info.json",
    "stats.json",
    "tasks.jsonl",
    "episodes.jsonl",
    "episodes_stats.jsonl",
    "tasks.parquet",
    "episodes",
}


def account(info: Info, listing: Listing, rows: Rows, used: Sequence[str]) -> list[str]:
    """Return remarks on all that is there and was not used, and on what does not agree but decides nothing."""
    left = [key for key in info.features if key not in (*used, *BOOKKEEPING)]
    words = [key for key in left if not key.startswith("observation")]
    unchosen = [key for key in left if key not in words]
    remarks = [f"not read, features: {', '.join(words)}"] if words else []
    if unchosen and set(used) & set(info.features):
        remarks.append(f"not asked for, observations: {', '.join(unchosen)}")
    if rows.unknown:
        remarks.append(f"not read, columns that {INFO} does not describe: {', '.join(rows.unknown)}")
    if info.unread:
        remarks.append(f"not read, entries of {INFO}: {', '.join(info.unread)}")
    others = sorted({*os.listdir(info.folder)} - _TOP)
    others += sorted(f"meta/{name}" for name in {*os.listdir(info.folder / "meta")} - _META)
    if others:
        more = f" and {len(others) - _SHOWN} more" if len(others) > _SHOWN else ""
        remarks.append(f"not read, files: {', '.join(others[:_SHOWN])}{more}")
    if info.robot:
        remarks.append(f"recorded with the robot '{info.robot}'")
    if len(info.splits) > 1:
        remarks.append(f"the splits {', '.join(info.splits)} are read together; data.validation holds episodes back")
    return remarks + _disagreements(info, listing, rows)


def _disagreements(info: Info, listing: Listing, rows: Rows) -> list[str]:
    remarks: list[str] = []
    starts = np.append(0, rows.ends[:-1])
    if listing.first is not None and not np.array_equal(listing.first, starts):
        count = int((listing.first != starts).sum())
        remarks.append(f"'dataset_from_index' is wrong for {count} episodes: 'episode_index' tells where they begin")
    if "timestamp" in rows.values:  # of an episode's own clock: differences over its end mean nothing
        apart = np.abs(rows.values["timestamp"].astype(np.float64) - rows.frame / info.rate_hz)
        late = apart > _DRIFT
        if late.any():
            remarks.append(
                f"'timestamp' is up to {apart.max():.3g} s from frame_index / fps in {int(late.sum())} rows; "
                "frame_index / fps counts"
            )
    return remarks
