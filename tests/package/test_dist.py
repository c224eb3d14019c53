"""What is released: the sdist is enough to build the wheel, which is that of the checkout."""

from __future__ import annotations

import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture
def dist(program: Callable[[Path], ModuleType], repository: Path) -> ModuleType:
    return program(repository / "tests" / "dist.py")


@pytest.mark.timeout(300)
def test_the_sdist_is_whole(dist: ModuleType, repository: Path, tmp_path: Path) -> None:
    source = dist.sdist(tmp_path)
    with tarfile.open(source) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"setup.cfg", "README.md", "LICENSE", "CHANGELOG.md", "CITATION.cff", "requirements.lock"} <= names
    assert not [name for name in names if name.startswith(("tests/", "outputs/", ".git"))]
    inside = {name for name in zipfile.ZipFile(dist.wheel(source, tmp_path)).namelist() if ".dist-info/" not in name}
    packaged = {path for room in ("data", "configs", "policies", "train") for path in (repository / room).rglob("*.py")}
    assert {f"laminar/{path.relative_to(repository).as_posix()}" for path in packaged} <= inside
    assert {"laminar/py.typed", "laminar/configs/reference.json", "laminar/deploy/page/page.html"} <= inside


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_wheel_runs_the_demo_where_nothing_else_is(dist: ModuleType, tmp_path: Path) -> None:
    """What `make dist` does; pip needs an index."""
    dist.main(tmp_path / "dist")
    assert len([*(tmp_path / "dist").iterdir()]) == 2
