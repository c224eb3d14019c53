"""A folder that is written as a whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Generator
from contextlib import contextmanager
from pathlib import Path

from ..errors import LaminarError
from ..overwriting import check_replaced


@contextmanager
def whole_folder(target: Path, own: Collection[str], what: str) -> Generator[Path]:
    """Give a hidden folder to write into, beside the target, which it becomes at the end.

    Args:
        target: a folder that may be missing, or one of the same kind, which is replaced.
        own: names in a folder of this kind; the first is in all of them.
        what: the kind, for messages.

    Raises:
        LaminarError: the target is something else, or the disk is full; then the target is as it was.
    """
    check_replaced(target, own, what)
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    former = target.with_name(f".{target.name}.{os.getpid()}.former")
    try:
        partial.mkdir(parents=True)
        yield partial
        if target.exists():
            os.replace(target, former)
        os.replace(partial, target)
    except OSError as error:
        reason = error.strerror or " ".join(str(error).split())
        raise LaminarError(f"{target}: cannot be written ({reason}); nothing was replaced") from error
    finally:
        if former.exists() and not target.exists():
            os.replace(former, target)
        for folder in (partial, former):
            shutil.rmtree(folder, ignore_errors=True)
