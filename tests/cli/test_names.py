"""Names that people's files have: what is typed is what is opened, in every verb, and again when a run is resumed."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import string
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from laminar.cli import main
from laminar.configs.compose import compose
from laminar.configs.words import quoted, read_text
from laminar.data.load import load_episodes
from laminar.errors import LaminarError
from laminar.machine import at_home
from laminar.settings import Text
from laminar.train.methods.bc import BehaviorCloning

NAMES = [
    "plain.hdf5",
    "demos (1).hdf5",
    "epoch=3-step=100.hdf5",
    "démos_介绍.hdf5",
    "日本語",
    "e\u0301",
    "٣",
    "~demos.hdf5",
    "[final] demos.hdf5",
    "[a",
    "a]",
    "it's mine",
    'say "hi"',
    "'tis",
    "x#1",
    "cost$5",
    "${seed}",
    "${oc.env:HOME}",
    "${",
    "\\${x}",
    "{a: 1}",
    "{}",
    "me@home",
    "back\\slash",
    "end\\",
    "1e5",
    "true",
    "007",
    "nan",
    ".5",
    "...",
    "???",
    "-dash",
    "--json.hdf5",
    "+plus",
    "a:b;c|d&e",
    "%s%d",
    "a*b?",
    "<x>",
    "`x`",
    "wow!",
    "tab\there",
    "new\nline",
    "out=x",
]
COMMAS = ["a,b.hdf5", "key=a,b=[c]", "x, y", ","]
SPACES = [" leading", "trailing ", "\u00a0"]
ENCLOSED = ["null", "'quoted'", '"quoted"', "[list]", "[]", "['a','b']", "~"]  # text that says something else
KEYS = [
    ("train", "data.path"),
    ("train", "out"),
    ("train", "init"),
    ("train", "env.id"),
    ("train", "data.instruction"),
    ("eval", "policy.path"),
    ("eval", "env.id"),
    ("eval", "out"),
    ("export", "out"),
    ("bench", "policy.path"),
    ("schedule", "data.path"),
    ("replay", "data.path"),
    ("collect", "out"),
    ("compare", "a.path"),
]
FILES, FOLDER = Text(path=True, listed=True), Text(path=True)
FILE_NAMES = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=40)
GRAMMAR = st.text("'\"\\,[]{}$~=():# ab\n", min_size=1, max_size=12)  # what grammars read more in than characters


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def value(verb: str, key: str, text: str) -> object:
    found = compose(verb, [f"{key}={text}"])
    for name in ("init.path" if key == "init" else key).split("."):
        found = getattr(found, name)
    return found


def is_plain(name: str) -> bool:
    """Whether a name says nothing else by its form, see README.md."""
    enclosed = len(name) > 1 and ((name[0] == name[-1] and name[0] in "'\"") or name[0] + name[-1] == "[]")
    return not (enclosed or name in ("null", "~"))


# what is composed


@pytest.mark.parametrize("name", NAMES + COMMAS + SPACES)
def test_a_name_is_taken_as_it_is_typed(name: str) -> None:
    listed = f"[{name},plain,{name}]" if name in NAMES else f"[{quoted(name)},plain, {quoted(name)} ]"
    config = compose("schedule", [f"policy.path={name}", f"data.path={listed}", f"out={name}"])
    assert (config.policy.path, config.data.path, config.out) == (name, [name, "plain", name], name)
    assert read_text("data.path", name, FILES) == name


@pytest.mark.parametrize(("verb", "key"), KEYS)
def test_in_every_setting_that_is_a_name(verb: str, key: str) -> None:
    name = "it's ${seed} (1), [b]=~#"
    assert value(verb, key, name) == name
    assert value(verb, key, "null") is None


def test_a_teacher_is_such_a_setting() -> None:
    assert compose("train", ["method=reflow", "method.teacher=runs/it's (1)"]).method.teacher == "runs/it's (1)"


@pytest.mark.parametrize("name", NAMES + COMMAS + SPACES + ENCLOSED)
def test_quotes_and_a_folder_in_front_are_always_understood(name: str) -> None:
    assert read_text("data.path", quoted(name), FILES) == name
    assert read_text("data.path", f"[{quoted(name)}, {quoted(name)}]", FILES) == [name, name]
    assert read_text("data.path", f"./{name}", FILES) == f"./{name}"
    assert read_text("out", quoted(name), FOLDER) == name
    assert read_text("out", f"./{name}", FOLDER) == f"./{name}"


@pytest.mark.parametrize("name", NAMES + COMMAS + SPACES + ENCLOSED)
def test_what_exists_by_its_very_name_is_meant(name: str, tmp_path: Path) -> None:
    (tmp_path / name).touch()
    assert read_text("data.path", name, FILES) == name
    assert read_text("data.path", f"[{name},{name}]", FILES) == [name, name]
    assert read_text("out", name, FOLDER) == name


@given(name=FILE_NAMES | GRAMMAR)
@example(name="\\'")
@example(name="'a','b'")
def test_any_name(name: str) -> None:
    for kind in (FILES, FOLDER):
        assert read_text("out", quoted(name), kind) == name
        assert read_text("out", f"./{name}", kind) == f"./{name}"
        if is_plain(name):
            assert read_text("out", name, kind) == name
    if is_plain(name) and "," not in name and name == name.strip() and name[0] not in "'\"":
        assert read_text("data.path", f"[{name},{name}]", FILES) == [name, name]


@given(names=st.lists(FILE_NAMES | GRAMMAR, min_size=1, max_size=4))
def test_any_list_of_names(names: list[str]) -> None:
    assert read_text("data.path", f"[{','.join(map(quoted, names))}]", FILES) == names


@settings(max_examples=20, deadline=None)
@given(name=(FILE_NAMES | GRAMMAR).filter(is_plain))
def test_any_name_as_a_word(name: str) -> None:
    config = compose("schedule", [f"policy.path={name}", f"data.path=[{quoted(name)},{quoted(name)}]", f"out={name}"])
    assert (config.policy.path, config.data.path, config.out) == (name, [name, name], name)


def test_a_comma_separates_unless_the_whole_is_there(tmp_path: Path) -> None:
    (tmp_path / "a,b").touch()
    (tmp_path / "c").touch()
    assert value("train", "data.path", "[a,b,c]") == ["a,b", "c"]
    (tmp_path / "a").touch()
    assert value("train", "data.path", "[a,b,c]") == ["a", "b", "c"]
    with pytest.raises(LaminarError, match=r"has an empty name; one with a comma inside goes in quotes"):
        value("train", "data.path", "[d,,e]")


def test_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert value("train", "out", "~/run") == "/home/me/run"
    assert value("train", "data.path", "[~/a,~b]") == ["/home/me/a", "~b"]
    assert value("train", "out", "'~/run'") == "~/run"
    assert at_home("~") == "/home/me"
    assert at_home("~root") == "~root"
    (tmp_path / "~").mkdir()
    (tmp_path / "~" / "run").touch()
    assert value("train", "out", "~/run") == "/home/me/run"
    assert value("train", "out", "~") == "~"


def test_names_that_are_no_text_are_refused() -> None:
    with pytest.raises(LaminarError, match="has the byte 0xe9, which is no UTF-8; rename it"):
        compose("train", [f"out={os.fsdecode(b'd' + bytes([0xE9]))}"])


def test_other_settings_keep_their_grammar() -> None:
    config = compose("bench", ["runtimes=[eager, onnx]", "steps=[1,null]", "batch=[1,16]", "seed=${calls}", "calls=7"])
    assert (config.runtimes, config.steps, config.batch, config.seed) == (["eager", "onnx"], [1, None], [1, 16], 7)
    assert compose("train", ["data.observation=[a (1),b]"]).data.observation == ["a (1)", "b"]
    with pytest.raises(LaminarError, match=r"runtime\.device must be a name, got null"):
        compose("train", ["runtime.device=null"])


# what is done with it


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Return the bytes of a good file."""
    path, rng = tmp_path_factory.mktemp("names") / "good.hdf5", np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        file["observations"] = rng.normal(size=(60, 4)).astype("f")
        file["actions"] = rng.uniform(-1, 1, size=(60, 2)).astype("f")
        file["rewards"] = rng.normal(size=60).astype("f")
        file["terminals"] = np.zeros(60, bool)
        file["timeouts"] = np.arange(60) % 20 == 19
    return path.read_bytes()


def command(*words: str) -> list[str]:
    return ["train", "policy=direct", "network.width=8", "steps=1", *words]


@pytest.mark.parametrize("name", NAMES + COMMAS + SPACES + ENCLOSED)
def test_a_file_is_inspected(name: str, content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / name).write_bytes(content)
    assert main(["inspect", name, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["path"] == name
    assert load_episodes(name).num_episodes == 3


def test_a_name_that_is_no_text_is_inspected(content: bytes, tmp_path: Path) -> None:
    name = b"d\xe9mo.hdf5"
    Path(os.fsdecode(bytes(tmp_path) + b"/" + name)).write_bytes(content)
    done = subprocess.run([sys.executable, "-m", "laminar.cli", "inspect", name], capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert b"3 (0 terminated, 3 truncated)" in done.stdout


def test_a_message_shows_a_name_as_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", "two  spaces\n.hdf5"]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "two  spaces" in told


ALL_THE_WAY = ["demos (1)=it's ~[1], ${seed} 介绍", "-~run=1e5", "null", "a|b`c"]


@pytest.mark.parametrize("name", ALL_THE_WAY)
def test_all_the_way(name: str, content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Train, go on, evaluate, export, compare and tabulate, each with the name wherever one goes."""
    run = name if name != "null" else "./null"
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / name).write_bytes(content)
    words = command(f"data.path=[data/{name},{quoted(f'data/{name}')}]" if "," in name else f"data.path=data/{name}")
    assert main([*words, f"out={run}"]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"data", name}
    assert main([*words, f"out={run}", "resume=true"]) == 0
    assert main(["export", f"policy.path={run}", f"out=exports/{name}"]) == 0
    assert (tmp_path / "exports" / name / "policy.onnx").is_file()
    capsys.readouterr()
    # Far enough to see that both policies were found.
    assert main(["compare", name, run, "env.id=Nowhere-v9"]) == 2
    assert "unknown environment 'Nowhere-v9'" in capsys.readouterr().err
    assert main(["table", name, f"out={run}"]) == 2
    assert "eval.json" in capsys.readouterr().err


def test_an_evaluation(tmp_path: Path) -> None:
    name = "maze (1)=it's [a]|`b`"
    assert main(["collect", "task=pointmaze", "episodes=2", f"out={name}.hdf5"]) == 0
    assert main([*command("task=pointmaze"), f"data.path={name}.hdf5", f"out={name}"]) == 0
    assert main(["eval", f"policy.path={name}", "task=pointmaze", "episodes=1", f"out={name}/eval"]) == 0
    assert (tmp_path / name / "eval" / "report.md").is_file()
    compared = ["compare", name, name, "task=pointmaze", "episodes=1", f"out={name}/compare"]
    assert main(compared) == 0
    assert (tmp_path / name / "compare" / "compare.json").is_file()


def test_play_is_recorded_where_it_is_said(tmp_path: Path) -> None:
    assert main(["collect", "task=playroom/play", "steps=1000", "processes=1", "out=~play (1)"]) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["~play (1)"]


def test_paths_that_look_like_options_or_settings(
    content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["inspect", "-new.hdf5"]) == 2
    assert "a path with '-' in front is written ./-new.hdf5" in capsys.readouterr().err
    (tmp_path / "-new.hdf5").write_bytes(content)
    assert main(["inspect", "-new.hdf5"]) == 0
    (tmp_path / "seed=5").write_bytes(content)
    assert main(["compare", "seed=5", "./seed=5", "env.id=x"]) == 2
    assert "./ in front of a folder that is called like a setting" in capsys.readouterr().err
    assert main(["compare", "sedd=5", "a", "b", "env.id=x"]) == 2
    assert "unknown setting 'sedd'" in capsys.readouterr().err


def test_what_is_printed_can_be_pasted(
    content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """After a stop, the command that goes on."""
    name = "it's $HOME (1)"
    (tmp_path / name).write_bytes(content)
    monkeypatch.setattr("sys.argv", ["laminar", *command(f"data.path={name}", f"out=run {name}", "steps=3")])
    with monkeypatch.context() as patch:
        update = BehaviorCloning.update

        def stop(improver: BehaviorCloning, step: int) -> Any:
            os.kill(os.getpid(), signal.SIGINT)
            return update(improver, step)

        patch.setattr(BehaviorCloning, "update", stop)
        assert main() == 130
    last = capsys.readouterr().out.strip().splitlines()[-1]
    assert main(shlex.split(last)[1:]) == 0
    assert (tmp_path / f"run {name}" / "checkpoints" / "step_00000003").is_dir()


def test_the_command_that_downloads_can_be_pasted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("D4RL_DATASET_DIR", str(tmp_path / "it's $HOME"))
    assert main(["inspect", "hopper-medium-v2"]) == 2
    told = capsys.readouterr().err
    words = shlex.split(told[told.index("curl") : told.index(", or set")])
    assert Path(words[words.index("-o") + 1]).parent == tmp_path / "it's $HOME"


def test_the_alphabet_is_covered() -> None:
    """Every printable ASCII character that a file name can have is in one of the names."""
    used = set("".join(NAMES + COMMAS + SPACES + ENCLOSED))
    assert set(string.punctuation) - {"/", "^", "_"} - used == set()


def test_folders_of_runs_in_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "-runs=1").mkdir()
    assert main(["table", "-runs=1"]) == 2
    assert "-runs=1: " in capsys.readouterr().err
    shutil.rmtree(tmp_path / "-runs=1")
    assert main(["table", "-runs=1"]) == 2
    assert "is written ./-runs=1" in capsys.readouterr().err
