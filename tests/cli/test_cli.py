"""The command line: exit codes, one-line errors before any work, and the main job from end to end."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import h5py
import pytest
from hydra.core.global_hydra import GlobalHydra

import laminar
from laminar.cli import main
from laminar.configs.compose import compose
from laminar.policies import NETWORKS, PROCESSES
from laminar.verbs import VERBS

ENV = "laminar/PointMaze-v0"


@pytest.fixture(scope="session")
def demonstrations(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "maze.hdf5"
    assert main(["collect", "task=pointmaze", "episodes=4", "seed=0", f"out={path}"]) == 0
    return path


@pytest.fixture(scope="session")
def run(demonstrations: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "maze"
    assert main(train_words(demonstrations, folder)) == 0
    return folder


def train_words(data: Path, out: Path, *more: str) -> list[str]:
    fixed = ["train", "method=bc", "policy=meanflow", "task=pointmaze", f"data.path={data}", f"out={out}"]
    return [*fixed, "steps=20", "seed=0", "network.width=16", "method.batch_size=8", *more]


def error_of(words: Sequence[str], capsys: pytest.CaptureFixture[str]) -> str:
    """Run a command that the user got wrong and return its one line."""
    capsys.readouterr()
    assert main(list(words)) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("laminar: ")
    assert printed.err.count("\n") == 1, printed.err
    assert "Traceback" not in printed.err
    return printed.err.strip()


# the main job


def test_train_then_eval(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "eval"
    words = ["eval", f"policy.path={run}", f"env.id={ENV}", "episodes=3", "seed=5", f"out={out}", "video_episodes=0"]
    assert main(words) == 0
    assert "3 episodes" in capsys.readouterr().out
    stored = json.loads((out / "eval.json").read_text())
    assert [episode["seed"] for episode in stored["episodes"]] == [5, 6, 7]
    for episode in stored["episodes"]:
        assert episode.keys() >= {"seed", "return", "length", "success"}
        assert isinstance(episode["success"], bool)
    for figure in ("success_rate", "return"):
        low, mean, high = (stored[figure][name] for name in ("low", "mean", "high"))
        assert low <= mean <= high
    assert stored["normalized_score"] is None, "there is no reference for this task"
    assert stored["env_id"] == ENV
    assert stored["checkpoint"] == laminar.load_policy(run).checkpoint_hash()
    assert stored["versions"].keys() >= {"laminar", "torch", "gymnasium", "mujoco"}
    assert (out / "report.md").is_file()
    assert list(out.glob("*.png"))


def test_the_same_evaluation_twice(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["eval", f"policy.path={run}", "task=pointmaze", "episodes=2"]
    found: list[str] = []
    for seed in (0, 0, 1):
        assert main([*words, f"seed={seed}"]) == 0
        found.append(capsys.readouterr().out)
    assert found[0] == found[1]
    assert found[0].startswith(f"{ENV}: 2 episodes, return ")


def test_a_run_evaluates_while_it_trains(demonstrations: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert main(train_words(demonstrations, run, "evaluation.every=10", "evaluation.episodes=2", "log_every=20")) == 0
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if "eval/return" in row] == [10, 20]
    assert all(0 <= row["eval/success_rate"] <= 1 for row in rows if "eval/return" in row)


def test_compare(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", str(run), str(run), f"env.id={ENV}", "episodes=2", f"out={tmp_path}"]) == 0
    assert "Paired over 2 seeds" in capsys.readouterr().out
    assert json.loads((tmp_path / "compare.json").read_text())["pairs"][0]["difference"]["return"]["mean"] == 0.0


def test_inspect(demonstrations: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert main(["inspect", str(demonstrations), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["episodes"] == 4
    assert found["observation"]["observation"]["shape"] == [6]
    assert main(["inspect", str(demonstrations)]) == 0
    assert "episodes" in capsys.readouterr().out


def test_a_list_of_files_is_concatenated(demonstrations: Path, tmp_path: Path) -> None:
    words = train_words(demonstrations, tmp_path / "run", f"data.path=[{demonstrations},{demonstrations}]")
    assert main(words) == 0


def test_composing_leaves_no_state_behind() -> None:
    config = compose("train", ["policy=diffusion", "network=transformer"])
    assert type(config.policy.process) is PROCESSES.config_class("diffusion")
    assert type(config.network) is NETWORKS.config_class("transformer")
    assert not GlobalHydra.instance().is_initialized()
    assert compose("train", []) == compose("train", [])


def test_a_task_sets_the_environment() -> None:
    assert compose("train", ["task=pointmaze"]).env.id == ENV
    assert compose("eval", ["task=pointmaze", "env.id=Pendulum-v1"]).env.id == "Pendulum-v1"


# exit codes and help


def test_the_command_as_a_process() -> None:
    command = [sys.executable, "-m", "laminar.cli"]
    good = subprocess.run([*command, "--help"], capture_output=True, text=True, timeout=60)
    assert good.returncode == 0
    assert all(verb in good.stdout for verb in VERBS)
    bad = subprocess.run([*command, "trian"], capture_output=True, text=True, timeout=60)
    assert (bad.returncode, bad.stdout) == (2, "")
    assert bad.stderr.startswith("laminar: no verb is called 'trian'")
    assert bad.stderr.strip().endswith("did you mean 'train'?")


def test_without_a_verb(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "laminar VERB" in capsys.readouterr().out


@pytest.mark.parametrize("verb", VERBS)
def test_help(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([verb, "--help"]) == 0
    text = capsys.readouterr().out
    if verb not in ("inspect", "doctor", "table"):
        assert {"serve": "port: 8000", "simulate": "port: 9090", "convert": "format:"}.get(verb, "out: null") in text
    if verb == "train":
        assert "policy=ctm|decision_diffuser|diffuser|diffusion|direct|dql|flow|flow_planner|meanflow|" in text
        assert "batch_size: 256" in text


def test_a_bug_shows_its_traceback_and_exits_with_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(_: list[str]) -> None:
        raise RuntimeError("the dog ate it")

    monkeypatch.setitem(VERBS, "train", broken)
    assert main(["train"]) == 1
    assert "RuntimeError: the dog ate it" in capsys.readouterr().err


def test_errors_of_the_system_are_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def full(_: list[str]) -> None:
        raise OSError(28, "No space left on device", "runs/metrics.jsonl")

    monkeypatch.setitem(VERBS, "train", full)
    assert "No space left on device: 'runs/metrics.jsonl'" in error_of(["train"], capsys)


# mistakes: (words, what the line must say); each is found before anything is written

MISTAKES: list[tuple[str, str]] = [
    ("stesp=3", "unknown setting 'stesp' for laminar train; did you mean 'steps'?"),
    ("network.widht=3", "unknown setting 'network.widht' for laminar train; did you mean 'network.width'?"),
    ("policy.process.stesp=3", "did you mean 'policy.process.steps'?"),
    ("data.paht=x", "did you mean 'data.path'?"),
    ("env.idd=x", "did you mean 'env.id'?"),
    ("polcy=flow", "did you mean 'policy'?"),
    ("hydra.run.dir=x", "unknown setting 'hydra.run.dir'"),
    ("steps=many", "steps is many, which is no number; it must be at least 1"),
    ("steps=1.5", "steps"),
    ("steps=null", "steps"),
    ("network.width=wide", "network.width is wide, which is no number; it must be at least 1"),
    ("method.lr=fast", "method.lr is fast, which is no number; it must be above 0"),
    ("data.validation=true", "data.validation is True, which is no number; it must be at least 0 and below 1"),
    ("policy.process.steps=x", "policy.process.steps"),
    ("resume=perhaps", "resume"),
    (
        "policy=flo",
        "no policy is called 'flo' (known: ctm, decision_diffuser, diffuser, diffusion, direct, dql, flow, "
        "flow_planner, meanflow, meanflow_planner, ofql, trajectory_diffuser, veteran); did you mean 'flow'?",
    ),
    ("network=mpl", "no network is called 'mpl'"),
    ("method=bcc", "no method is called 'bcc'"),
    ("runtime=cdua", "no runtime is called 'cdua'"),
    (
        "task=pointmass",
        "no task is called 'pointmass' (known: maze2d/…, ogbench/…, playroom/…, pointmaze, pusht, pusht-block, "
        "pusht-pictures); did you mean 'pointmaze'?",
    ),
    ("experiment=nothing", "no experiment is called 'nothing'"),
    ("policy=null", "no policy is called 'None'"),
    ("policy.process=flow", "'policy.process' is a group of settings"),
    ("network=[mlp,dql]", "no network is called"),
    ("data=x", "'data' is a group of settings; set one of them, such as data."),
    ("network.name=unet1d", "'network.name' cannot be set; choose network=NAME"),
    ("policy.process.name=flow", "'policy.process.name' cannot be set; choose policy=NAME"),
    ("steps", "'steps' is not key=value"),
    ("=3", "unknown setting '' for laminar train"),
    ("+steps=3", "settings can be changed with key=value, not added or deleted"),
    ("~steps", "not added or deleted"),
    ("steps=1,2", "steps=1,2"),
    ("steps=${nothing}", "'nothing' not found"),
    ("steps=0", "steps must be at least 1, got 0"),
    ("log_every=0", "log_every must be at least 1, got 0"),
    ("checkpoint_every=-5", "checkpoint_every must be at least 1, got -5"),
    ("runtime.threads=0", "runtime.threads must be at least 1"),
    ("runtime.device=tpu", "runtime.device=tpu is no device"),
    ("runtime.device=meta", "runtime.device=meta is not supported"),
    ("method.batch_size=0", "method.batch_size must be at least 1, got 0"),
    ("method.lr=-1", "method.lr must be above 0, got -1.0"),
    ("evaluation.every=-1", "evaluation.every must be at least 0"),
    ("evaluation.every=5 evaluation.episodes=0", "evaluation.episodes must be at least 1"),
    ("evaluation.every=5 env.id=Hoper-v4", "unknown environment 'Hoper-v4'; did you mean 'Hopper-v4'?"),
    ("evaluation.every=5 env.id=Pendulum-v1", "observation 'observation' has shape (6,)"),
    ("data.path=5", "5: no such file"),
    ("data.path=[5]", "5: no such file"),
    ("data.path=[]", "no demonstration file given"),
    ("data.path=nowhere.hdf5", "nowhere.hdf5: no such file"),
    ("data.short_episodes=maybe", "data.short_episodes must be error, pad or drop, got maybe"),
    ("data.balance=1.5", "data.balance must be a share between 0 and 1, got 1.5"),
    (
        "data.balance=1 method=dql",
        "data.balance is for method=bc, and method=dql learns from each step as often",
    ),
    ("data.balance=1 method=reflow method.teacher=x", "data.balance is for method=bc, and method=reflow learns"),
    ("data.balance=1", "data.balance weighs tasks, and these recordings do not tell which they show"),
    ("method=world_model", "method=world_model trains no policy; leave out policy=meanflow"),
    ("policy.chunk=1000", "shorter than the chunk of 1000"),
    ("policy.history=0", "policy.history must be at least 1, got 0"),
    ("policy.chunk=2 policy.execute=3", "policy.execute=3 is more than policy.chunk=2"),
    ("policy.action_normalizer=minmx", "did you mean 'minmax'?"),
    (
        "policy=direct policy.process.squash=true policy.action_normalizer=gaussian",
        "with policy.action_normalizer=gaussian no action further than one deviation from the mean could be learned",
    ),
    (
        "policy=flow policy.process.solver=eulr",
        "policy.process.solver must be euler, heun or unipc, got eulr; did you mean 'euler'",
    ),
    ("out=null", "train needs out=FOLDER"),
    ("out=", "train needs out=FOLDER"),
]


@pytest.mark.parametrize(("words", "message"), MISTAKES, ids=[words for words, _ in MISTAKES])
def test_mistakes_in_train(
    words: str, message: str, demonstrations: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert message in error_of(train_words(demonstrations, tmp_path / "run", *shlex.split(words)), capsys)
    assert not list(tmp_path.iterdir()), "nothing is created on error"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("train", "train needs out=FOLDER"),
        ("train data.path=FILE", "train needs out=FOLDER"),
        ("train out=OUT", "train needs data.path=FILE"),
        ("train out=OUT data.path=FILE evaluation.every=5", "there is no env.id to evaluate in"),
        ("eval", "laminar eval needs policy.path=FOLDER"),
        ("eval policy.path=RUN out=OUT", "laminar eval needs env.id=ENVIRONMENT"),
        ("eval policy.path=OUT env.id=Pendulum-v1 out=OUT", "no policy in"),
        ("eval policy.path=RUN env.id=Pendulum-v9 out=OUT", "did you mean 'Pendulum-v1'?"),
        ("eval policy.path=RUN env.id=Pendulum-v1 out=OUT", "observation 'observation' has shape (6,)"),
        ("eval policy.path=RUN env.id=CartPole-v1 out=OUT", "only continuous action vectors are supported"),
        ("eval policy.path=RUN task=pointmaze episodes=0 out=OUT", "episodes must be at least 1, got 0"),
        ("eval policy.path=RUN task=pointmaze seed=-1 out=OUT", "seed"),
        ("eval policy.path=RUN task=pointmaze out=FILE", "is a file; laminar eval writes a folder"),
        ("eval polcy.path=RUN task=pointmaze out=OUT", "did you mean 'policy.path'?"),
        ("eval policy=RUN task=pointmaze out=OUT", "'policy' is a group of settings"),
        ("compare RUN env.id=Pendulum-v1 out=OUT", "laminar compare needs two policies"),
        (
            "compare RUN RUN RUN policy.steps=[1,2] env.id=Pendulum-v1 out=OUT",
            "3 policies are compared, and steps has 2",
        ),
        ("compare RUN RUN a.path=RUN env.id=Pendulum-v1 out=OUT", "compare takes all policies as words"),
        ("compare RUN RUN out=OUT", "laminar compare needs env.id=ENVIRONMENT"),
        ("collect out=OUT", "laminar collect needs task=NAME"),
        ("collect task=pointmass out=OUT", "did you mean 'pointmaze'?"),
        ("collect task=pointmaze", "laminar collect needs out=FILE.hdf5"),
        ("collect task=pointmaze episodes=0 out=OUT", "episodes must be at least 1"),
        ("inspect", "usage: laminar inspect FILE [sheet=FILE.png] [data.robot=NAME] [--json]"),
        ("inspect FILE --jsno", "usage: laminar inspect FILE [sheet=FILE.png] [data.robot=NAME] [--json]"),
        ("inspect OUT", "no such file"),
    ],
)
def test_mistakes_in_other_verbs(
    words: str, message: str, demonstrations: Path, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = {"OUT": tmp_path / "out", "FILE": demonstrations, "RUN": run}
    for name, place in places.items():
        words = words.replace(name, str(place))
    before = demonstrations.read_bytes()
    assert message in error_of(words.split(), capsys)
    assert not list(tmp_path.iterdir()), "nothing is created on error"
    assert demonstrations.read_bytes() == before


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("cut", "cut off or damaged HDF5 file"),
        ("text", "not a known demonstration format"),
        ("empty", "the file is empty"),
        ("no actions", "actions"),
        ("nan", "action is not finite in 1 of"),
        ("inf", "observation 'observation' is not finite"),
        ("rows", "rewards"),
        ("no rows", "no episodes"),
    ],
)
def test_damaged_demonstrations(
    damage: str, message: str, demonstrations: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "damaged.hdf5"
    content = demonstrations.read_bytes()
    path.write_bytes({"cut": content[: len(content) // 2], "text": b"dear robot,\n", "empty": b""}.get(damage, content))
    if damage in ("no actions", "nan", "inf", "rows", "no rows"):
        with h5py.File(path, "a") as file:
            damage_arrays(file, damage)
    line = error_of(train_words(path, tmp_path / "run"), capsys)
    assert str(path) in line
    assert message in line
    assert not (tmp_path / "run").exists()


def damage_arrays(file: h5py.File, damage: str) -> None:
    if damage == "no actions":
        del file["actions"]
    elif damage == "nan":
        file["actions"][5, 1] = float("nan")
    elif damage == "inf":
        file["observations"][5, 1] = float("inf")
    elif damage == "rows":
        short = file["rewards"][:-1]
        del file["rewards"]
        file["rewards"] = short
    else:
        for name in ("observations", "next_observations", "actions", "rewards", "terminals", "timeouts"):
            nothing = file[name][:0]
            del file[name]
            file[name] = nothing
