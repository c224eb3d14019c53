"""What this machine has of what laminar can use, and the command that gets the rest: `laminar doctor`."""

from __future__ import annotations

import platform
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version

from packaging.requirements import Requirement
from packaging.version import Version

from .errors import LaminarError

_DEVELOPMENT = "dev"  # the one extra that does not concern users


@dataclass(frozen=True)
class Check:
    """One part.

    Attributes:
        name: of the part.
        core: whether laminar needs it for its main job; all else is optional.
        ok: whether it is there and fits.
        detail: what was found, or what is wrong and the command that repairs it.
    """

    name: str
    core: bool
    ok: bool
    detail: str


def diagnose() -> list[Check]:
    """Check the packages in laminar's own requirements, then pictures, video, and CALVIN's simulator.

    Raises:
        LaminarError: laminar runs from a folder in which it was never installed, so its requirements are unknown.
    """
    try:
        wanted = [Requirement(line) for line in requires("laminar") or ()]
    except PackageNotFoundError as error:
        raise LaminarError("laminar is not installed; in its folder: pip install -e .") from error
    checks = [Check("python", True, True, platform.python_version())]
    checks += [_package(r) for r in wanted if "extra" not in str(r.marker) and _applies(r)]
    if all(check.ok for check in checks):
        checks += [_device(), *_machine()]
    checks += [_extra(name, wanted) for name in _extras(wanted)]
    return checks


def render(checks: list[Check]) -> str:
    """Return a table, the core first."""
    width = max(len(check.name) for check in checks)
    lines: list[str] = []
    for core, title in ((True, "core"), (False, "optional")):
        rows = [check for check in checks if check.core is core]
        lines += [title, *(f"  {'ok' if c.ok else 'missing':8} {c.name:{width}}  {c.detail}" for c in rows)]
    return "\n".join(lines)


def require_core(checks: list[Check]) -> None:
    """Raise LaminarError that names the core parts that are missing."""
    missing = [check.name for check in checks if check.core and not check.ok]
    if missing:
        raise LaminarError(f"laminar is not complete: {', '.join(missing)}; `laminar doctor` has the commands")


def _package(wanted: Requirement) -> Check:
    """Compare one required package with what is installed."""
    found = _version(wanted.name)
    fits = found is not None and wanted.specifier.contains(Version(found), prereleases=True)
    problem = "not installed" if found is None else f"{found} is installed, {wanted.specifier} is needed"
    return Check(wanted.name, True, fits, str(found) if fits else f"{problem}; {_pip(wanted)}")


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _pip(*wanted: Requirement) -> str:
    return shlex.join(["pip", "install", *(f"{r.name}{r.specifier}" for r in wanted)])


def _applies(wanted: Requirement, extra: str = "") -> bool:
    return wanted.marker is None or wanted.marker.evaluate({"extra": extra})


def _extras(wanted: list[Requirement]) -> Iterator[str]:
    """Yield the names of the extras that are for users, as they come."""
    names = [str(r.marker).rpartition("extra == ")[2].strip('"') for r in wanted if "extra" in str(r.marker)]
    yield from (name for name in dict.fromkeys(names) if name != _DEVELOPMENT)


def _extra(name: str, wanted: list[Requirement]) -> Check:
    """Check all packages of an extra."""
    own = [r for r in wanted if f'extra == "{name}"' in str(r.marker) and _applies(r, name)]
    if not own:
        return Check(name, False, False, f"not available for Python {platform.python_version()}")
    checks = [_package(r) for r in own]
    lacking = [r for r, check in zip(own, checks, strict=True) if not check.ok]
    if not lacking:
        return Check(name, False, True, ", ".join(f"{check.name} {check.detail}" for check in checks))
    return Check(name, False, False, f"lacks {', '.join(r.name for r in lacking)}; {_pip(*lacking)}")


def _device() -> Check:
    import torch

    if not torch.cuda.is_available():
        return Check("cuda", False, False, "torch sees no CUDA device; everything runs on the CPU")
    return Check("cuda", False, True, f"{torch.version.cuda}, {torch.cuda.get_device_name(0)}")


def _machine() -> Iterator[Check]:
    """Yield what packages alone do not give: pictures, video, CALVIN's simulator."""
    from .envs.calvin_install import calvin_problem, find_root
    from .envs.rendering import rendering_problem

    yield _part("pictures", rendering_problem(), "MuJoCo draws")
    yield _part("video", _video_problem(), "ffmpeg works")
    yield _part("calvin_env", calvin_problem(), str(find_root()))


def _part(name: str, problem: str, detail: str) -> Check:
    return Check(name, False, not problem, problem or detail)


def _video_problem() -> str:
    import imageio_ffmpeg

    try:
        imageio_ffmpeg.get_ffmpeg_exe()
    except RuntimeError as error:
        return f"no ffmpeg ({error}); pip install --force-reinstall imageio-ffmpeg"
    return ""
