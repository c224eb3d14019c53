"""Which reader a bag needs."""

from __future__ import annotations

from pathlib import Path, PurePath
from typing import Any, cast

import yaml

from ...errors import LaminarError
from .bag import Bag
from .mcap_file import MAGIC, McapFile
from .ros_file import RosFile


def open_bag(path: Path) -> Bag:
    """Return the bag of a file, or of a folder with `metadata.yaml`.

    Raises:
        LaminarError: the folder's metadata name files that are not there, or are none.
    """
    if not path.is_dir():
        with path.open("rb") as stream:
            return McapFile(path) if stream.read(len(MAGIC)) == MAGIC else RosFile(path)
    about = path / "metadata.yaml"
    try:
        told: Any = yaml.safe_load(about.read_text(encoding="utf-8"))["rosbag2_bagfile_information"]
        names = [PurePath(str(name)).name for name in cast("list[Any]", told["relative_file_paths"])]
        storage, packed = told["storage_identifier"], told.get("compression_mode") or "none"
    except (OSError, yaml.YAMLError, KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
        raise LaminarError(f"{about}: is no description of a bag ({' '.join(str(error).split()):.200})") from error
    missing = [name for name in names if not (path / name).is_file()]
    if missing or not names:
        raise LaminarError(f"{about}: names {missing[0] if missing else 'no file'}, which is not there; copy it too")
    if storage == "mcap" and str(packed).lower() == "none":
        return McapFile(path, [path / name for name in names])
    return RosFile(path)
