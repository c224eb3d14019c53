"""Run a page of the documentation: write its files, then run its commands in their order.

    python examples/page.py docs/your_robot.md FOLDER

A block of Python is a file, whose name is its first line; a block of bash is commands.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SHORT = (
    ("steps=5000", "steps=40"),
    ("episodes=50", "episodes=2"),
    ("rate_hz=20 out", "rate_hz=20 calls=20 out"),
    ("range(100)", "range(8)"),
    ("range(3)", "range(1)"),
)


def run(page: Path, folder: Path, short: bool) -> None:
    """Run a page in a folder, with small numbers if it shall be short.

    Raises:
        SystemExit: a command failed, or a block of Python has no name.
    """
    folder.mkdir(parents=True, exist_ok=True)
    text = page.read_text(encoding="utf-8")
    for usual, small in SHORT if short else ():
        text = text.replace(usual, small)
    blocks = BLOCK.findall(text)
    for kind, block in blocks:
        name = block.split("\n", 1)[0].removeprefix("# ")
        if kind == "python" and not name.endswith(".py"):
            sys.exit(f"{page}: a block of Python begins with {name!r} and not with the name of its file")
        if kind == "python":
            (folder / name).write_text(block, encoding="utf-8")
    for kind, block in blocks:
        for line in block.splitlines() if kind == "bash" else ():
            print(f"\n$ {line}", flush=True)
            done = subprocess.run(["bash", "-c", line], cwd=folder, check=False)
            if done.returncode:
                sys.exit(f"{page}: exit code {done.returncode} of: {line}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Run a page of the documentation.")
    parser.add_argument("page", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--short", action="store_true", help="small numbers in place of the page's")
    given = parser.parse_args()
    run(given.page, given.folder, given.short)
