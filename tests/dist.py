"""Build what is released, and try it where nothing else is: `make dist`, that is `python tests/dist.py dist`.

The sdist is built of a copy of this checkout, the wheel of the sdist alone, so that both are known to be whole. The
wheel is installed into an empty environment, by the versions of the lock, and runs the demo's short form in a folder of
its own.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SHORT = ["EPISODES=2", "STEPS=60", "EVALUATED=2"]  # of the demo; examples/first_hour.sh has the same
UNWANTED = shutil.ignore_patterns(".*", "__pycache__", "outputs", "build", "dist", "*.egg-info")


def sdist(folder: Path) -> Path:
    """Build the sdist of a copy of this checkout, without an index, and return it."""
    source = folder / "source"
    shutil.copytree(ROOT, source, ignore=UNWANTED)
    code = "import sys; from setuptools import build_meta; build_meta.build_sdist(sys.argv[1])"
    subprocess.run([sys.executable, "-c", code, folder], cwd=source, check=True, stdout=subprocess.DEVNULL)
    (made,) = folder.glob("laminar-*.tar.gz")
    return made


def wheel(source: Path, folder: Path) -> Path:
    """Build the wheel of an sdist, without an index and without a build environment, and return it."""
    with tarfile.open(source) as archive:
        archive.extractall(folder / "unpacked", filter="data")
    (unpacked,) = (folder / "unpacked").iterdir()
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-index", "--no-deps", "--no-build-isolation"]
    subprocess.run([*build, "--wheel-dir", folder, unpacked], check=True)
    (made,) = folder.glob("laminar-*-py3-none-any.whl")
    return made


def install(built: Path, folder: Path) -> Path:
    """Install a wheel into an empty environment, and return the environment's programs."""
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    pip = [folder / "bin/python", "-m", "pip", "install", "--quiet"]
    subprocess.run([*pip, "--constraint", ROOT / "requirements.lock", built], check=True)
    return folder / "bin"


def demo(programs: Path, folder: Path) -> None:
    """Run the demo's short form in a folder, by the programs of an environment, and look at what it left."""
    folder.mkdir()
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    asked = subprocess.run(
        [programs / "python", "-c", "import laminar; print(laminar.__file__)"],
        cwd=folder, env=environment, check=True, capture_output=True, text=True,
    )  # fmt: skip
    if not Path(asked.stdout.strip()).is_relative_to(programs.parent):
        raise SystemExit(f"what was imported is {asked.stdout.strip()}, not the wheel in {programs.parent}")
    subprocess.run([programs / "laminar", "doctor"], cwd=folder, env=environment, check=True)
    subprocess.run(
        ["make", "--file", ROOT / "Makefile", "demo", f"DEMO={folder / 'demo'}", f"BIN={programs}", "READY=", *SHORT],
        cwd=folder, env=environment, check=True,
    )  # fmt: skip
    told = json.loads((folder / "demo/eval/eval.json").read_text(encoding="utf-8"))
    if len(told["episodes"]) != 2 or not (folder / "demo/eval/report.html").is_file():
        raise SystemExit("the demo ended without two episodes and a report")


def main(out: Path) -> None:
    """Build, install, run, and only then hand over."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = sdist(folder)
        built = wheel(source, folder)
        demo(install(built, folder / "environment"), folder / "run")
        out.mkdir(parents=True, exist_ok=True)
        for made in (source, built):
            shutil.copy2(made, out)
            print(f"{out / made.name}: {made.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
