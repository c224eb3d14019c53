"""Policies on robots: what serves them, and what runs them at a steady rate.

    laminar serve policy.path=runs/clone

Nothing here learns; this room stands beside `train/` and knows nothing of it.
"""

from __future__ import annotations

from importlib.util import find_spec

from ..errors import LaminarError

_NEEDED = ("websockets", "msgpack", "cbor2", "rosbags")
_MISSING = [package for package in _NEEDED if find_spec(package) is None]

if _MISSING:
    raise LaminarError(f"laminar.deploy needs {', '.join(_MISSING)}: pip install 'laminar[deploy]'")
