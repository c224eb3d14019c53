"""A policy as bytes, for workers that do not see the disk on which it lies."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ...errors import LaminarError
from ...policies import load_policy
from ...policies.module import PolicyModule


@dataclass(frozen=True)
class Packed:
    """The files of a saved policy, and the SHA-256 over all of them."""

    files: Mapping[str, bytes]
    digest: str

    def load(self) -> PolicyModule:
        """Load the policy.

        Raises:
            LaminarError: the bytes are not those that were packed.
        """
        if digest_of(self.files) != self.digest:
            raise LaminarError("the policy arrived at a worker damaged: its digest differs; start the evaluation again")
        with tempfile.TemporaryDirectory() as folder:
            for name, content in self.files.items():
                (Path(folder) / name).write_bytes(content)
            return load_policy(folder)


def pack(folder: str | Path) -> Packed:
    """Pack a policy: what it needs to act, and no state of a training that lies beside it.

    Raises:
        LaminarError: there is no policy, or a damaged one.
    """
    with tempfile.TemporaryDirectory() as place:
        load_policy(folder).write(Path(place))
        files = {path.name: path.read_bytes() for path in sorted(Path(place).iterdir())}
    return Packed(files, digest_of(files))


def digest_of(files: Mapping[str, bytes]) -> str:
    """Return the SHA-256 over names and contents."""
    found = hashlib.sha256()
    for name, content in sorted(files.items()):
        found.update(f"{name}\0{len(content)}\0".encode())
        found.update(content)
    return found.hexdigest()
