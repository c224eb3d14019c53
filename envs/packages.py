"""Packages that an environment needs beyond laminar's own, and in which versions."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version

from packaging.specifiers import SpecifierSet

from ..errors import LaminarError


def require(env_id: str, extra: str, needed: Mapping[str, str]) -> None:
    """Raise LaminarError unless packages are installed in versions that work.

    Args:
        env_id: for the message.
        extra: what `pip install 'laminar[EXTRA]'` brings them by.
        needed: distribution -> versions (">=1.5,<1.6").
    """
    for package, versions in needed.items():
        found = _installed(package)
        if found is None or not SpecifierSet(versions).contains(found, prereleases=True):
            state = "which is not installed" if found is None else f"and {found} is installed"
            raise LaminarError(
                f"environment '{env_id}' needs {package}{versions}, {state}: pip install 'laminar[{extra}]'"
            )


def named(*packages: str) -> str:
    """Return for example ``gym-pusht 0.1.8, pymunk 6.11.1``, of those that are installed."""
    found = {package: _installed(package) for package in packages}
    return ", ".join(f"{package} {number}" for package, number in found.items() if number is not None)


def _installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
