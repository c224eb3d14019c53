"""Open demonstration files of any supported format; the format is found by looking inside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType

from ..errors import LaminarError, nearest
from ..machine import at_home
from .block_frame import in_block_frame
from .episodes import Episodes
from .formats import FORMATS
from .hdf5.file import has_signature, open_hdf5
from .named import named_data, similar_name
from .selection import EVERYTHING, EXECUTED, Selection

_OTHERS = {
    b"version https://git-lfs": "a pointer of Git LFS and not the file: git lfs pull",
    b"\x1f\x8b": "packed by gzip: gunzip it",
    b"<!doctype": "a web page and not the file: download it again",
    b"<html": "a web page and not the file: download it again",
}
"""First bytes of files that are often taken for demonstrations -> what they are, and what to do."""


def load_episodes(path: str | Path | Sequence[str | Path], selection: Selection = EVERYTHING) -> Episodes:
    """Read one file, or several of the same robot that are joined in the given order.

    Args:
        path: a file, a data set's folder, its D4RL or Minari id or name on the hub (see `named`), or a list of them.
        selection: which parts to read.

    Raises:
        LaminarError: a missing, damaged or unknown file, bad content, files that do not fit together, or a selection
            that does not fit them.
    """
    if isinstance(path, str | Path):
        file = existing_file(path)
        module = find_format(file)
        selects: Sequence[str] = getattr(module, "SELECTS", ())
        selection.check_possible(str(file), FORMATS.name_of(module), selects)
        episodes = module.read(file, selection) if selects else module.read(file)
        kept = episodes if "observation" in selects else selection.keep(episodes)
        return kept if selection.frame is None else in_block_frame(kept)
    if not path:
        raise LaminarError("no demonstration file given; set data.path to a file or a list of files")
    parts = [load_episodes(one, selection) for one in path]
    return parts[0] if len(parts) == 1 else Episodes.concatenate(parts)


def chosen_in(path: str | Path | Sequence[str | Path]) -> set[str]:
    """Return what a `Selection` can choose in all of the files, by name, beside observations."""
    if isinstance(path, str | Path):
        return set(getattr(find_format(existing_file(path)), "SELECTS", ()))
    return set.intersection(*(chosen_in(one) for one in path)) if path else set()


def as_executed(path: str | Path | Sequence[str | Path], selection: Selection) -> Selection:
    """Return a selection of actions as they were executed, unless it names others, or the files have no choice.

    They led to what was seen next, and not what should have been done: a model of the world learns from them.
    """
    return (
        replace(selection, action=EXECUTED) if selection.action is None and "action" in chosen_in(path) else selection
    )


def for_looking(path: str | Path | Sequence[str | Path], selection: Selection) -> Selection:
    """Return a selection whose pictures are decoded when they are used: looking at some is no reason to unpack all."""
    return replace(selection, video="stream") if selection.video is None and "video" in chosen_in(path) else selection


def existing_file(path: str | Path) -> Path:
    """Return the path of a readable, non-empty file (or of a dataset folder); what is no path may be a data set's name.

    Raises:
        LaminarError: it is missing, empty, or may not be read.
    """
    file = Path(at_home(str(path)))
    try:
        if file.is_dir():
            return file
        if not file.exists():
            named = named_data(str(path))
            if named is None:
                raise LaminarError(f"{file}: no such file{_similar_file(file) or similar_name(str(path))}")
            return existing_file(named)
        with file.open("rb") as stream:
            if not stream.read(1):
                raise LaminarError(f"{file}: the file is empty; record or copy it again")
    except OSError as error:
        raise LaminarError(f"{file}: cannot be read ({error.strerror}); check its permissions") from error
    return file


def find_format(path: Path) -> ModuleType:
    """Return the module of the format whose `sniff` recognizes the file; those that a user registered are asked first.

    Raises:
        LaminarError: none does, or the file is damaged.
    """
    modules = format_modules()
    for name in sorted(modules, key=lambda name: (name not in FORMATS.registered, name)):
        if modules[name].sniff(path):
            return modules[name]
    if path.is_dir():
        inside = sorted(child.name for child in path.glob("*.hdf5"))
        hint = f"; choose a file in it, such as {inside[0]}" if inside else ""
        raise LaminarError(f"{path}: a folder, not a demonstration file{hint}")
    raise LaminarError(f"{path}: not a known demonstration format ({_content(path)}); known: {', '.join(modules)}")


def format_modules() -> dict[str, ModuleType]:
    """Return format name -> module, one for every file in `formats/` and every one that a user registered."""
    return {name: FORMATS.module(name) for name in FORMATS.names()}


def _content(path: Path) -> str:
    if not has_signature(path):
        with path.open("rb") as file:
            begins = file.read(64).lstrip().lower()
        kinds = [kind for mark, kind in _OTHERS.items() if begins.startswith(mark)]
        return kinds[0] if kinds else "not HDF5"
    with open_hdf5(path) as file:
        return f"HDF5 with {file.names()[:12]}"


def _similar_file(path: Path) -> str:
    return nearest(path.name, [child.name for child in path.parent.iterdir()]) if path.parent.is_dir() else ""
