"""Files of a policy: bit-equal round trips, and one line that names what is wrong with a damaged one."""

from __future__ import annotations

import json
import os
import resource
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from laminar.errors import LaminarError
from laminar.policies import GenerativePolicy, load_policy, storage

MakePolicy = Callable[..., GenerativePolicy]


@pytest.fixture
def saved(make_policy: MakePolicy, tmp_path: Path) -> Path:
    return make_policy().save(tmp_path / "policy")


def another(make_policy: MakePolicy) -> GenerativePolicy:
    """Return a policy of the same shapes with other weights."""
    policy = make_policy()
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter += 1.0
    return policy


def load_error(folder: Path) -> str:
    with pytest.raises(LaminarError) as caught:
        load_policy(folder)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("process", "network", "settings"),
    [
        ("flow", "mlp", {}),
        ("diffusion", "unet1d", {"history": 2, "chunk": 4, "execute": 2}),
        ("meanflow", "transformer", {"history": 2, "chunk": 4, "ensemble": 0.1}),
    ],
)
def test_save_and_load_is_exact(
    process: str, network: str, settings: dict[str, Any], make_policy: MakePolicy, tmp_path: Path
) -> None:
    policy = make_policy(process, network, **settings).eval()
    loaded = load_policy(policy.save(tmp_path / "policy"))
    assert loaded.config == policy.config
    assert loaded.spec == policy.spec
    assert loaded.checkpoint_hash() == policy.checkpoint_hash()
    before, after = policy.state_dict(), loaded.state_dict()
    assert list(before) == list(after)
    assert all(torch.equal(before[name], after[name]) for name in before)
    generator = torch.Generator().manual_seed(0)
    observation = torch.randn(5, policy.spec.history, 3, generator=generator)
    noise = torch.randn(5, *policy.noise_shape, generator=generator)
    with torch.no_grad():
        assert torch.equal(policy.sample(observation, noise), loaded.sample(observation, noise))


def test_the_files_of_a_policy(saved: Path) -> None:
    assert sorted(path.name for path in saved.iterdir()) == ["config.json", "model.safetensors", "spec.json"]
    config = json.loads((saved / "config.json").read_text())
    assert config["policy"]["process"]["name"] == "flow", "names of the registry, never paths of classes"
    assert "laminar." not in (saved / "config.json").read_text()


def test_saving_over_a_policy_replaces_it(saved: Path, make_policy: MakePolicy) -> None:
    policy = another(make_policy)
    assert load_policy(saved).checkpoint_hash() != policy.checkpoint_hash()
    policy.save(saved)
    assert load_policy(saved).checkpoint_hash() == policy.checkpoint_hash()
    assert [path.name for path in saved.parent.iterdir()] == ["policy"]


def test_saving_over_something_else_is_refused(make_policy: MakePolicy, tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "thesis.tex").write_text("years of work")
    with pytest.raises(LaminarError, match="work holds something else than a policy"):
        make_policy().save(tmp_path / "work")
    assert (tmp_path / "work" / "thesis.tex").read_text() == "years of work"
    with pytest.raises(LaminarError, match=r"cannot write .*thesis.tex"):
        make_policy().save(tmp_path / "work" / "thesis.tex" / "policy")
    (tmp_path / "empty").mkdir()
    load_policy(make_policy().save(tmp_path / "empty"))


def test_the_newest_checkpoint_of_a_run_is_loaded(make_policy: MakePolicy, tmp_path: Path) -> None:
    old, new = make_policy(), another(make_policy)
    old.save(tmp_path / "run" / "checkpoints" / "step_00000010")
    new.save(tmp_path / "run" / "checkpoints" / "step_00000020")
    make_policy().save(tmp_path / "run" / "checkpoints" / ".step_00000030.writing")
    assert load_policy(tmp_path / "run").checkpoint_hash() == new.checkpoint_hash()


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "spec.json"])
def test_a_missing_file(name: str, saved: Path) -> None:
    (saved / name).unlink()
    message = load_error(saved)
    assert name in message
    assert str(saved) in message


@pytest.mark.parametrize(
    ("name", "keys", "value", "message"),
    [
        ("config.json", ["network", "width"], 10**9, "tensor 'network."),
        ("config.json", ["network", "width"], 10**30, "Overflow"),
        (
            "config.json",
            ["network", "depth"],
            10**9,
            "network.depth must be at least 1 and at most 1000, got",
        ),
        ("config.json", ["network", "activation"], "é\n", "network.activation must be"),
        ("config.json", ["policy", "chunk"], 10**9, "tensor 'network."),
        ("config.json", ["observation_normalizer", "observation", "shape"], [10**9], "tensor 'observation_normalizer."),
        ("spec.json", ["observation", "observation", "shape"], [10**9], "tensor 'network."),
        ("config.json", ["policy"], None, "damaged or of another version"),
    ],
)
def test_numbers_that_would_take_all_memory_are_refused_before(
    name: str, keys: list[str], value: object, message: str, saved: Path
) -> None:
    inside = stored = json.loads((saved / name).read_text())
    for key in keys[:-1]:
        inside = inside[key]
    inside[keys[-1]] = value
    (saved / name).write_text(json.dumps(stored))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert message in load_error(saved)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000, "kilobytes"


@pytest.mark.parametrize("text", ["[" * 100_000, "7", "null", '"kind"', "[]"])
def test_json_that_is_no_configuration(text: str, saved: Path) -> None:
    (saved / "config.json").write_text(text)
    assert "config.json" in load_error(saved)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "spec.json"])
@pytest.mark.parametrize("content", [b"", b"\x00\xff nonsense", None])
def test_a_damaged_file(name: str, content: bytes | None, saved: Path) -> None:
    path = saved / name
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2] if content is None else content)
    assert str(path) in load_error(saved)


@pytest.mark.parametrize("name", ["config.json", "spec.json"])
@pytest.mark.parametrize("content", ["[]", "{}", "3", '{"policy": 1, "observation": 2, "action_low": 3}'])
def test_json_that_is_something_else(name: str, content: str, saved: Path) -> None:
    (saved / name).write_text(content)
    assert str(saved / name) in load_error(saved)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("network", "name"), "mpl", "no network is called 'mpl' .*did you mean 'mlp'"),
        (("network", "name"), "os.system", "no network is called 'os.system'"),
        (("network", "widht"), 3, "network 'mlp' has no setting 'widht'; did you mean 'width'"),
        (("policy", "process", "name"), "flwo", "no process is called 'flwo' .*did you mean 'flow'"),
        (("policy", "process", "stepz"), 3, "process 'flow' has no setting 'stepz'; did you mean 'steps'"),
        (("policy", "hitsory"), 3, "config.json"),
        (("policy", "history"), 0, "policy.history must be at least 1"),
        (("network", "width"), "wide", r"network\.width must be at least 1, got wide"),
        (("network", "width"), 33, "tensor 'network.* has shape"),
    ],
)
def test_an_edited_config(path: tuple[str, ...], value: Any, message: str, saved: Path) -> None:
    config = json.loads((saved / "config.json").read_text())
    entry = config
    for key in path[:-1]:
        entry = entry[key]
    entry[path[-1]] = value
    (saved / "config.json").write_text(json.dumps(config))
    with pytest.raises(LaminarError, match=message):
        load_policy(saved)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("missing", "tensor 'NAME' is missing"),
        ("extra", "unexpected tensor 'NAME.more'"),
        ("shape", "tensor 'NAME' has shape (7,)"),
        ("type", "torch.float64"),
    ],
)
@pytest.mark.parametrize("part", ["network", "observation_normalizer"])
def test_wrong_tensors(part: str, damage: str, message: str, saved: Path) -> None:
    path = saved / "model.safetensors"
    tensors = load_file(path)
    name = next(name for name in tensors if name.startswith(part))
    if damage == "missing":
        del tensors[name]
    elif damage == "extra":
        tensors[f"{name}.more"] = torch.zeros(1)
    elif damage == "shape":
        tensors[name] = torch.zeros(7)
    elif damage == "type":
        tensors[name] = tensors[name].double()
    save_file(tensors, path)
    error = load_error(saved)
    assert message.replace("NAME", name) in error
    assert str(path) in error


def test_no_such_folder(tmp_path: Path) -> None:
    assert f"no policy in {tmp_path / 'nowhere'}: no such folder" in load_error(tmp_path / "nowhere")
    assert "no model.safetensors and no checkpoints" in load_error(tmp_path)


@pytest.mark.parametrize("function", ["write_tensors", "write_json", "_sync_files"])
def test_a_full_disk_leaves_the_old_policy(
    function: str, saved: Path, make_policy: MakePolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path.name: path.read_bytes() for path in saved.iterdir()}

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(storage, function, full)
        with pytest.raises(LaminarError, match=r"cannot write .*policy: No space left on device") as caught:
            another(make_policy).save(saved)
    assert "\n" not in str(caught.value)
    assert {path.name: path.read_bytes() for path in saved.iterdir()} == before
    assert [path.name for path in saved.parent.iterdir()] == ["policy"], "no temporary folder is left"
    load_policy(saved)


def test_a_write_that_the_system_refuses_leaves_the_old_policy(saved: Path, make_policy: MakePolicy) -> None:
    """The operating system itself fails a write here, halfway through the weights."""
    before = load_policy(saved).checkpoint_hash()
    policy = another(make_policy)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2048, limits[1]))
    try:
        with pytest.raises(LaminarError, match=r"cannot write .*policy: "):
            policy.save(saved)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert load_policy(saved).checkpoint_hash() == before
    assert [path.name for path in saved.parent.iterdir()] == ["policy"]


class Killed(BaseException):
    """Stands for the end of the process: nothing below may handle it."""


@pytest.mark.parametrize("renames", [0, 1, 2])
def test_a_kill_around_the_renames_recovers(
    renames: int, saved: Path, make_policy: MakePolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = load_policy(saved).checkpoint_hash(), another(make_policy)
    done: list[str] = []
    rename = os.rename

    def dying_rename(source: Any, target: Any) -> None:
        if len(done) == renames:
            raise Killed
        rename(source, target)
        done.append(str(target))

    def dying_rmtree(path: Any, ignore_errors: bool = False) -> None:
        if len(done) == renames:
            raise Killed  # a killed process tidies nothing up
        shutil_rmtree(path, ignore_errors=ignore_errors)

    shutil_rmtree = shutil.rmtree
    with monkeypatch.context() as patch:
        patch.setattr(storage.os, "rename", dying_rename)
        if renames:
            patch.setattr(storage.shutil, "rmtree", dying_rmtree)
        with pytest.raises(Killed):
            new.save(saved)
    assert load_policy(saved).checkpoint_hash() == (new.checkpoint_hash() if renames == 2 else old)
    newer = another(make_policy)
    newer.save(saved)
    assert load_policy(saved).checkpoint_hash() == newer.checkpoint_hash()
    assert [path.name for path in saved.parent.iterdir()] == ["policy"], "the next save tidies up"


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_act_refuses_observations_that_are_not_finite(value: float, make_policy: MakePolicy) -> None:
    policy = make_policy()
    observation = torch.zeros(4, 3)
    observation[2, 1] = value
    with pytest.raises(LaminarError, match=rf"'observation' of robot 2 is not finite \({value} at \(1,\)\)"):
        policy.act(observation)
    assert policy.act(torch.zeros(4, 3)).isfinite().all(), "the bad observation is not in the history"


@pytest.mark.parametrize(
    ("observation", "message"),
    [
        (torch.zeros(2, 4), r"'observation' has shape \(4,\), expected \(3,\)"),
        (torch.zeros(4), r"'observation' has shape \(4,\), expected \(3,\)"),
        ({"state": torch.zeros(2, 3)}, "'state'|'observation'"),
        ({"observation": torch.zeros(2, 3), "image": torch.zeros(2, 3)}, "'image'"),
    ],
)
def test_act_names_wrong_observations(observation: Any, message: str, make_policy: MakePolicy) -> None:
    with pytest.raises(LaminarError, match=message):
        make_policy().act(observation)


def test_act_takes_numpy_in_double_precision(make_policy: MakePolicy) -> None:
    """Simulators speak float64."""
    policy = make_policy()
    observation = torch.rand(2, 3, generator=torch.Generator().manual_seed(0))
    noise = torch.zeros(2, *policy.noise_shape)
    expected = policy.act(observation, noise)
    policy.reset()
    actual = policy.act(observation.double().numpy(), noise)
    torch.testing.assert_close(torch.from_numpy(actual), expected)


def test_sample_names_the_shape_of_wrong_noise(make_policy: MakePolicy) -> None:
    policy = make_policy(chunk=4)
    with pytest.raises(LaminarError, match=r"noise has shape \(2, 2\), expected \(2, 4, 2\)"):
        policy.sample(torch.zeros(2, 3), torch.zeros(2, 2))


def test_a_policy_of_another_width_is_refused_before_the_first_step(make_policy: MakePolicy, saved: Path) -> None:
    from laminar import evaluate

    for policy in (make_policy(), saved):
        with pytest.raises(LaminarError, match=r"observation 'observation' has shape \(3,\) .* \(11,\) .*'Hopper-v4'"):
            evaluate(policy, "Hopper-v4", seeds=[0])
