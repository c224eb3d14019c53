"""Names that the pages promise exist: settings, extras, versions, what the image is made of."""

from __future__ import annotations

import configparser
import fnmatch
import re
from pathlib import Path

import pytest

import laminar

ROOT = Path(__file__).resolve().parents[2]
PAGES = [page for page in sorted((ROOT / "docs").glob("*.md")) if page.name != "settings.md"]
SETTINGS = set(re.findall(r"^\| `([\w.]+)` \|", (ROOT / "docs/settings.md").read_text("utf-8"), flags=re.MULTILINE))
GROUPS = "method|network|data|env|evaluation|runtime|world|init|plan"  # `policy.act` is Python, so policies come below
NAME = re.compile(rf"(?<![\w.'/])((?:(?:{GROUPS})\.\w|policy\.(?:process|encoder|augment|inverse|draft)\.\w)[\w.]*\w)")
NO_SETTINGS = {"env.reset", "env.step", "env.action_space.sample", "env.steered", "env.unwrapped"}
NO_SETTINGS |= {"method.noise_head", "plan.png"}


def setup() -> configparser.ConfigParser:
    found = configparser.ConfigParser()
    found.read(ROOT / "setup.cfg", encoding="utf-8")
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_settings_that_pages_name_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    if page.name == "coming_from.md":  # theirs stand on the left
        text = "\n".join(line.rpartition(" | ")[2] for line in text.splitlines())
    code = " ".join(re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)))
    named = set(NAME.findall(code)) - NO_SETTINGS
    assert {name for name in named if not any(one == name or one.startswith(f"{name}.") for one in SETTINGS)} == set()


def test_there_are_settings_to_check() -> None:
    assert len(SETTINGS) > 300
    assert "method.eta" in NAME.findall("`method.eta=2.5`, env.reset(seed=1)")


def test_extras_are_those_of_the_page() -> None:
    page = (ROOT / "docs/install.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`.*?) \|", page.split("## Extras")[1].split("\n## ")[0], flags=re.MULTILINE)
    assert {name for row in rows for name in re.findall(r"`(\w+)`", row)} == set(setup()["options.extras_require"])


def test_the_citation_is_of_this_version() -> None:
    text = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    fields = dict(re.findall(r"^([\w-]+): *\"?(.*?)\"?$", text, flags=re.MULTILINE))
    assert fields["cff-version"] == "1.2.0"
    assert fields["version"] == laminar.__version__
    assert fields["license"] == setup()["metadata"]["license_expression"]
    assert fields["type"] == "software"
    assert {"title", "message", "authors"} <= fields.keys()


def docker() -> tuple[list[str], list[str]]:
    """Return the sources that the Dockerfile copies, and the patterns that keep files out of an image."""
    copied = re.findall(r"^COPY ((?:\S+ )+)\S+$", (ROOT / "Dockerfile").read_text("utf-8"), flags=re.MULTILINE)
    kept_out = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    return [one for line in copied for one in line.split()], [one for one in kept_out if one and one[0] != "#"]


def test_what_the_image_is_made_of_is_there() -> None:
    copied, kept_out = docker()
    assert len(copied) >= 2
    assert [one for one in copied if not (ROOT / one).exists()] == []
    needed = {package.partition(".")[2].split(".")[0] for package in setup()["options"]["packages"].split()} - {""}
    needed |= {path.name for path in ROOT.glob("*.py")} | {"setup.cfg", "pyproject.toml", "requirements.lock"}
    needed |= {"README.md", "LICENSE", "py.typed"}
    assert [one for one in needed if any(fnmatch.fnmatch(one, pattern) for pattern in kept_out)] == []
    assert {"outputs", "tests", "docs"} <= set(kept_out)


def test_the_extras_of_the_image_exist() -> None:
    (extras,) = re.findall(r"'\.\[([\w,]+)\]'", (ROOT / "Dockerfile").read_text(encoding="utf-8"))
    assert set(extras.split(",")) <= set(setup()["options.extras_require"])
