"""Artifacts that run without the package."""

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from laminar.cli import main
from laminar.data.episodes import Episodes
from laminar.data.spec import Feature, Spec
from laminar.errors import LaminarError
from laminar.policies import NETWORKS, PROCESSES, GenerativePolicy, PolicyConfig
from laminar.policies.export import write as exporting
from laminar.policies.export.exported import Exported
from laminar.policies.export.write import export
from laminar.policies.guided import Acting, Guided, new_critic
from laminar.policies.networks import Network
from laminar.policies.networks.critics import CriticConfig
from laminar.policies.runtimes.accelerate import accelerate
from laminar.policies.runtimes.agreement import TOLERANCE
from laminar.policies.runtimes.program import SamplingProgram

pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")
Make = Callable[..., GenerativePolicy]
EXAMPLE = Path(__file__).parents[2] / "examples/run_onnx.py"


@pytest.fixture
def policy(make_policy: Make) -> GenerativePolicy:
    torch.manual_seed(0)
    return make_policy("flow", "mlp", {"steps": 3}, history=2, chunk=4, execute=2).eval()


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("exports") / "onnx"


@pytest.fixture
def artifact(policy: GenerativePolicy, once: Path, tmp_path: Path) -> Path:
    """Return a copy of one export, which takes a while: the policy is the same every time."""
    return Path(shutil.copytree(once if once.exists() else export(policy, once, batch=2), tmp_path / "onnx"))


def windows(count: int = 2) -> torch.Tensor:
    return torch.randn(count, 2, 3, generator=torch.Generator().manual_seed(0)) * 3 + 5


def noise(count: int = 2) -> torch.Tensor:
    return torch.randn(count, 4, 2, generator=torch.Generator().manual_seed(1))


def test_says_the_same(policy: GenerativePolicy, artifact: Path) -> None:
    exported = Exported(artifact)
    wanted = policy.sample(windows(), noise()).detach()
    torch.testing.assert_close(exported(windows(), noise()), wanted)
    torch.testing.assert_close(exported({"observation": windows().double().numpy()}, noise()), wanted)
    torch.testing.assert_close(exported(np.asfortranarray(windows().numpy()), noise()), wanted)
    drawn = exported(windows(), generator=torch.Generator().manual_seed(5))
    torch.testing.assert_close(drawn, policy.sample(windows(), generator=torch.Generator().manual_seed(5)).detach())


def test_what_lies_beside_it(policy: GenerativePolicy, artifact: Path) -> None:
    about = json.loads((artifact / "export.json").read_text())
    assert about["checkpoint"] == policy.checkpoint_hash()
    assert about["network_calls"] == 3
    assert about["inputs"] == [
        {"name": "noise", "shape": [2, 4, 2], "dtype": "float32"},
        {"name": "observation", "shape": [2, 2, 3], "dtype": "float32"},
    ]
    assert about["output"] == {"name": "chunk", "shape": [2, 4, 2]}
    assert Spec.from_json(json.loads((artifact / "spec.json").read_text())) == policy.spec == Exported(artifact).spec
    parity = json.loads((artifact / "parity.json").read_text())
    assert 0 <= parity["mean_difference"] <= parity["largest_difference"] <= TOLERANCE
    assert not list(artifact.parent.glob(".*"))


def test_runs_without_laminar(policy: GenerativePolicy, artifact: Path, tmp_path: Path) -> None:
    """In a process where laminar and torch cannot be imported."""
    blocker = (
        "import sys; sys.modules['laminar'] = sys.modules['torch'] = None; import runpy; sys.argv = sys.argv[1:]; "
    )
    run = "runpy.run_path(sys.argv[0], run_name='__main__')"
    words = [sys.executable, "-c", blocker + run, str(EXAMPLE), str(artifact)]
    shown = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert shown.startswith("4 actions, of which 2 are executed:")
    drawn = np.random.default_rng(0).standard_normal((2, 4, 2), dtype=np.float32)
    wanted = policy.sample(torch.zeros(2, 2, 3), torch.from_numpy(drawn)).detach()
    numbers = [float(word) for word in shown.split("\n", 1)[1].replace("[", " ").replace("]", " ").split()]
    np.testing.assert_allclose(numbers, wanted[0].flatten().numpy(), rtol=1e-4, atol=1e-4)
    assert len(EXAMPLE.read_text().splitlines()) <= 32


def test_ddpm_and_guided(make_policy: Make, tmp_path: Path) -> None:
    torch.manual_seed(0)
    policy = make_policy("diffusion", "mlp", {"solver": "ddpm", "steps": 3}, history=2, chunk=4)
    generator = torch.Generator().manual_seed(3)
    got = Exported(export(policy, tmp_path / "ddpm", batch=2))(windows(), generator=torch.Generator().manual_seed(3))
    first = torch.randn(2, 4, 2, generator=generator)
    further = torch.randn(2, 2, 4, 2, generator=generator)
    wanted = policy.generate({"observation": windows()}, first, source=further).detach()
    torch.testing.assert_close(got, wanted)
    policy = make_policy("meanflow", "mlp", history=2, chunk=4)
    guided = Guided(policy, new_critic(policy, CriticConfig(width=16, depth=1)), Acting(5))
    exported = Exported(export(guided, tmp_path / "guided", batch=1))
    torch.testing.assert_close(
        exported(windows(1), torch.ones(1, 5, 9)), guided.sample(windows(1), torch.ones(1, 5, 9)).detach()
    )
    assert exported.description["acting"]["candidates"] == 5


@pytest.mark.slow
def test_pt2(policy: GenerativePolicy, tmp_path: Path) -> None:
    folder = export(policy, tmp_path / "pt2", "pt2", batch=2)
    torch.testing.assert_close(Exported(folder)(windows(), noise()), policy.sample(windows(), noise()).detach())
    about = json.loads((folder / "export.json").read_text())
    (folder / "export.json").write_text(json.dumps(about | {"torch": "2.5.1"}))
    with pytest.raises(LaminarError, match=r"compiled by PyTorch 2.5.1 and this is .*export again"):
        Exported(folder)


@pytest.mark.parametrize(
    ("obs", "message"),
    [
        (torch.zeros(2, 2, 4), r"shape \(2, 2, 4\), the export takes \(2, 2, 3\)"),
        (torch.zeros(3, 2, 3), r"shape \(3, 2, 3\), the export takes \(2, 2, 3\)"),
        (torch.zeros(0, 2, 3), r"shape \(0, 2, 3\), the export takes \(2, 2, 3\)"),
        (torch.full((2, 2, 3), torch.nan), "'observation' is not finite"),
        ({"state": torch.zeros(2, 2, 3)}, r"takes observations \['observation'\], got \['state'\]"),
    ],
)
def test_bad_observations(artifact: Path, obs: object, message: str) -> None:
    with pytest.raises(LaminarError, match=message):
        Exported(artifact)(obs)


def test_fewer_robots_than_it_was_exported_for(artifact: Path) -> None:
    exported = Exported(artifact)
    whole = exported(windows(), noise())
    torch.testing.assert_close(exported(windows()[:1], noise()[:1]), whole[:1])


def test_it_says_what_it_was_made_of(policy: GenerativePolicy, artifact: Path) -> None:
    exported = Exported(artifact)
    assert exported.checkpoint_hash() == policy.checkpoint_hash()
    assert (exported.acting, exported.runtime) == (Acting(), "onnx")


def test_bad_artifacts(artifact: Path, tmp_path: Path) -> None:
    with pytest.raises(LaminarError, match=r"noise has shape \(1, 4, 2\), the export takes \(2, 4, 2\) for 2 rows"):
        Exported(artifact)(windows(), noise(1))
    with pytest.raises(LaminarError, match="holds no export"):
        Exported(tmp_path)
    about = json.loads((artifact / "export.json").read_text())
    (artifact / "export.json").write_text(json.dumps(about | {"version": 7}))
    with pytest.raises(LaminarError, match="is an export of version 7, this laminar reads 2; export again"):
        Exported(artifact)
    (artifact / "export.json").write_text(json.dumps(about))
    (artifact / "policy.onnx").unlink()
    with pytest.raises(LaminarError, match=r"policy.onnx is missing"):
        Exported(artifact)


@pytest.mark.parametrize("content", [b"", b"not a model", b"\x08\x0a" * 50], ids=["empty", "text", "half"])
def test_a_damaged_model(artifact: Path, content: bytes) -> None:
    (artifact / "policy.onnx").write_bytes(content)
    with pytest.raises(LaminarError, match=r"policy.onnx is not the file that export.json describes.*export again"):
        Exported(artifact)
    about = json.loads((artifact / "export.json").read_text())
    about["sha256"] = hashlib.sha256(content).hexdigest()  # as if it had been exported like this
    (artifact / "export.json").write_text(json.dumps(about))
    with pytest.raises(LaminarError, match=r"policy.onnx cannot be opened .*export again"):
        Exported(artifact)


def test_the_model_of_another_export(policy: GenerativePolicy, artifact: Path, tmp_path: Path) -> None:
    """A robot must not move by weights that the description beside them does not tell of."""
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.mul_(0.5)
    other = export(policy, tmp_path / "other", batch=2)
    (artifact / "policy.onnx").write_bytes((other / "policy.onnx").read_bytes())
    with pytest.raises(LaminarError, match=r"policy.onnx is not the file that export.json describes"):
        Exported(artifact)


@pytest.mark.parametrize("change", [{"format": "tf"}, {"inputs": "noise"}, {"inputs": None}, {"format": None}])
def test_a_damaged_description(artifact: Path, change: dict) -> None:
    about = json.loads((artifact / "export.json").read_text())
    (artifact / "export.json").write_text(json.dumps(about | change))
    with pytest.raises(LaminarError, match=r"export.json is damaged"):
        Exported(artifact)


def test_another_machine(artifact: Path) -> None:
    about = json.loads((artifact / "export.json").read_text())
    (artifact / "export.json").write_text(json.dumps(about | {"format": "pt2", "machine": "abacus"}))
    with pytest.raises(LaminarError, match="was compiled for abacus and this is"):
        Exported(artifact)


def test_noise_of_other_types(policy: GenerativePolicy, artifact: Path) -> None:
    exported, wanted = Exported(artifact), policy.sample(windows(), noise()).detach()
    for given in (noise().double(), noise().numpy(), noise().requires_grad_(), noise().mT.contiguous().mT):
        torch.testing.assert_close(exported(windows(), given), wanted)


NAMES = [
    "noise",
    "inner_noise",
    "chunk",
    "observation.noise",
    "cat",
    "val_0",
    "policy.network.layers.0.weight",
    "a b/c",
]


def test_keys_that_are_names_of_the_graph(episodes: Episodes, tmp_path: Path) -> None:
    torch.manual_seed(0)
    state = episodes.observation["observation"]
    spec = replace(episodes.spec, observation={name: Feature((3,)) for name in NAMES})
    many = replace(
        episodes,
        observation=dict.fromkeys(NAMES, state),
        final_observation=dict.fromkeys(NAMES, episodes.final_observation["observation"]),
        spec=spec,
    )
    networks = NETWORKS.config_class("mlp")(width=16, depth=1)
    policy = GenerativePolicy.build(
        PolicyConfig(process=PROCESSES.config_class("flow")(steps=2)), networks, many
    ).eval()
    obs = {name: torch.full((1, 1, 3), float(index)) for index, name in enumerate(NAMES)}
    exported = Exported(export(policy, tmp_path / "artifact"))
    names = [each["name"] for each in exported.description["inputs"]]
    assert len(set(names)) == 1 + len(NAMES)
    assert names[:3] == ["noise", "observation.observation.noise", "observation.inner_noise"]
    start = torch.ones(1, 1, 2)
    torch.testing.assert_close(exported(obs, start), policy.sample(obs, start).detach())


def test_an_accelerated_policy(make_policy: Make, tmp_path: Path) -> None:
    policy = make_policy("meanflow", "mlp")
    guided = Guided(policy, new_critic(policy, CriticConfig(width=16, depth=1)), Acting(3))
    folder = export(accelerate(guided, "eager"), tmp_path / "artifact")
    assert Exported(folder).description["acting"]["candidates"] == 3


def test_a_file_is_not_replaced(policy: GenerativePolicy, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("keep")
    for write in (lambda path: export(policy, path), policy.save):
        with pytest.raises(LaminarError, match=r"notes.txt is a file"):
            write(tmp_path / "notes.txt")
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
    assert (tmp_path / "notes.txt").read_text() == "keep"


def test_bad_settings(policy: GenerativePolicy, tmp_path: Path) -> None:
    with pytest.raises(LaminarError, match=r"no export format is called 'onx'.*did you mean 'onnx'"):
        export(policy, tmp_path / "x", "onx")
    with pytest.raises(LaminarError, match="batch must be at least 1"):
        export(policy, tmp_path / "x", batch=0)
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes/mine.txt").write_text("keep")
    with pytest.raises(LaminarError, match="holds something else than an export"):
        export(policy, tmp_path / "notes")
    assert (tmp_path / "notes/mine.txt").read_text() == "keep"


def test_what_differs_is_not_written(policy: GenerativePolicy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = exporting.open_artifact
    monkeypatch.setattr(exporting, "open_artifact", lambda path: lambda inputs: opened(path)(inputs) * 1.01)
    with pytest.raises(LaminarError, match=r"differs from eager by .*nothing was written"):
        export(policy, tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_a_policy_that_amplifies_rounding_is_written_with_a_remark(
    make_policy: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its network predicts that all is noise, where alpha is 5e-4: what it opens as is off by last digits."""

    class Echo(Network):
        factor = 1.0

        def forward(self, x: torch.Tensor, times: torch.Tensor, cond: torch.Tensor) -> torch.Tensor:
            return x * self.factor

    policy = make_policy("diffusion", "mlp", {"steps": 3}).eval()
    policy.network, other = Echo(), Echo()
    other.factor = 1 + 2e-7
    program = SamplingProgram(policy)
    rounded = lambda inputs: program.reference(*inputs, network=other)  # noqa: E731
    monkeypatch.setattr(exporting, "open_artifact", lambda _: rounded)
    monkeypatch.setattr("laminar.policies.load_policy", lambda _: policy)
    assert main(["export", "policy.path=run", f"out={tmp_path / 'artifact'}"]) == 0
    parity = json.loads((tmp_path / "artifact/parity.json").read_text())
    assert TOLERANCE < parity["largest_difference"] < parity["limit"]
    assert parity["draws_beyond_tolerance"] == len(parity["draws"]) == 17
    assert all(draw["largest_difference"] <= draw["bound"] for draw in parity["draws"])
    assert f"  note: {parity['remark']}" in capsys.readouterr().out
    assert "the policy amplifies rounding there" in parity["remark"]


@pytest.mark.slow
def test_clones_of_all_seeds_are_exported(demo_data: Callable[[str], Path], tmp_path: Path) -> None:
    """Diffusion that clones door-human: seeds differ in whether a draw meets the inside of the clip at t = 1."""
    words = ["train", "method=bc", "policy=diffusion", f"data.path={demo_data('door-human-v1.hdf5')}"]
    runs = tmp_path / "runs"
    assert main([*words, "method.batch_size=64", "steps=200", "seeds=[0,1,2,3,4,5]", f"out={runs}"]) == 0
    for seed in range(6):
        assert main(["export", f"policy.path={runs / f'seed_{seed}'}", f"out={tmp_path / f'onnx_{seed}'}"]) == 0


def test_the_command(policy: GenerativePolicy, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    policy.save(tmp_path / "policy")
    words = ["export", f"policy.path={tmp_path / 'policy'}", f"out={tmp_path / 'artifact'}"]
    assert main([*words, "steps=2"]) == 0
    assert "it differs from eager by at most" in capsys.readouterr().out
    assert Exported(tmp_path / "artifact").description["network_calls"] == 2
    for bad, message in [("steps=nfe2", "no schedule 'nfe2'"), ("steps=0", "at least 1"), ("format=tf", "known: onnx")]:
        assert main([*words, bad]) == 2
        assert message in capsys.readouterr().err
