"""Files of a policy: safetensors and JSON, written whole or not at all, loaded strictly, never unpickled."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ..errors import LaminarError

CHECKPOINTS = "checkpoints"


@contextmanager
def replacing(folder: str | Path) -> Generator[Path]:
    """Yield a temporary folder that becomes `folder` when the block succeeds, and vanishes when it fails.

    An older `folder` steps aside first and is removed last, so at any moment a complete one exists.

    Raises:
        LaminarError: the disk is full or not writable, or `folder` is a file; what was there before is untouched.
    """
    target = Path(folder).absolute()
    if target.is_file():
        raise LaminarError(f"{target} is a file, and a folder is to be written; choose another name")
    temporary = target.with_name(f".{target.name}.writing")
    aside = aside_of(target)
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        yield temporary
        _sync_files(temporary)
        if target.exists():
            shutil.rmtree(aside, ignore_errors=True)
            os.rename(target, aside)
        os.rename(temporary, target)
        shutil.rmtree(aside, ignore_errors=True)
    except OSError as error:
        if not target.exists() and aside.exists():
            os.rename(aside, target)
        shutil.rmtree(temporary, ignore_errors=True)
        raise LaminarError(f"cannot write {target}: {error.strerror or error}; nothing there was changed") from error
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def aside_of(folder: Path) -> Path:
    """Where `replacing` keeps the old folder for the moment between two renames."""
    return folder.with_name(f".{folder.name}.previous")


def _sync_files(folder: Path) -> None:
    """Flush to the disk before the rename, or a power cut could leave a renamed folder of empty files."""
    for path in [*folder.iterdir(), folder]:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write named tensors as safetensors; views are stored as separate tensors.

    Raises:
        OSError: the disk is full or not writable.
    """
    plain = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
    try:
        save_file(plain, path)
    except SafetensorError as error:  # the library wraps the operating system's errors
        raise OSError(f"{path.name}: {error}") from error


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file to the CPU.

    Raises:
        LaminarError: the file is missing or damaged.
    """
    if not path.is_file():
        raise LaminarError(f"{path} is missing; choose a complete checkpoint folder")
    try:
        return load_file(path)
    except SafetensorError as error:
        raise LaminarError(f"{path} is damaged ({error}); use another checkpoint") from error


def weights_hash(named: Mapping[str, Tensor]) -> str:
    """Return the first 16 hex digits of the SHA-256 over tensors, in the order of their names."""
    digest = hashlib.sha256()
    for name, value in sorted(named.items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def write_json(path: Path, value: Any) -> None:
    """Write plain values as indented JSON, whole or not at all."""
    write_text(path, json.dumps(value, indent=2) + "\n")


def write_text(path: Path, text: str) -> None:
    """Replace a file in one step: a kill leaves the old one or the new one, never a part."""
    temporary = path.with_name(f".{path.name}.writing")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        LaminarError: the file is missing or not JSON.
    """
    if not path.is_file():
        raise LaminarError(f"{path} is missing; choose a complete checkpoint folder")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise LaminarError(f"{path} is not valid JSON ({error}); use another checkpoint") from error


def read_object(path: Path) -> dict[str, Any]:
    """Read a JSON file that holds one object.

    Raises:
        LaminarError: the file is missing, not JSON, or holds something else.
    """
    stored = read_json(path)
    if not isinstance(stored, dict):
        raise LaminarError(f"{path} holds a {type(stored).__name__}, expected an object; use another checkpoint")
    return stored


@contextmanager
def rebuilding(path: Path) -> Generator[None]:
    """Name the file when what it holds, although JSON, does not describe what it should.

    Raises:
        LaminarError: instead of the block's errors about missing entries and wrong types.
    """
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RuntimeError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise LaminarError(f"{path} is damaged or of another version ({reason}); use another checkpoint") from error


def load_into(module: nn.Module, path: Path) -> None:
    """Load a safetensors file into a module; names and shapes must match exactly.

    Raises:
        LaminarError: names the file and the first tensor that is missing, unexpected or of another shape.
    """
    stored = read_tensors(path)
    check_tensors(path, stored, module.state_dict())
    module.load_state_dict(stored)


def check_tensors(path: Path, stored: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> None:
    """Compare the tensors of a file with those that they are to replace.

    Raises:
        LaminarError: names the file and the first tensor that is missing, unexpected or of another shape or type.
    """
    for name in own:
        if name not in stored:
            raise LaminarError(
                f"{path}: tensor '{name}' is missing; the checkpoint is incomplete, or of another kind or version"
            )
    for name, value in stored.items():
        if name not in own:
            raise LaminarError(f"{path}: unexpected tensor '{name}'; the checkpoint is of another configuration")
        if (value.shape, value.dtype) != (own[name].shape, own[name].dtype):
            raise LaminarError(
                f"{path}: tensor '{name}' has shape {tuple(value.shape)} and type {value.dtype}, the configuration "
                f"needs {tuple(own[name].shape)} and {own[name].dtype}"
            )


def checkpoints(run: Path) -> list[Path]:
    """Return the checkpoint folders of a run, oldest first; unfinished ones start with a dot and do not count."""
    folder = run / CHECKPOINTS
    if not folder.is_dir():
        return []
    return sorted((path for path in folder.iterdir() if path.name.startswith("step_")), key=lambda path: path.name)


def resolve_checkpoint(folder: Path, what: str = "policy") -> Path:
    """Return the folder that holds model.safetensors: the given one, or the newest checkpoint of a run.

    Args:
        folder: the one that was given.
        what: is looked for, for the message.

    Raises:
        LaminarError: there is none.
    """
    if (folder / "model.safetensors").is_file():
        return folder
    found = checkpoints(folder)
    if found:
        return found[-1]
    # A kill between the two renames of `replacing` leaves the previous folder aside.
    aside = aside_of(folder.absolute())
    if not folder.exists() and aside.is_dir():
        os.rename(aside, folder)
        return resolve_checkpoint(folder, what)
    reason = "it has no model.safetensors and no checkpoints" if folder.is_dir() else "no such folder"
    raise LaminarError(f"no {what} in {folder}: {reason}; give the out= folder of a training run or a saved {what}")
