"""What the table scripts of this folder share: running a laminar command, and putting a table into a page."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

from laminar.policies.storage import checkpoints

DOCS = Path(__file__).parent.parent / "docs"


def laminar(words: list[str]) -> float:
    """Run one command in a process of its own and return the CPU seconds that it took."""
    print("laminar", shlex.join(words), flush=True)
    with tempfile.TemporaryFile("w+", errors="replace") as told:
        child = subprocess.Popen([sys.executable, "-m", "laminar.cli", *words], stderr=told)
        _, status, usage = os.wait4(child.pid, 0)
        if status:
            told.seek(0)
            sys.exit(f"failed: laminar {shlex.join(words)}\n{''.join(told.read().splitlines(True)[-1:])}")
    return usage.ru_utime + usage.ru_stime


def train(words: list[str], folder: Path) -> None:
    """Train a run to its end, unless it is there, and keep the CPU seconds of all attempts in `cpu_seconds.json`."""
    spent = folder / "cpu_seconds.json"
    if not finished(folder):
        before = json.loads(spent.read_text()) if spent.exists() else 0.0
        spent.write_text(json.dumps(before + laminar(["train", *words, f"out={folder}", "resume=true"])))
    if not finished(folder):  # whatever the exit code says
        sys.exit(f"stopped: {folder}; start the script again to go on")


def finished(folder: Path) -> bool:
    """Whether a run has the checkpoint of its last update."""
    settings = folder / "run.json"
    if not settings.exists():
        return False
    last = f"step_{json.loads(settings.read_text())['steps']:08d}"
    return any(checkpoint.name == last for checkpoint in checkpoints(folder))


def replace_table(page: str, lines: list[str], mark: str = "table", docs: Path = DOCS) -> None:
    """Replace what stands between `<!-- mark -->` and the next `<!-- end -->` of a page in docs/."""
    path = docs / page
    before, rest = path.read_text(encoding="utf-8").split(f"<!-- {mark} -->")
    after = rest.split("<!-- end -->", 1)[1]
    text = "\n".join(lines)
    path.write_text(f"{before}<!-- {mark} -->\n{text}\n<!-- end -->{after}", encoding="utf-8")
