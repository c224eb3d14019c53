"""What may be written over: nothing that was not written by the same verb, unless the user says so.

It is asked before any work is done, not when the results of an hour have no place to go.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from .errors import LaminarError


@dataclass(frozen=True)
class Written:
    """What a verb writes into a folder.

    Attributes:
        record: JSON file that tells that the others are the verb's own.
        keys: entries of it; one of them makes it the verb's.
        others: further files; names with a "*" are patterns, for those that are there.
    """

    record: str
    keys: tuple[str, ...]
    others: tuple[str, ...] = ()


def check_folder(folder: str | Path, verb: str, written: Written, overwrite: bool) -> Path:
    """Return a folder that a verb may write into.

    Raises:
        LaminarError: it is a file, or it holds a file that would be written over and is read-only or of someone else.
    """
    folder = Path(folder)
    if os.path.lexists(folder) and not folder.is_dir():
        raise LaminarError(f"out={folder} is a file; laminar {verb} writes a folder")
    own = _is_record(folder / written.record, written.keys)
    names = [folder / name for name in (written.record, *written.others)]
    files = [file for name in names for file in (sorted(folder.glob(name.name)) if "*" in name.name else [name])]
    check_files(files, own or overwrite, f"laminar {verb} did not write it")
    return folder


def check_files(files: Iterable[Path], may: bool, why: str = "", setting: str = "out") -> None:
    """Refuse to write over files that exist.

    Args:
        files: that are to be written.
        may: they may be written over; read-only ones and folders never are.
        why: else.
        setting: what names them.

    Raises:
        LaminarError: names the first such file.
    """
    for file in files:
        if not os.path.lexists(file):
            continue
        if file.is_dir():
            raise LaminarError(f"{file} is a folder, and a file is to be written; choose another {setting}=")
        if not may:
            reason = f", and {why}" if why else " already"
            raise LaminarError(
                f"{file} exists{reason}; choose another {setting}=, or give overwrite=true to replace it"
            )
        if not file.is_symlink() and not file.stat().st_mode & stat.S_IWUSR:
            raise LaminarError(f"{file} is read-only and stays as it is; remove it, or choose another {setting}=")


def check_replaced(folder: Path, own: Collection[str], what: str) -> None:
    """Refuse to replace a folder as a whole that holds more than what is known of its kind.

    Args:
        folder: may be missing or empty.
        own: names in a folder of this kind; the first is in all of them.
        what: the kind.

    Raises:
        LaminarError: the folder is of another kind, or something was put beside its files, which would vanish.
    """
    inside = sorted(os.listdir(folder)) if folder.is_dir() else []
    if inside and next(iter(own)) not in inside:
        raise LaminarError(f"{folder} holds something else than {what}; choose a new folder")
    others: Sequence[str] = [name for name in inside if name not in own]
    if others:
        raise LaminarError(
            f"{folder} holds {others[0]} beside {what}, and would be replaced as a whole; choose a new folder"
        )


def _is_record(path: Path, keys: Sequence[str]) -> bool:
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(stored, dict) and any(key in stored for key in keys)
