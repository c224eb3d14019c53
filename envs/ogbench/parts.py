"""Finished episodes of a recording, kept until all are there."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from ...data import npz
from ...errors import LaminarError

Array = NDArray[Any]
Job = tuple[int, int]
"""Set (0 for training, 1 for validation) and number of an episode."""
_SETS = ("training", "validation")
_SETTINGS = "settings.json"


class Parts:
    """Finished episodes in a folder, one a file.

    Attributes:
        folder: that goes when all is done.
    """

    def __init__(self, folder: Path, said: dict[str, Any]) -> None:
        """Make the folder, or go on with one of which the same was said.

        Raises:
            LaminarError: it is of another recording, or something else.
        """
        self.folder = folder
        settings = folder / _SETTINGS
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if not any(folder.iterdir()):
                settings.write_text(json.dumps(said, indent=2), encoding="utf-8")
            found = json.loads(settings.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise LaminarError(f"{folder}, for finished episodes, cannot be used ({error}); remove it") from error
        if found != said:
            raise LaminarError(
                f"{folder} holds episodes of another recording ({found} and not {said}); remove it, or choose another "
                "out="
            )

    def file(self, job: Job) -> Path:
        """Return where an episode lies."""
        return self.folder / f"{_SETS[job[0]]}-{job[1]:06}.npz"

    def add(self, job: Job, episode: dict[str, Array]) -> None:
        """Keep a finished episode."""
        file = self.file(job)
        partial = file.with_suffix(".partial")
        try:
            npz.write(partial, episode)
            os.replace(partial, file)
        except OSError as error:
            raise LaminarError(f"{file}: cannot be written ({error.strerror}); the episodes before are kept") from error
