"""What lies in a zarr store, without zarr: the arrays and groups, their metadata, and the files that they are made of.

A store is a folder or a zip archive of one. Version 2 describes an array in `.zarray` and a group in `.zgroup`,
version 3 both in `zarr.json`.
"""

from __future__ import annotations

import json
import os
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ...errors import LaminarError

_ZIP = b"PK\x03\x04"
_LARGEST = 1 << 24  # bytes of one description
_ENDS = "meta/episode_ends"
_V2, _V3 = ".zarray", "zarr.json"


@dataclass(frozen=True)
class Files:
    """The files of a store, by their names in it.

    Attributes:
        path: folder or archive.
        top: what all names begin with, where the archive has a folder around the store.
    """

    path: Path
    top: str = ""

    @cached_property
    def names(self) -> list[str]:
        """Names of all files, sorted."""
        if self.path.is_dir():
            return sorted(_walk(self.path))
        try:
            with zipfile.ZipFile(self.path) as archive:
                found = archive.namelist()
        except (OSError, ValueError, zipfile.BadZipFile) as error:
            raise LaminarError(f"{self.path}: cut off or damaged zip archive ({error}); copy it again") from error
        return sorted(name[len(self.top) :] for name in found if name.startswith(self.top) and name[-1:] != "/")

    def json(self, name: str) -> dict[str, Any]:
        """Return a description.

        Raises:
            LaminarError: it is damaged.
        """
        try:
            stored = json.loads(self._bytes(name).decode("utf-8"))
        except (OSError, ValueError, EOFError, RecursionError, zlib.error, zipfile.BadZipFile) as error:
            raise LaminarError(f"{self.path}: '{name}' is damaged ({error}); copy it again") from error
        if not isinstance(stored, dict):
            raise LaminarError(f"{self.path}: '{name}' does not describe anything; copy it again")
        return stored

    def _bytes(self, name: str) -> bytes:
        if self.path.is_dir():
            with (self.path / name).open("rb") as file:
                return file.read(_LARGEST)
        with zipfile.ZipFile(self.path) as archive, archive.open(self.top + name) as file:
            return file.read(_LARGEST)

    def arrays(self) -> list[str]:
        """Return the names of all arrays, sorted."""
        v2 = [name[: -len(_V2) - 1] for name in self.names if name.endswith(f"/{_V2}")]
        return sorted([*v2, *(name for name, one in self._nodes.items() if one.get("node_type") == "array")])

    @cached_property
    def _nodes(self) -> dict[str, dict[str, Any]]:
        """Arrays and groups of version 3, by their names."""
        found = [name for name in self.names if name == _V3 or name.endswith(f"/{_V3}")]
        return {name[: -len(_V3)].rstrip("/"): self.json(name) for name in found}

    @property
    def version(self) -> int:
        """Version of the format, 2 or 3."""
        return 3 if self._nodes else 2

    def description(self, array: str) -> dict[str, Any]:
        """Return the metadata of an array."""
        return self._nodes[array] if array in self._nodes else self.json(f"{array}/{_V2}")

    def attributes(self) -> dict[str, dict[str, Any]]:
        """Return the attributes of all arrays and groups that have some; "" is the root."""
        v2 = {name[: -len(".zattrs")].rstrip("/"): self.json(name) for name in self.names if _is_v2(name)}
        v3 = {name: one.get("attributes") or {} for name, one in self._nodes.items()}
        return {name: found for name, found in (v2 | v3).items() if found}

    def beginnings(self, array: str, count: int) -> Iterator[tuple[str, bytes, int]]:
        """Yield name, first bytes and size of every chunk of an array."""
        begin = f"{array}/"
        names = [name for name in self.names if name.startswith(begin) and not name.endswith((_V2, _V3, ".zattrs"))]
        if self.path.is_dir():
            for name in names:
                with (self.path / name).open("rb") as file:
                    yield name, file.read(count), os.fstat(file.fileno()).st_size
            return
        with zipfile.ZipFile(self.path) as archive:
            for name in names:
                with archive.open(self.top + name) as file:
                    yield name, file.read(count), archive.getinfo(self.top + name).file_size

    def of(self, array: str) -> list[Path]:
        """Return the files that an array is made of; of an archive, the archive."""
        if not self.path.is_dir():
            return [self.path]
        return [self.path / name for name in self.names if name.startswith(f"{array}/")]


def find_store(path: Path) -> Files | None:
    """Return the files of a store of a replay buffer, None where there is none."""
    if path.is_dir():
        inside = path / "meta" / "episode_ends"
        return Files(path) if (inside / _V2).is_file() or (inside / _V3).is_file() else None
    with path.open("rb") as file:
        if file.read(len(_ZIP)) != _ZIP:
            return None
    try:
        with zipfile.ZipFile(path) as archive:
            found = [name for name in archive.namelist() if name.endswith((f"{_ENDS}/{_V2}", f"{_ENDS}/{_V3}"))]
    except (OSError, ValueError, zipfile.BadZipFile):
        return None
    top = found[0].rpartition(_ENDS)[0] if found else ""
    return Files(path, top) if len(found) == 1 else None


def _walk(folder: Path) -> Iterator[str]:
    for place, _, names in os.walk(folder):
        below = os.path.relpath(place, folder).replace(os.sep, "/")
        yield from (name if below == "." else f"{below}/{name}" for name in names)


def _is_v2(name: str) -> bool:
    return name == ".zattrs" or name.endswith("/.zattrs")
