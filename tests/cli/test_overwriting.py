"""No verb writes over what it did not write itself, unless `overwrite=true` says so; read-only files stay."""

from __future__ import annotations

import os
import shutil
from fnmatch import fnmatch
from pathlib import Path

import pytest

from laminar.cli import main
from laminar.eval.outputs import WRITTEN

MINE = "years of work"


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Record demonstrations, train a policy of a few updates, and measure it as a run of offline learning."""
    folder = tmp_path_factory.mktemp("overwriting")
    data, run, measured = folder / "maze.hdf5", folder / "run", folder / "measured"
    assert main(["collect", "task=pointmaze", "episodes=2", f"out={data}"]) == 0
    words = ["method=ofql", "network.width=8", "method.critic.width=8", "evaluation.every=2", "evaluation.episodes=1"]
    assert main(["train", f"data.path={data}", "task=pointmaze", f"out={run}", "steps=2", *words]) == 0
    words = [f"policy.path={run}", "task=pointmaze", "protocol=offline", "candidates=2", "episodes=1"]
    assert main(["eval", *words, "video_episodes=0", f"out={measured}"]) == 0
    return {"DATA": str(data), "RUN": str(run), "MEASURED": str(measured)}


LINES = {  # of each verb, short ones, and a file that it would write
    "collect": ("collect task=pointmaze episodes=1 out=OUT/demos.hdf5", "demos.hdf5"),
    "eval": ("eval policy.path=RUN task=pointmaze episodes=1 video_episodes=1 out=OUT", "report.md"),
    "chains": ("eval policy.path=RUN task=calvin-chain chains=1 out=OUT", "chain_000_0_of_5.mp4"),
    "compare": ("compare RUN RUN task=pointmaze episodes=1 out=OUT", "compare.json"),
    "replay": ("replay policy.path=RUN samples=1 windows=2 out=OUT", "report.md"),
    "bench": ("bench policy.path=RUN runtimes=[eager] calls=3 out=OUT", "latency.png"),
    "schedule": (
        "schedule policy.path=RUN data.path=DATA calls=[2] observations=2 noises=2 draws=2 out=OUT",
        "report.json",
    ),
    "table": ("table MEASURED out=OUT/scores", "scores.csv"),
    "view": ("view DATA out=OUT/page.html", "page.html"),
}
REPEATED = {"eval", "compare", "replay", "bench", "table", "view"}


def run(line: str, places: dict[str, str], out: Path, *more: str) -> int:
    for name, place in (places | {"OUT": str(out)}).items():
        line = line.replace(name, place)
    return main([*line.split(), *more])


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.mark.parametrize("verb", LINES)
def test_what_someone_else_wrote_is_kept(
    verb: str, places: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line, name = LINES[verb]
    (tmp_path / name).write_text(MINE)
    capsys.readouterr()
    assert run(line, places, tmp_path) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert f"{tmp_path / name} exists" in printed.err
    assert "choose another out=, or give overwrite=true to replace it" in printed.err
    assert files(tmp_path) == {name: MINE.encode()}


@pytest.mark.parametrize("verb", sorted(REPEATED | {"collect"}))
def test_overwriting_is_said_and_own_files_are_replaced(verb: str, places: dict[str, str], tmp_path: Path) -> None:
    line, name = LINES[verb]
    (tmp_path / name).write_text(MINE)
    (tmp_path / "other.txt").write_text(MINE)
    assert run(line, places, tmp_path, "overwrite=true") == 0
    written = files(tmp_path)
    assert written.pop("other.txt") == MINE.encode()
    assert written[name] != MINE.encode()
    if verb in WRITTEN:
        known = (WRITTEN[verb].record, *WRITTEN[verb].others)
        assert all(any(fnmatch(name, one) for one in known) for name in written), "all that is written is known"
    assert run(line, places, tmp_path) == (0 if verb in REPEATED else 2)


@pytest.mark.parametrize("verb", LINES)
def test_read_only_files_stay(
    verb: str, places: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line, name = LINES[verb]
    (tmp_path / name).write_text(MINE)
    os.chmod(tmp_path / name, 0o444)
    assert run(line, places, tmp_path, "overwrite=true") == 2
    assert f"{tmp_path / name} is read-only" in capsys.readouterr().err
    assert files(tmp_path) == {name: MINE.encode()}


def test_a_verb_does_not_write_over_another_ones_report(
    places: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(LINES["bench"][0], places, tmp_path) == 0
    before = files(tmp_path)
    assert run(LINES["eval"][0], places, tmp_path) == 2
    assert "report.md exists, and laminar eval did not write it" in capsys.readouterr().err
    assert files(tmp_path) == before


def test_a_record_of_something_else_is_none(places: dict[str, str], tmp_path: Path) -> None:
    for text in ("{}", "[1]", "no JSON", '{"scores": 1}'):
        (tmp_path / "eval.json").write_text(text)
        assert run(LINES["eval"][0], places, tmp_path) == 2
        assert files(tmp_path) == {"eval.json": text.encode()}


def test_training_leaves_other_logs_alone(
    places: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "metrics.jsonl").write_text(MINE)
    assert run("train data.path=DATA steps=2 network.width=8 out=OUT", places, tmp_path) == 2
    assert "holds metrics.jsonl of something else than a run; choose another out=" in capsys.readouterr().err
    assert files(tmp_path) == {"metrics.jsonl": MINE.encode()}


def test_an_export_is_replaced_only_as_long_as_it_is_alone(
    places: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "export"
    shutil.copytree(tmp_path, out, dirs_exist_ok=True)
    for name in ("export.json", "policy.onnx", "notes.txt"):
        (out / name).write_text(MINE)
    assert run("export policy.path=RUN out=OUT", places, out) == 2
    assert "holds notes.txt beside an export, and would be replaced as a whole" in capsys.readouterr().err
    (out / "export.json").unlink()
    assert run("export policy.path=RUN out=OUT", places, out) == 2
    assert "holds something else than an export" in capsys.readouterr().err
    assert set(files(out)) == {"policy.onnx", "notes.txt"}


def test_play_is_never_replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "notes.txt").write_text(MINE)
    words = ["collect", "task=playroom/play", "steps=1000", f"out={tmp_path}"]
    assert main(words) == 2
    assert "notes.txt exists already" in capsys.readouterr().err
    assert main([*words, "overwrite=true"]) == 2
    assert "overwrite does not apply to play; remove the folder" in capsys.readouterr().err
    assert files(tmp_path) == {"notes.txt": MINE.encode()}
