"""The house rules that a machine can check: sizes, names, light imports, no pickle."""

from __future__ import annotations

import ast
import io
import subprocess
import sys
import tokenize
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

each_module = pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())


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


@each_module
def test_files_and_functions_are_short(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    assert len(source.splitlines()) <= 400, "a file holds one thing: split it by its nouns"
    assert code_lines(source) <= 350
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            assert length <= 60, f"{node.name}, line {node.lineno}, has {length} lines"


@each_module
def test_a_module_is_named_for_its_noun(path: Path) -> None:
    names = {path.stem, *path.relative_to(ROOT).parts[:-1]}
    assert not names & {"utils", "util", "common", "helpers", "helper", "misc", "base"}
    assert not path.stem.startswith("base_")


@each_module
def test_nothing_is_unpickled(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    tree = ast.parse(source)
    unsafe = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
    if path.relative_to(ROOT).as_posix() == "data/numpy_pickle.py":  # the one unpickler, with an allow-list of its own
        unsafe.remove("pickle")
    if path.relative_to(ROOT).as_posix() == "train/sweeps/launchers/joblib.py":  # its threads, which pickle nothing
        unsafe.remove("joblib")
        assert "from joblib import Parallel, delayed" in source
        assert "threading" in source
    assert not imported(tree) & unsafe
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            call = ast.unparse(node.func)
            assert call not in {"torch.load", "torch.save", "eval", "exec"}, f"line {node.lineno}: {call}"
            for keyword in node.keywords:
                allowed = keyword.arg != "allow_pickle" or ast.unparse(keyword.value) == "False"
                assert allowed, f"line {node.lineno}: allow_pickle"


@each_module
def test_imports_inside_the_package_are_relative(path: Path) -> None:
    names = imported(ast.parse(path.read_text(encoding="utf-8")))
    assert "laminar" not in names
    assert not names & set(ROOMS)


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_tests_import_the_package_as_a_user_does(path: Path) -> None:
    assert not imported(ast.parse(path.read_text(encoding="utf-8"))) & set(ROOMS)


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


@pytest.mark.parametrize(
    "statement",
    [
        "import laminar.policies",
        "import laminar.policies.generative",
        "import laminar.policies.runtimes.accelerate",
        "import laminar.policies.export.write, laminar.policies.export.exported",
        "from laminar import load_policy, accelerate",
    ],
)
def test_policies_are_light(statement: str) -> None:
    """A robot that samples, accelerates or exports needs nothing of training, evaluation or simulators."""
    modules = modules_after(statement)
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
