"""`laminar doctor`: what is here, what is missing, and the command that gets it."""

from __future__ import annotations

import json
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import NoReturn

import pytest

from laminar import doctor
from laminar.cli import main
from laminar.envs.calvin_install import VARIABLE

CORE = ["numpy>=1.26", "mujoco<3.12,>=3.3", 'tomli>=2; python_version < "3"']
EXTRAS = ['minari>=0.5.3; python_version < "3" and extra == "minari"', 'wandb>=0.18; extra == "wandb"']
DEVELOPMENT = ['pytest>=8; extra == "dev"']


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Return package -> version of an imaginary machine, to be changed before the doctor comes."""
    installed = {"numpy": "2.1", "mujoco": "3.11.0", "wandb": "0.20"}

    def installed_version(name: str) -> str:
        if name not in installed:
            raise PackageNotFoundError(name)
        return installed[name]

    monkeypatch.setattr(doctor, "requires", lambda name: [*CORE, *EXTRAS, *DEVELOPMENT])
    monkeypatch.setattr(doctor, "version", installed_version)
    return installed


def found(capsys: pytest.CaptureFixture[str]) -> dict[str, dict[str, object]]:
    return {check["name"]: check for check in json.loads(capsys.readouterr().out)}


def test_a_complete_core_is_enough(machine: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    del machine["wandb"]
    assert main(["doctor"]) == 0
    printed = capsys.readouterr()
    core, optional = printed.out.split("optional\n")
    assert core.startswith("core\n")
    assert "missing" not in core
    assert "ok       mujoco" in core
    assert "lacks wandb; pip install 'wandb>=0.18'" in optional
    assert f"not available for Python {platform.python_version()}" in optional, "minari, on this imaginary machine"
    assert "pytest" not in printed.out
    assert "tomli" not in printed.out, "it is for other Pythons"
    assert printed.err == ""


@pytest.mark.parametrize(
    ("installed", "problem"),
    [(None, "not installed"), ("3.12.0", "3.12.0 is installed, <3.12,>=3.3 is needed"), ("3.2", "3.2 is installed")],
)
def test_a_core_package_that_does_not_fit(
    machine: dict[str, str], installed: str | None, problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.pop("mujoco")
    if installed:
        machine["mujoco"] = installed
    assert main(["doctor"]) == 2
    printed = capsys.readouterr()
    (row,) = (line for line in printed.out.splitlines() if " mujoco " in line)
    assert row.split()[0] == "missing"
    assert problem in row
    assert row.endswith("pip install 'mujoco<3.12,>=3.3'")
    assert printed.err.startswith("laminar: laminar is not complete: mujoco;")
    assert printed.err.count("\n") == 1


def test_json_holds_the_same(machine: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json"]) == 0
    checks = found(capsys)
    assert checks["numpy"] == {"name": "numpy", "core": True, "ok": True, "detail": "2.1"}
    assert checks["wandb"] == {"name": "wandb", "core": False, "ok": True, "detail": "wandb 0.20"}
    assert checks["python"]["detail"] == platform.python_version()
    assert checks.keys() >= {"cuda", "pictures", "video", "calvin_env", "minari"}


def test_this_machine_passes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json"]) == 0
    checks = found(capsys)
    assert checks["torch"]["detail"] == version("torch")
    assert checks["video"]["ok"] is True


def test_what_the_simulators_lack_is_told_with_the_remedy(
    machine: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(VARIABLE, "/nowhere")
    monkeypatch.setattr("laminar.envs.rendering.rendering_problem", lambda: "no OpenGL; install one")
    assert main(["doctor", "--json"]) == 0
    checks = found(capsys)
    assert checks["pictures"] == {"name": "pictures", "core": False, "ok": False, "detail": "no OpenGL; install one"}
    assert checks["calvin_env"]["ok"] is False
    assert "/nowhere lacks calvin_env/envs/play_table_env.py" in str(checks["calvin_env"]["detail"])
    assert "git clone" in str(checks["calvin_env"]["detail"])


def test_without_a_core_nothing_is_imported(
    machine: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> NoReturn:
        raise AssertionError("this needs the core")

    monkeypatch.setattr(doctor, "_machine", fail)
    monkeypatch.setattr(doctor, "_device", fail)
    del machine["numpy"]
    assert main(["doctor"]) == 2
    assert "calvin_env" not in capsys.readouterr().out


def test_laminar_itself_is_not_installed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def requires(name: str) -> NoReturn:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(doctor, "requires", requires)
    assert main(["doctor"]) == 2
    assert "pip install -e ." in capsys.readouterr().err


def test_a_word_that_the_doctor_does_not_know(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--jsn"]) == 2
    assert capsys.readouterr().err == "laminar: usage: laminar doctor [--json], got --jsn\n"
    assert main(["doctor", "--help"]) == 0
    assert "--json" in capsys.readouterr().out
