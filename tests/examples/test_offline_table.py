"""The script behind docs/offline_q_learning.md from end to end, in its rehearsal."""

from __future__ import annotations

import csv
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

METHODS = ("bc", "ofql", "dql", "fql", "iql", "rebrac")


def rehearse(repository: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(repository / "examples/offline_table.py"), *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def rows_of(page: str, mark: str) -> dict[str, list[str]]:
    """Return method -> cells of the table behind a mark."""
    lines = page.split(f"<!-- {mark} -->")[1].split("<!-- end -->")[0].strip().splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert cells[0] == ["method", "training seeds", "single sample", "choice of 50", "best checkpoint"]
    return {row[0].split()[0]: row[1:] for row in cells[2:]}


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_rehearsal_makes_the_whole_page(repository: Path, hopper: Path, tmp_path: Path) -> None:
    pages = [repository / "docs" / name for name in ("offline_q_learning.md", "media/offline_q_learning.csv")]
    before = [page.read_text(encoding="utf-8") for page in pages]
    done = rehearse(repository, str(hopper), str(tmp_path), "--rehearsal")
    assert done.returncode == 0, done.stdout + done.stderr
    docs = tmp_path / "rehearsal" / "docs"
    page = (docs / "offline_q_learning.md").read_text(encoding="utf-8")
    mixed, calm, medium = (rows_of(page, mark) for mark in ("mixed", "calm", "medium"))
    assert set(mixed) == set(METHODS)
    assert set(calm) == {"bc", "ofql", "fql"}
    assert set(medium) == {"dql", "ofql"}
    assert mixed["ofql"][0] == "0, 1, 2"
    for method, (_, single, chosen, best) in (*mixed.items(), *calm.items(), *medium.items()):
        # a clone has no critic, a deterministic actor no candidates
        assert (chosen == "–") == (method in ("bc", "rebrac")), method
        assert "[" in single, method
        assert "[" in best, method
    drawn = list(csv.DictReader((docs / "media" / "offline_q_learning.csv").read_text().splitlines()))
    points = {run: [int(row["updates"]) for row in drawn if row["run"] == run] for run in {r["run"] for r in drawn}}
    assert points["mixed_dql_0"] == list(range(20, 201, 20))
    assert points["medium_ofql_0"] == [10, 20, 30, 40]
    assert len(points) == 10
    assert (docs / "media" / "offline_q_learning.png").stat().st_size > 10_000
    assert [page.read_text(encoding="utf-8") for page in pages] == before, "a rehearsal's numbers mean nothing"
    stopped = tmp_path / "rehearsal" / "mixed_dql_0"
    shutil.rmtree(stopped / "checkpoints" / "step_00000200")
    spent = float((stopped / "cpu_seconds.json").read_text())
    again = rehearse(repository, str(hopper), str(tmp_path), "--rehearsal")
    assert again.returncode == 0, again.stderr
    commands = [line.split() for line in again.stdout.splitlines() if line.startswith("laminar ")]
    assert [words[1] for words in commands] == ["train", "table", "table", "table"], "what is done is not repeated"
    assert f"out={stopped}" in commands[0]
    assert (stopped / "checkpoints" / "step_00000200").is_dir()
    assert float((stopped / "cpu_seconds.json").read_text()) > spent


@pytest.mark.slow
@pytest.mark.parametrize("words", [("data",), ("data", "out", "--rehearse")])
def test_words_that_it_does_not_know(repository: Path, words: tuple[str, ...]) -> None:
    done = rehearse(repository, *words)
    assert done.returncode == 1
    assert "python examples/offline_table.py DATA_FOLDER OUT_FOLDER" in done.stderr
