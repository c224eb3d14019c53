"""Run some of the tests by every Python that laminar promises and this machine has: `make test-pythons`.

Each gets an environment of its own, FOLDER/3.10 and so on, with every version from the lock: minutes, and some
gigabytes, the first time. A Python is looked for on the path and among pyenv's; one that is not there is told.
"""

from __future__ import annotations

import configparser
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TESTS = [
    "tests/package",
    "tests/cli/test_cli.py",
    "tests/cli/test_compose.py",
    "tests/cli/test_help.py",
    "tests/policies/test_policy_files.py",
]


def promised() -> list[str]:
    """Return the versions that the metadata names."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    return re.findall(r"Python :: (3\.\d+)$", setup["metadata"]["classifiers"], re.MULTILINE)


def find(version: str) -> Path | None:
    """Return an interpreter of a version that starts."""
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    candidates = [f"python{version}", *sorted(pyenv.glob(f"{version}.*/bin/python"))]
    code = "import sys; print(sys.executable, *sys.version_info[:2], sep='\\n')"
    for candidate in candidates:
        try:
            done = subprocess.run([candidate, "-c", code], capture_output=True, text=True)
        except OSError:
            continue
        if done.returncode == 0 and done.stdout.split()[1:] == version.split("."):
            return Path(done.stdout.split("\n")[0])
    return None


def environment(python: Path, folder: Path) -> Path:
    """Install the lock and this checkout, once, and return the environment's interpreter."""
    inside, done = folder / "bin" / "python", folder / "installed"
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    if not done.is_file() or done.read_text(encoding="utf-8") != lock:
        subprocess.run([python, "-m", "venv", folder], check=True)
        install = [inside, "-m", "pip", "install", "--quiet"]
        subprocess.run([*install, "--requirement", ROOT / "requirements.lock"], check=True)
        subprocess.run([*install, "--no-deps", "--no-build-isolation", "--editable", ROOT], check=True)
        done.write_text(lock, encoding="utf-8")
    return inside


def main(folder: str) -> int:
    """Test each version and return 1 if one of them fails."""
    results: dict[str, str] = {}
    for version in promised():
        python = find(version)
        if python is None:
            results[version] = "not on this machine"
            continue
        inside = environment(python, Path(folder) / version)
        done = subprocess.run([inside, "-m", "pytest", "-p", "no:cacheprovider", "-q", *TESTS], cwd=ROOT)
        results[version] = "failed" if done.returncode else "passed"
    for version, result in results.items():
        print(f"Python {version}: {result}")
    return int("failed" in results.values() or "passed" not in results.values())


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
