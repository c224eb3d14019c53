"""`laminar schedule` from end to end on a small policy, and its errors before any work."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import h5py
import pytest

import laminar
from laminar.cli import main
from laminar.eval.results.result import Result, load_result
from laminar.policies.load import save_schedule
from laminar.policies.processes.solver_schedules import SolverSchedule
from laminar.policies.storage import resolve_checkpoint

BRIEF = ("observations=3", "noises=4", "draws=2", "seed=3")


@pytest.fixture(scope="module")
def demonstrations(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "maze.hdf5"
    assert main(["collect", "task=pointmaze", "episodes=4", "seed=0", f"out={path}"]) == 0
    return path


@pytest.fixture(scope="module")
def trained(demonstrations: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "maze"
    words = ["train", "method=bc", "policy=flow", "task=pointmaze", f"data.path={demonstrations}", f"out={folder}"]
    assert main([*words, "steps=20", "seed=0", "network.width=16", "method.batch_size=8", "policy.history=2"]) == 0
    return folder


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    shutil.copytree(trained, tmp_path / "run")
    return tmp_path / "run"


def error_of(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    assert main(words) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1, printed.err
    return printed.err.strip()


def test_found_schedules_lie_beside_the_weights(
    run: Path, demonstrations: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = laminar.load_policy(run).checkpoint_hash()
    words = ["schedule", f"policy.path={run}", f"data.path={demonstrations}", *BRIEF]
    assert main([*words, "calls=[1,3]", f"out={tmp_path / 'report'}"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in printed[:2]] == ["nfe1", "nfe3"]

    policy = laminar.load_policy(run)
    assert {name: one.calls for name, one in policy.schedules.items()} == {"nfe1": 1, "nfe3": 3}
    assert policy.checkpoint_hash() == before
    assert (resolve_checkpoint(run) / "schedules.json").is_file()

    report = json.loads((tmp_path / "report" / "report.json").read_text())
    assert report["checkpoint"] == before
    found = report["found"][1]
    assert found["schedule"] == policy.schedules["nfe3"].to_json()
    assert set(found["fixed"]) == {"euler", "heun", "unipc"}
    assert len(found["found"]["draws"]["sliced"]) == 2
    assert found["gain"]["mean"] == pytest.approx(
        found["fixed"][found["best_fixed"]]["sliced"]["mean"] - found["found"]["sliced"]["mean"]
    )
    page = (tmp_path / "report" / "report.md").read_text()
    assert all(name in page for name in ("**nfe3**", "| euler ", "| heun ", "best regular schedule"))

    more = ["train", "method=bc", f"init={run}", f"data.path={demonstrations}", f"out={tmp_path / 'more'}", "steps=2"]
    assert main([*more, "method.batch_size=8"]) == 0
    assert laminar.load_policy(tmp_path / "more").schedules == {}, "searched for other weights"

    assert main([*words, "calls=2"]) == 0
    again = laminar.load_policy(run).schedules
    assert set(again) == {"nfe1", "nfe2", "nfe3"}, "earlier ones are kept"
    assert again["nfe3"] == policy.schedules["nfe3"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "laminar schedule needs policy.path=FOLDER"),
        (("policy.path=RUN",), "laminar schedule needs data.path=FILE"),
        (("policy.path=nowhere", "data.path=DATA"), "no policy in nowhere"),
        (("policy.path=RUN", "data.path=nowhere.hdf5"), "nowhere.hdf5: no such file"),
        (("policy.path=RUN", "data.path=DATA", "calls=[2,0]"), "calls=[2, 0]: give numbers of network calls"),
        (("policy.path=RUN", "data.path=DATA", "calls=few"), "calls=few: give numbers of network calls"),
        (("policy.path=RUN", "data.path=DATA", "draws=1"), "draws must be at least 2, got 1"),
        (("policy.path=RUN", "data.path=DATA", "cals=[2]"), "unknown setting 'cals' for laminar schedule"),
        (("policy.path=RUN", "data.path=DATA", "out=DATA"), "is a file; laminar schedule writes a folder"),
        (("policy.path=RUN", "data.path=OTHER"), "observation 'observation' has shape (3,), the policy needs (6,)"),
    ],
)
def test_errors(
    words: tuple[str, ...],
    message: str,
    run: Path,
    demonstrations: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    other = tmp_path / "other.hdf5"
    shutil.copy(demonstrations, other)
    with h5py.File(other, "r+") as file:
        for name in ("observations", "next_observations"):
            values = file[name][:, :3]
            del file[name]
            file[name] = values
        del file["metadata/spec"]
    places = {"RUN": str(run), "DATA": str(demonstrations), "OTHER": str(other)}
    filled = ["=".join(places.get(part, part) for part in word.split("=")) for word in words]
    assert message in error_of(["schedule", *filled], capsys)
    assert laminar.load_policy(run).schedules == {}


def test_a_policy_without_steps_is_refused(
    demonstrations: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["train", "method=bc", "policy=direct", f"data.path={demonstrations}", f"out={tmp_path / 'run'}", "steps=2"]
    assert main([*words, "network.width=16", "method.batch_size=8"]) == 0
    given = ["schedule", f"policy.path={tmp_path / 'run'}", f"data.path={demonstrations}", *BRIEF]
    assert "policy 'direct' has no path for a solver schedule to divide" in error_of(given, capsys)


MAZE = "env.id=laminar/PointMaze-v0"


def with_schedule(run: Path) -> Path:
    save_schedule(run, "nfe2", SolverSchedule.at([1.0, 0.3]))
    return run


@pytest.mark.parametrize("steps", ["nfe2", "2", "null"])
def test_evaluations_sample_by_a_schedule(
    steps: str, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "eval"
    words = ["eval", f"policy.path={with_schedule(run)}", MAZE, "episodes=3", "video_episodes=0", f"out={out}"]
    assert main([*words, f"policy.steps={steps}"]) == 0
    stored, page = json.loads((out / "eval.json").read_text()), (out / "report.md").read_text()
    assert stored["steps"] == {"nfe2": "nfe2", "2": 2, "null": None}[steps]
    assert (f"steps {steps}" in capsys.readouterr().out) == (steps != "null")
    assert (f"- steps: {steps}" in page) == (steps != "null")
    assert load_result(out).steps == stored["steps"]


def test_the_schedule_is_what_samples(run: Path) -> None:
    """The episodes are those of a policy that is asked for the schedule by hand."""
    policy = laminar.load_policy(with_schedule(run))
    schedule = policy.schedules["nfe2"]
    wanted = laminar.evaluate(laminar.accelerate(policy, "eager", 3, steps="nfe2"), MAZE[7:], range(3), num_envs=3)
    by_name, by_choices = (laminar.evaluate(policy, MAZE[7:], range(3), steps=one) for one in ("nfe2", schedule))
    assert by_name.returns == by_choices.returns == wanted.returns
    lengths = [[episode.length for episode in one.episodes] for one in (by_name, wanted)]
    assert lengths[0] == lengths[1]
    assert Result.from_json(json.loads(json.dumps(by_choices.to_json()))).steps == schedule
    assert "steps a schedule of 2 calls" in by_choices.summary()


def test_each_policy_of_a_comparison_has_its_steps(run: Path, tmp_path: Path) -> None:
    words = ["compare", str(with_schedule(run)), str(run), MAZE, "episodes=2", f"out={tmp_path / 'both'}"]
    for more, wanted in {
        ("b.steps=nfe2",): (None, "nfe2"),
        ("policy.steps=nfe2",): ("nfe2", "nfe2"),
        ("policy.steps=nfe2", "a.steps=3"): (3, "nfe2"),
        ("policy.steps=[nfe2,2]",): ("nfe2", 2),
    }.items():
        assert main([*words, *more]) == 0
        stored = json.loads((tmp_path / "both/compare.json").read_text())
        assert tuple(one["steps"] for one in stored["policies"]) == wanted


@pytest.mark.parametrize("verb", ["eval", "offline", "compare", "export", "bench"])
def test_a_wrong_name_lists_the_known_ones(
    verb: str, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    policy = f"policy.path={with_schedule(run)}"
    words = {
        "eval": ["eval", policy, MAZE, "policy.steps=nfe3"],
        "offline": ["eval", policy, MAZE, "protocol=offline", "policy.steps=nfe3"],
        "compare": ["compare", str(run), str(run), MAZE, "b.steps=nfe3"],
        "export": ["export", policy, f"out={tmp_path / 'x'}", "steps=nfe3"],
        "bench": ["bench", policy, "steps=[nfe3]"],
    }[verb]
    assert "no schedule 'nfe3' (known: nfe2); did you mean 'nfe2'?" in error_of(words, capsys)
