"""Names of runs, and the record of a sweep: what may join it, and what is another one."""

from __future__ import annotations

from pathlib import Path

import pytest

from laminar.errors import LaminarError
from laminar.train.sweeps.plan import Planned, plan, remember


def names(*runs: dict[str, str]) -> list[str]:
    return [one.name for one in plan([list(run.items()) for run in runs])]


def test_names_are_what_differs() -> None:
    runs = [{"method": method, "steps": "5", "seed": seed} for method in ("bc", "dql") for seed in "01"]
    assert names(*runs) == ["method=bc,seed=0", "method=bc,seed=1", "method=dql,seed=0", "method=dql,seed=1"]
    assert names({"method": "bc"}) == ["run"]
    assert names({"method": "bc"}, {"method": "bc", "seed": "1"}) == ["run", "seed=1"]


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("/data/a b.hdf5", "-data-a-b.hdf5"),
        ("[64,64]", "64-64"),
        ("-0.5", "-0.5"),
        ("1e-4", "1e-4"),
        ("laminar/PointMaze-v0", "laminar-PointMaze-v0"),
    ],
)
def test_names_are_safe(text: str, safe: str) -> None:
    assert names({"x": text}, {"x": "1"}) == [f"x={safe}", "x=1"]


def test_long_and_like_names_are_told_apart() -> None:
    found = names({"x": "a" * 300}, {"x": "a" * 299 + "b"}, {"x": "c d"}, {"x": "c/d"})
    assert len(set(found)) == 4
    assert max(map(len, found)) < 200


def test_no_run_is_there_twice() -> None:
    with pytest.raises(LaminarError, match="seed=1 is there twice"):
        plan([[("seed", "0")], [("seed", "1")], [("seed", "1")]])


def runs(*seeds: int, lr: str = "1") -> list[Planned]:
    return plan([[("seed", str(seed)), ("lr", lr)] for seed in seeds])


def test_a_sweep_may_grow(tmp_path: Path) -> None:
    remember(tmp_path / "s", runs(0, 1), [])
    remember(tmp_path / "s", runs(0, 1), [])
    remember(tmp_path / "s", runs(0, 1, 2), ["episodes=5"])
    with pytest.raises(LaminarError, match=r"another sweep, with the run seed=2, which is not in this one"):
        remember(tmp_path / "s", runs(0, 1), ["episodes=5"])
    with pytest.raises(LaminarError, match="another sweep, in which seed=0 differs in lr="):
        remember(tmp_path / "s", runs(0, 1, 2, lr="2"), ["episodes=5"])
    with pytest.raises(LaminarError, match="measured by episodes=5"):
        remember(tmp_path / "s", runs(0, 1, 2), ["episodes=6"])


def test_other_folders_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "run.json").touch()
    with pytest.raises(LaminarError, match="holds a run, not a sweep"):
        remember(tmp_path, runs(0, 1), [])
    (tmp_path / "run.json").unlink()
    (tmp_path / "seed=1").mkdir()
    (tmp_path / "seed=1/run.json").touch()
    with pytest.raises(LaminarError, match=r"seed=1 holds a run of something else"):
        remember(tmp_path, runs(0, 1), [])
    (tmp_path / "sweep.json").write_text("[")
    with pytest.raises(LaminarError, match=r"sweep\.json is damaged"):
        remember(tmp_path, runs(0, 1), [])
