"""Seeds that no generator takes are refused in one line, by every verb that has one; the ends of the range work."""

from __future__ import annotations

from pathlib import Path

import pytest

from laminar.cli import main
from laminar.settings import LARGEST_SEED

VERBS = {
    "train": "train method=bc policy=flow steps=2 data.path=FILE out=OUT seed=SEED",
    "train evaluation": "train method=bc policy=flow steps=2 data.path=FILE out=OUT evaluation.seed=SEED",
    "train seeds": "train method=bc policy=flow steps=2 data.path=FILE out=OUT seeds=[SEED]",
    "eval": "eval policy.path=RUN env.id=laminar/PointMaze-v0 episodes=1 seed=SEED",
    "eval chains": "eval policy.path=RUN task=calvin-chain chains=1 seed=SEED",
    "compare": "compare RUN RUN env.id=laminar/PointMaze-v0 episodes=1 seed=SEED",
    "collect": "collect task=pointmaze episodes=1 out=OUT seed=SEED",
    "collect play": "collect task=playroom/play steps=100 processes=1 out=OUT seed=SEED",
    "bench": "bench policy.path=RUN runtimes=[eager] calls=5 seed=SEED",
    "replay": "replay policy.path=RUN samples=1 windows=2 seed=SEED",
    "schedule": "schedule policy.path=RUN data.path=FILE calls=[2] draws=2 observations=2 noises=2 seed=SEED",
}


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("places")
    file, run = folder / "maze.hdf5", folder / "run"
    assert main(["collect", "task=pointmaze", "episodes=2", f"out={file}"]) == 0
    small = ["network.width=16", "method.batch_size=8", "steps=2"]
    assert main(["train", "method=bc", "policy=flow", *small, f"data.path={file}", f"out={run}"]) == 0
    return {"FILE": file, "RUN": run}


def words(verb: str, seed: int | str, places: dict[str, Path], out: Path) -> list[str]:
    text = VERBS[verb].replace("SEED", str(seed))
    for name, place in (places | {"OUT": out}).items():
        text = text.replace(name, str(place))
    return text.split()


@pytest.mark.parametrize("seed", [2**64, 2**63, -1, "1.5", "abc"])
@pytest.mark.parametrize("verb", VERBS)
def test_seeds_out_of_range_are_refused(
    verb: str, seed: int | str, places: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert main(words(verb, seed, places, tmp_path / "out")) == 2
    printed = capsys.readouterr()
    assert printed.err.count("\n") == 1, printed.err
    assert "from 0" in printed.err
    assert str(seed) in printed.err
    if verb != "train seeds" or (isinstance(seed, int) and seed > 0):
        assert "9223372036854775807 (2**63 - 1)" in printed.err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("verb", "more"),
    [
        ("eval", "episodes=2"),
        ("compare", "episodes=2"),
        ("collect", "episodes=2"),
        ("eval chains", "chains=2"),
        ("train evaluation", "evaluation.episodes=2"),
    ],
)
def test_seeds_that_are_counted_stay_in_range(
    verb: str, more: str, places: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    name = more.partition("=")[0]
    kept = [word for word in words(verb, LARGEST_SEED, places, tmp_path / "out") if not word.startswith(f"{name}=")]
    assert main([*kept, more]) == 2
    assert f"got {LARGEST_SEED} to {LARGEST_SEED + 1}; choose another first one" in capsys.readouterr().err


@pytest.mark.parametrize("seed", [0, LARGEST_SEED])
@pytest.mark.parametrize("verb", ["train", "eval", "compare", "collect", "bench", "replay", "schedule", "train seeds"])
def test_both_ends_of_the_range_work(verb: str, seed: int, places: dict[str, Path], tmp_path: Path) -> None:
    assert main(words(verb, seed, places, tmp_path / "out")) == 0
