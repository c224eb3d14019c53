"""What is in the wheel, what is out, and what its metadata promises."""

from __future__ import annotations

import configparser
import email
import shutil
import subprocess
import sys
import zipfile
from email.message import Message
from pathlib import Path

import pytest

OUTSIDE = {"tests", "benchmarks", "docs", "examples", "outputs", "build", "dist", "wheels"}
VIEWER = tuple(f"laminar/eval/viewing/viewer.{kind}" for kind in ("html", "css", "js"))


@pytest.fixture(scope="module")
def wheel(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """Build the wheel of a copy of the checkout, without an index and without a build environment."""
    folder = tmp_path_factory.mktemp("wheel")
    unwanted = shutil.ignore_patterns(".*", "__pycache__", "outputs", "build", "dist", "*.egg-info")
    shutil.copytree(repository, folder / "source", ignore=unwanted)
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-index",
        "--no-deps",
        "--no-build-isolation",
    ]
    built = subprocess.run(
        [*command, "--wheel-dir", str(folder / "wheels"), str(folder / "source")],
        capture_output=True,
        text=True,
    )
    assert built.returncode == 0, built.stderr
    (path,) = (folder / "wheels").glob("laminar-*-py3-none-any.whl")
    return zipfile.ZipFile(path)


@pytest.fixture(scope="module")
def metadata(wheel: zipfile.ZipFile) -> Message:
    """Return the wheel's METADATA."""
    (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    return email.message_from_string(wheel.read(name).decode())


def sources(repository: Path, pattern: str) -> set[str]:
    """Return the package's files of the checkout as they must be named in the wheel."""
    found = (path.relative_to(repository) for path in repository.rglob(pattern))
    return {
        f"laminar/{path.as_posix()}"
        for path in found
        if path.parts[0] not in OUTSIDE and not any(part.startswith(".") for part in path.parts)
    }


def test_every_module_and_configuration_is_in(wheel: zipfile.ZipFile, repository: Path) -> None:
    inside = set(wheel.namelist())
    assert "laminar/py.typed" in inside
    assert "laminar/__init__.py" in inside
    assert any(name.startswith("laminar/configs/") and name.endswith(".yaml") for name in inside)
    assert sources(repository, "*.py") <= inside
    assert sources(repository, "*.yaml") <= inside
    assert "laminar/deploy/page/page.html" in inside
    assert set(VIEWER) <= inside


def test_nothing_else_is_in(wheel: zipfile.ZipFile, repository: Path) -> None:
    expected = sources(repository, "*.py") | sources(repository, "*.yaml")
    expected |= {"laminar/py.typed", "laminar/envs/chains.json", "laminar/configs/reference.json"}
    expected |= {"laminar/deploy/page/page.html", *VIEWER}
    inside = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert inside - expected == set()
    assert not [name for name in inside if OUTSIDE & set(name.split("/"))]


def test_metadata(wheel: zipfile.ZipFile, metadata: Message) -> None:
    import laminar

    assert metadata["Name"] == "laminar"
    assert metadata["Version"] == laminar.__version__
    assert metadata["Requires-Python"] == ">=3.10"
    assert metadata["License-Expression"] == "Apache-2.0"
    assert {"minari", "wandb", "d4rl", "dev"} <= set(metadata.get_all("Provides-Extra", []))
    (name,) = (name for name in wheel.namelist() if name.endswith("entry_points.txt"))
    scripts = configparser.ConfigParser()
    scripts.read_string(wheel.read(name).decode())
    assert dict(scripts["console_scripts"]) == {"laminar": "laminar.cli:main"}


def test_no_requirement_comes_from_outside_the_index(metadata: Message, repository: Path) -> None:
    locked = (repository / "requirements.lock").read_text().splitlines()
    locked = [line for line in locked if line and not line.startswith("#")]
    assert all("==" in line for line in locked)
    for line in [*metadata.get_all("Requires-Dist", []), *locked]:
        assert "://" not in line, line
        assert " @ " not in line, line


def test_the_lock_satisfies_what_the_package_requires(metadata: Message, repository: Path) -> None:
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    pins: dict[str, str] = {}
    for line in (repository / "requirements.lock").read_text().splitlines():
        if line and not line.startswith("#"):
            pin = Requirement(line)
            if pin.marker is None or pin.marker.evaluate():
                pins[canonicalize_name(pin.name)] = next(iter(pin.specifier)).version
    assert pins["torch"] == "2.13.0"
    for text in metadata.get_all("Requires-Dist", []):
        required = Requirement(text)
        if required.marker is None or required.marker.evaluate({"extra": "dev"}):
            name = canonicalize_name(required.name)
            assert name in pins, f"requirements.lock does not pin {name}"
            assert required.specifier.contains(pins[name]), f"{name}=={pins[name]} is not {required}"
