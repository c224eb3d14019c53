"""Where a measured policy was loaded from: which checkpoint of which run, after how many updates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ...policies.storage import CHECKPOINTS, checkpoints, read_object, rebuilding, resolve_checkpoint

NEWEST, BEST, OLDER, SAVED = "newest checkpoint", "best checkpoint", "older checkpoint", "saved policy"


@dataclass(frozen=True)
class Origin:
    """A policy's place when it was loaded; a training that goes on may have newer ones since.

    Attributes:
        path: as it was given.
        folder: that holds the weights.
        place: what that folder is: the newest checkpoint of a run, its best one, an older one, or a saved policy.
        run: the run that it lies in; None where it lies in none.
        update: updates that it has seen; None where that is not known.
    """

    path: str
    folder: str
    place: str
    run: str | None = None
    update: int | None = None

    @classmethod
    def of(cls, path: str | Path) -> Origin:
        """Look at what a path leads to.

        Raises:
            LaminarError: there is no policy, or a damaged best.json.
        """
        folder = resolve_checkpoint(Path(path))
        run = run_of(folder)
        name = folder.absolute().name
        if (folder / "best.json").is_file():
            with rebuilding(folder / "best.json"):
                return cls(str(path), str(folder), BEST, run, int(read_object(folder / "best.json")["step"]))
        digits = name.removeprefix("step_")
        if folder.absolute().parent.name != CHECKPOINTS or not digits.isdecimal():
            return cls(str(path), str(folder), SAVED, run)
        siblings = checkpoints(folder.absolute().parent.parent)
        place = NEWEST if siblings and siblings[-1].name == name else OLDER
        return cls(str(path), str(folder), place, run, int(digits))

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)

    @classmethod
    def stored_in(cls, record: Mapping[str, Any]) -> Origin | None:
        """Rebuild what a record has under "policy"; None of a policy from memory, and in records of before."""
        stored = record.get("policy")
        return cls(**stored) if stored else None

    def __str__(self) -> str:
        """Return for example ``newest checkpoint of runs/door, after 30000 updates``."""
        of = f" of {self.run}" if self.run else ""
        return f"{self.place}{of}{'' if self.update is None else f', after {self.update} updates'}"


def run_of(folder: str | Path) -> str | None:
    """Return the run that a folder is or lies in, as a path like the given one; None where it lies in none."""
    place = Path(folder)
    for candidate in (place, *list(place.absolute().parents)[:2]):
        if (candidate / "run.json").is_file():
            return str(candidate) if candidate == place or place.is_absolute() else _as_given(place, candidate)
    return None


def _as_given(folder: Path, run: Path) -> str:
    """Return an absolute path of a run relative to where a relative folder starts, if it lies below that."""
    parents = [parent for parent in folder.parents if parent.absolute() == run]
    return str(parents[0] if parents else run)
