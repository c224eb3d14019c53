"""The help: every setting explained, for the choices on the line, without waiting; and the reference of them all."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, make_dataclass
from pathlib import Path

import pytest
import yaml

from laminar.cli import main
from laminar.configs import description
from laminar.configs.compose import GROUPS, SCHEMAS, compose, options
from laminar.configs.description import choices, describe
from laminar.configs.notes import notes_of
from laminar.configs.reference import RECORDED, from_record
from laminar.configs.settings_page import from_classes, to_json, to_markdown
from laminar.errors import LaminarError
from laminar.settings import number
from laminar.verbs import VERBS

LINES = [
    [],
    *([f"{group}={name}"] for group in ("policy", "method") for name in options(group)),
    ["method=ofql", "policy=flow", "network=unet1d"],
    ["experiment=playroom-skill", "policy=diffusion", "network=transformer", "runtime=cuda_graph"],
    ["experiment=d4rl/fql/pen-human"],
]


# what it says


def shown(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """Return the help, with the breaks inside comments taken out."""
    capsys.readouterr()
    assert main([*words, "--help"]) == 0
    text = capsys.readouterr().out
    lines: list[str] = []
    for line in text.splitlines():
        if line.strip().startswith("# ") and lines:
            lines[-1] += line.strip()[1:]
        else:
            lines.append(line)
    return "\n".join(" ".join(line.split()) if "#" in line else line for line in lines)


@pytest.mark.parametrize(
    ("words", "lines"),
    [
        (
            "train",
            [
                "log_every: 500 # updates between rows in the logs (at least 1)",
                "activation: silu # relu is for policy=direct only (silu, gelu, mish, relu or tanh)",
                "out: null # folder of the run (a path or null)",
                "data: # Demonstrations",
                "lr: 0.001 # peak learning rate of AdamW (above 0)",
                "steps: 1 # network calls per sample (at least 1)",
            ],
        ),
        (
            "train policy=diffusion network=unet1d method=td3bc",
            [
                "clip: 1.0 # bound of the predicted data in normalized units; null does not clip (above 0, or null)",
                "widths: # channels of each level, finest first (a list of numbers, each at least 1)",
                "target_noise: 0.2 # deviation of noise on the target's actions (TD3), normalized units (at least 0)",
            ],
        ),
        (
            "eval",
            [
                "episodes: 50 # one a seed (at least 1)",
                "temperature: 1.0 # in units of Q; what is guided aims at policy x exp(Q / temperature) (above 0)",
            ],
        ),
        (
            "export",
            ["steps: null # network calls, or the name of a schedule of the policy; null is the configured number"],
        ),
    ],
)
def test_a_setting_has_its_default_comment_and_bounds(
    words: str, lines: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    text = shown(words.split(), capsys).splitlines()
    for line in lines:
        assert line in text


def test_settings_on_the_line_do_not_matter(capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(["train", "policy=flow", "steps=none", "out=x"], capsys) == shown(["train", "policy=flow"], capsys)


@pytest.mark.parametrize("verb", list(SCHEMAS))
def test_what_is_described_is_yaml_of_the_settings(verb: str) -> None:
    found, config = yaml.safe_load(describe(verb)), compose(verb, [])
    assert set(found) == set(vars(config))


@pytest.mark.parametrize("verb", list(SCHEMAS))
def test_every_setting_is_explained(verb: str) -> None:
    """A line ends with the comment, or it continues a list."""
    for line in describe(verb).splitlines():
        assert "# " in line or line.strip().startswith(("- ", "name:")), line


def test_lines_are_not_long() -> None:
    assert max(len(line) for verb in SCHEMAS for line in describe(verb).splitlines()) <= 120


def test_long_lists_are_folded_by_folder() -> None:
    lines = choices("train")
    assert "task=pointmaze|pusht|pusht-block|pusht-pictures|maze2d/…|ogbench/…|playroom/…" in lines
    assert next(line for line in lines if line.startswith("experiment=")).endswith("|robosuite-lift|d4rl/…|ogbench/…")
    planners = "flow_planner|meanflow|meanflow_planner|ofql|trajectory_diffuser|veteran"
    assert f"policy=ctm|decision_diffuser|diffuser|diffusion|direct|dql|flow|{planners}" in lines
    assert lines[-1] == "(… is a folder: laminar train task=maze2d/ --help opens it)"


@pytest.mark.parametrize("word", ["", "task=playroom/", "experiment=d4rl/"])
def test_long_lists_are_broken_between_names(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", *word.split(), "--help"]) == 0
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 120
    for line in choices("train", word.split()):
        assert line in "".join(part.strip() for part in text.splitlines() if part.strip())


def test_a_folder_is_opened(capsys: pytest.CaptureFixture[str]) -> None:
    (tasks,) = (line for line in choices("train", ["task=playroom/"]) if line.startswith("task="))
    inside = {name for name in options("task", "train") if name.startswith("playroom/")}
    assert set(tasks.removeprefix("task=").split("|")) == inside
    (found,) = (line for line in choices("train", ["experiment=d4rl/"]) if line.startswith("experiment="))
    assert "|d4rl/hopper-medium|" in found
    assert found.endswith("|d4rl/veteran/…")
    assert main(["train", "experiment=d4rl/", "--help"]) == 0
    assert "d4rl/ofql/…" in capsys.readouterr().out


def test_an_unknown_choice(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "policy=flo", "--help"]) == 2
    assert "no policy is called 'flo'" in capsys.readouterr().err


# where it comes from


@dataclass
class Parent:
    # not of a field

    name: str = "own"
    old: int = 1  # from before


@dataclass
class Child(Parent):
    # lines above,
    # two of them
    both: float = number(0.5, above=0)  # and one behind
    many: int | None = number(
        3,  # of an argument
        null=True,
    )  # after all
    none: bool = False


def test_comments_of_fields() -> None:
    assert notes_of(Child) == {
        "name": "",
        "old": "from before",
        "both": "lines above, two of them and one behind",
        "many": "of an argument after all",
        "none": "",
    }


def test_a_class_without_source_has_no_comments() -> None:
    assert notes_of(make_dataclass("Made", [("size", int)])) == {"size": ""}


def test_the_record_is_what_the_classes_say() -> None:
    assert RECORDED.read_text(encoding="utf-8") == to_json(from_classes()), "make settings"
    assert from_record() == from_classes()


def test_the_page_is_what_the_classes_say(repository: Path) -> None:
    page = (repository / "docs" / "settings.md").read_text(encoding="utf-8")
    assert page == to_markdown(from_classes()), "make settings"
    for verb in SCHEMAS:
        assert f"## laminar {verb}\n" in page
    for key in ("data.path", "policy.process.clip", "method.target_noise", "network.widths", "method.critic.heads"):
        assert f"| `{key}` |" in page


@pytest.mark.parametrize("words", LINES, ids=lambda words: " ".join(words) or "nothing chosen")
def test_the_record_describes_as_the_classes_do(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    quick = describe("train", words)
    monkeypatch.setattr(description, "registered", lambda _: ["something"])
    assert quick == describe("train", words)


def test_what_is_newer_than_the_record_is_described_by_its_class(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = describe("train", ["network=unet1d"])
    before = {place: one for place, one in from_record().items() if place != "network/unet1d_schema"}
    monkeypatch.setattr(description, "from_record", lambda: before)
    assert describe("train", ["network=unet1d"]) == wanted


# how long it takes


@pytest.mark.parametrize("words", [["--help"], ["--version"], *([verb, "--help"] for verb in VERBS)])
def test_help_imports_no_torch(words: list[str]) -> None:
    """That is two of three seconds; and no simulator either."""
    code = f"import sys\nfrom laminar.cli import main\nassert main({words}) == 0\nprint(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    loaded = {name.split(".")[0] for name in done.stderr.split()}
    assert "laminar" in loaded
    assert not loaded & {"torch", "numpy", "gymnasium", "mujoco", "h5py", "matplotlib"}


@pytest.mark.parametrize("group", sorted({group for groups in GROUPS.values() for group in groups}))
def test_choices_with_a_wrong_name(group: str) -> None:
    verb = next(verb for verb, groups in GROUPS.items() if group in groups)
    with pytest.raises(LaminarError, match=f"no {group} is called 'x'"):
        describe(verb, [f"{group}=x"])
