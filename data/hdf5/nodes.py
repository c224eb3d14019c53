"""What the objects of an HDF5 file are."""

from __future__ import annotations

from typing import Any


def is_array(node: Any) -> bool:
    """Tell whether it is a dataset."""
    import h5py

    return isinstance(node, h5py.Dataset)


def is_group(node: Any) -> bool:
    """Tell whether it is a group."""
    import h5py

    return isinstance(node, h5py.Group)


def is_numeric(node: Any) -> bool:
    """Tell whether a dataset holds numbers.

    Raises:
        RuntimeError: its type is damaged; `open_hdf5` reports it.
    """
    try:
        return node.dtype.kind in "biuf"
    except (ValueError, TypeError) as error:
        raise RuntimeError(f"a type is damaged or not known here: {error}") from error
