"""The house rules that a machine can check: sizes, names, light imports, no pickle."""

from __future__ import annotations

import ast
import io
import re
import subprocess
import sys
import tokenize
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

ROOMS = ("data", "policies", "world_models", "envs", "eval", "train", "deploy")
OUTSIDE = {"tests", "benchmarks", "docs", "examples", "outputs", "build", "dist"}
ROOT = Path(__file__).resolve().parents[2]

MODULES = sorted(
    path
    for path in ROOT.rglob("*.py")
    if path.relative_to(ROOT).parts[0] not in OUTSIDE
    and not any(part.startswith(".") for part in path.relative_to(ROOT).parts)
)
TESTS = sorted((ROOT / "tests").rglob("*.py"))


@cache
def parsed(path: Path) -> ast.Module:
    """Return the tree of a file."""
    return ast.parse(path.read_text(encoding="utf-8"))


def code_lines(source: str) -> int:
    """Count the lines that hold code: no blank lines, no comments, no docstrings."""
    lines: set[int] = set()
    silent = (
        tokenize.COMMENT,
        tokenize.NL,
        tokenize.NEWLINE,
        tokenize.INDENT,
        tokenize.DEDENT,
        tokenize.ENDMARKER,
    )
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in silent:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            lines.difference_update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return len(lines)


def imported(tree: ast.Module) -> set[str]:
    """Return the top-level names that absolute imports name, wherever in the file."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module.split(".")[0])
    return names


def test_there_are_modules_to_check() -> None:
    assert {"data", "policies"} <= {path.relative_to(ROOT).parts[0] for path in MODULES}


def broken(rule: Callable[[Path, str], str | None], paths: list[Path]) -> list[str]:
    """Return what a rule says of those files that break it."""
    found = [(path, rule(path, path.read_text(encoding="utf-8"))) for path in paths]
    return [f"{path.relative_to(ROOT).as_posix()}: {said}" for path, said in found if said]


def length(path: Path, source: str) -> str | None:
    lines = len(source.splitlines())
    if lines > 400 or (lines > 350 and code_lines(source) > 350):
        return "a file holds one thing: split it by its nouns"
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > 60:
                return f"{node.name}, line {node.lineno}, has {lines} lines"
    return None


def name(path: Path, source: str) -> str | None:
    names = {path.stem, *path.relative_to(ROOT).parts[:-1]}
    bad = names & {"utils", "util", "common", "helpers", "helper", "misc", "base"}
    return "is named for no noun" if bad or path.stem.startswith("base_") else None


def unpickling(path: Path, source: str) -> str | None:
    tree = parsed(path)
    unsafe = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
    if path.relative_to(ROOT).as_posix() == "data/numpy_pickle.py":  # the one unpickler, with an allow-list of its own
        unsafe.remove("pickle")
    if path.relative_to(ROOT).as_posix() == "train/sweeps/launchers/joblib.py":  # its threads, which pickle nothing
        unsafe.remove("joblib")
        assert "from joblib import Parallel, delayed" in source
        assert "threading" in source
    if imported(tree) & unsafe:
        return f"imports {imported(tree) & unsafe}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            call = ast.unparse(node.func)
            if call in {"torch.load", "torch.save", "eval", "exec"}:
                return f"line {node.lineno}: {call}"
            for keyword in node.keywords:
                if keyword.arg == "allow_pickle" and ast.unparse(keyword.value) != "False":
                    return f"line {node.lineno}: allow_pickle"
    return None


def absolute(path: Path, source: str) -> str | None:
    found = imported(parsed(path)) & {"laminar", *ROOMS}
    return f"imports {found} by absolute names" if found else None


def from_a_room(path: Path, source: str) -> str | None:
    if not re.search(rf"\b(from|import)\s+({'|'.join(ROOMS)})\b", source):  # in text it may be, too
        return None
    found = imported(parsed(path)) & set(ROOMS)
    return f"imports {found}, which a user has in laminar" if found else None


@pytest.mark.parametrize("rule", [length, name, unpickling, absolute], ids=lambda rule: rule.__name__)
def test_every_module_keeps(rule: Callable[[Path, str], str | None]) -> None:
    assert broken(rule, MODULES) == []


def test_tests_import_the_package_as_a_user_does() -> None:
    assert broken(from_a_room, TESTS) == []


@pytest.mark.parametrize(
    ("rule", "source"),
    [
        (length, "a = 1\n" * 351),
        (length, "\n" * 401),
        (length, "def long():\n" + "    a = 1\n" * 60),
        (unpickling, "import pickle"),
        (unpickling, "from joblib import load"),
        (unpickling, "torch.load(path)"),
        (unpickling, "np.load(path, allow_pickle=True)"),
        (absolute, "from laminar.data import spec"),
        (from_a_room, "import policies.generative"),
    ],
    ids=map(str, range(9)),
)
def test_a_rule_finds_what_breaks_it(
    rule: Callable[[Path, str], str | None], source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(globals(), "parsed", lambda path: ast.parse(source))
    assert rule(ROOT / "data/made_up.py", source)


@pytest.mark.parametrize("path", ["utils.py", "data/common/spec.py", "policies/base_policy.py"])
def test_a_name_that_is_no_noun_is_found(path: str) -> None:
    assert name(ROOT / path, "")


def modules_after(statement: str) -> set[str]:
    """Return the modules that are loaded after one statement in a fresh interpreter."""
    code = f"import sys\n{statement}\nprint(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(sys.prefix))
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def loaded_after(statement: str) -> set[str]:
    """Return the top-level modules that are loaded after one statement in a fresh interpreter."""
    return {name.split(".")[0] for name in modules_after(statement)}


HEAVY = {
    "gymnasium",
    "gymnasium_robotics",
    "mujoco",
    "hydra",
    "omegaconf",
    "h5py",
    "matplotlib",
    "tensorboard",
    "imageio",
    "stable_baselines3",
}


LIGHT = [
    "import laminar.policies",
    "import laminar.policies.generative",
    "import laminar.policies.runtimes.accelerate",
    "import laminar.policies.export.write, laminar.policies.export.exported",
    "from laminar import load_policy, accelerate",
]


@pytest.fixture(scope="module")
def light_modules() -> dict[str, set[str]]:
    """Statement -> modules that are loaded after it; torch, which takes longest, is imported once for all of them."""
    code = (
        "import os, sys, torch\n"
        f"for statement in {LIGHT}:\n"
        "    if not (child := os.fork()):\n"
        "        exec(statement)\n"
        "        print(*sorted(sys.modules), flush=True)\n"
        "        os._exit(0)\n"
        "    assert os.waitpid(child, 0)[1] == 0, statement\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(sys.prefix))
    assert done.returncode == 0, done.stderr
    return dict(zip(LIGHT, (set(line.split()) for line in done.stdout.splitlines()), strict=True))


@pytest.mark.parametrize("statement", LIGHT)
def test_policies_are_light(statement: str, light_modules: dict[str, set[str]]) -> None:
    """A robot that samples, accelerates or exports needs nothing of training, evaluation or simulators."""
    modules = light_modules[statement]
    loaded = {name.split(".")[0] for name in modules}
    assert {"laminar", "torch"} <= loaded
    assert not loaded & (HEAVY | {"minari", "wandb", "d4rl"})
    rooms = {name.split(".")[1] for name in modules if name.startswith("laminar.")}
    assert rooms <= {"data", "policies", "errors", "machine", "overwriting", "registry", "settings", "version"}


def test_the_facade_is_lazy() -> None:
    assert not loaded_after("import laminar; laminar.__version__; dir(laminar)") & (HEAVY | {"torch", "numpy"})


def test_the_facade_gives_the_three_functions() -> None:
    import laminar

    for name in ("accelerate", "load_policy", "load_episodes", "evaluate", "register"):
        function = getattr(laminar, name)
        assert callable(function)
        assert function.__name__ == name
        assert name in dir(laminar)
    with pytest.raises(AttributeError, match="'laminar' has no attribute 'load_polcy'"):
        _ = laminar.load_polcy


def test_only_the_method_that_uses_it_imports_stable_baselines() -> None:
    """Not the list of methods, nor the settings of this one, nor the environment that others learn in."""
    statement = "import laminar.train.methods.dsrl_sac, laminar.train.run.trainer; from laminar import NoiseEnv"
    assert "stable_baselines3" not in loaded_after(statement)
