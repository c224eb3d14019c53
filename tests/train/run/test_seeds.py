"""Several seeds together are the runs that each would have been by itself."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from laminar import configs
from laminar.cli import main
from laminar.configs.compose import options
from laminar.policies import load_policy
from laminar.policies.storage import checkpoints
from laminar.train.config import RuntimeConfig
from laminar.train.improver import Improver
from laminar.train.methods.q_learning import QLearning
from laminar.train.update.runners import Runner, runner
from laminar.train.update.stacked import rows, stacked

FOLDER = Path(configs.__file__).parent / "method"
METHODS = [method for method in options("method") if "q_learning_schema" in (FOLDER / f"{method}.yaml").read_text()]
SEEDS = (0, 3)
SMALL = ("network.width=16", "method.critic.width=16", "method.batch_size=8")


def joined(improvers: Sequence[Improver]) -> Runner:
    """Update the replicas together, as the trainer does."""
    program = stacked([improver.program for improver in improvers if improver.program is not None])
    for index, improver in enumerate(improvers):
        improver.move(rows(program.state, index))
    return runner(program, RuntimeConfig())


def leaves(tree: Any) -> list[Tensor]:
    found = torch.utils._pytree.tree_leaves(tree)  # pyright: ignore[reportPrivateUsage]
    return [leaf for leaf in found if isinstance(leaf, Tensor)]


@pytest.mark.parametrize("method", METHODS)
def test_replicas_are_separate_runs(method: str, learner: Callable[..., QLearning]) -> None:

    def build() -> list[QLearning]:
        return [learner(method, seed=seed) for seed in SEEDS]

    together, alone = build(), build()
    update = joined(together)
    for step in range(4):  # both kinds of updates, where the actor is delayed
        metrics = update(step)
        for row, learner in enumerate(alone):
            for name, value in learner.update(step).items():
                torch.testing.assert_close(metrics[name][row], value, rtol=2e-4, atol=1e-5, msg=name)
    for replica, learner in zip(together, alone, strict=True):
        assert torch.equal(replica.state()["generator"], learner.state()["generator"])
        theirs = learner.state() | learner.product().state_dict()
        for name, value in (replica.state() | replica.product().state_dict()).items():
            torch.testing.assert_close(value, theirs[name], rtol=1e-3, atol=2e-5, msg=name)
    first, second = (replica.program.state["actor"] for replica in together)
    assert not torch.equal(first, second)


@pytest.mark.parametrize("method", METHODS)
def test_draws_are_the_same_to_the_bit(method: str, learner: Callable[..., QLearning]) -> None:
    together, alone = ([learner(method, seed=seed) for seed in SEEDS] for _ in range(2))
    program = stacked([learner.program for learner in together])
    index, draws = program.feed.draw()
    batch = program.feed.experience.gather(index)
    for row, learner in enumerate(alone):
        own_index, own_draws = learner.program.feed.draw()
        mine = [value[row] for value in leaves((index, draws, batch))]
        theirs = leaves((own_index, own_draws, learner.program.feed.experience.gather(own_index)))
        assert len(mine) == len(theirs) > 5
        assert all(torch.equal(a, b) for a, b in zip(mine, theirs, strict=True))


@pytest.mark.slow
def test_a_stacked_update_is_one_graph(learner: Callable[..., QLearning]) -> None:
    """`fullgraph` leaves nothing to Python: no branch on data, no sync."""
    plain, traced = (stacked([learner("ofql", seed=seed).program for seed in SEEDS]) for _ in range(2))
    rates = torch.tensor(plain.rates(0)[0])
    batch, draws = plain.feed.next()
    plain.advance(batch, draws, rates, True)
    advance = torch.compile(traced.advance, fullgraph=True, backend="eager")
    advance(batch, draws, rates, True)
    for name, value in plain.state.items():
        torch.testing.assert_close(traced.state[name], value, msg=name)


def command(rewarded_file: Path, out: Path, *more: str) -> list[str]:
    lengths = ("steps=12", "log_every=4", "checkpoint_every=4")
    return ["train", "method=ofql", f"data.path={rewarded_file}", f"out={out}", *SMALL, *lengths, *more]


@pytest.fixture(scope="module")
def reference(rewarded_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of an uninterrupted run of three seeds."""
    out = tmp_path_factory.mktemp("reference") / "runs"
    assert main(command(rewarded_file, out, "seeds=[0,1,2]")) == 0
    return out


def test_each_seed_is_an_ordinary_run(reference: Path, rewarded_file: Path, tmp_path: Path, numbers: Any) -> None:
    assert sorted(path.name for path in reference.iterdir()) == ["seed_0", "seed_1", "seed_2"]
    assert main(command(rewarded_file, tmp_path / "alone", "seed=1")) == 0
    one, alone = reference / "seed_1", tmp_path / "alone"
    settings, others = (json.loads((run / "run.json").read_text()) for run in (one, alone))
    assert settings | {"out": ""} == others | {"out": ""}
    for row, other in zip(numbers(one), numbers(alone), strict=True):
        assert row == pytest.approx(other, rel=1e-3, abs=1e-5)
    for name, value in load_policy(one).state_dict().items():
        torch.testing.assert_close(load_policy(alone).state_dict()[name], value, rtol=1e-3, atol=2e-5, msg=name)
    # and goes on as one
    assert main(command(rewarded_file, one, "seed=1", "resume=true")) == 0


@pytest.mark.parametrize(
    "words",
    [
        *(("policy=flow",), ("policy=meanflow", "policy.chunk=4", "policy.history=2")),
        ("policy=meanflow", "policy.chunk=4", "method.prefix=2"),
    ],
)
def test_cloning_trains_seeds_together(
    words: tuple[str, ...], demonstrations: Path, tmp_path: Path, numbers: Any
) -> None:
    """Stacked, the seeds are the runs that each would have been, and resume together to the bit."""
    small = ("network.width=16", "method.batch_size=8", "method.warmup=3")
    lengths = ("steps=12", "log_every=4", "checkpoint_every=4")
    command = ["train", "method=bc", f"data.path={demonstrations}", *words, *small, *lengths]
    both = tmp_path / "both"
    assert main([*command, f"out={both}", "seeds=[0,1]"]) == 0
    for seed in (0, 1):
        alone, together = tmp_path / f"alone_{seed}", both / f"seed_{seed}"
        assert main([*command, f"out={alone}", f"seed={seed}"]) == 0
        rows, others = numbers(together), numbers(alone)
        assert len(rows) == 3
        for row, other in zip(rows, others, strict=True):
            assert row == pytest.approx(other, rel=1e-4)
        for file in ("model.safetensors", "train.safetensors"):
            mine, theirs = (load_file(checkpoints(run)[-1] / file) for run in (together, alone))
            assert mine.keys() == theirs.keys()
            for name, value in mine.items():
                torch.testing.assert_close(value, theirs[name], rtol=1e-3, atol=1e-5, msg=name)
    resumed = Path(shutil.copytree(both, tmp_path / "resumed"))
    for seed in (0, 1):
        shutil.rmtree(checkpoints(resumed / f"seed_{seed}")[-1])
    assert main([*command, f"out={resumed}", "seeds=[0,1]", "resume=true"]) == 0
    for seed in (0, 1):
        for file in ("model.safetensors", "train.safetensors"):
            path = f"seed_{seed}/checkpoints/step_00000012/{file}"
            assert (resumed / path).read_bytes() == (both / path).read_bytes()


def test_resuming_from_the_newest_checkpoint_of_all_is_exact(
    reference: Path,
    rewarded_file: Path,
    tmp_path: Path,
    numbers: Any,
) -> None:
    out = Path(shutil.copytree(reference, tmp_path / "runs"))
    words = command(rewarded_file, out, "seeds=[0,1,2]", "resume=true")
    shutil.rmtree(checkpoints(out / "seed_2")[-1])  # a kill came before the last seed was saved
    assert main(words) == 0
    for seed in (0, 1, 2):
        mine, theirs = (checkpoints(run / f"seed_{seed}")[-1] for run in (out, reference))
        assert mine.name == theirs.name == "step_00000012"
        for name in ("model.safetensors", "train.safetensors"):
            assert (mine / name).read_bytes() == (theirs / name).read_bytes()
        rows, others = (numbers(run / f"seed_{seed}") for run in (out, reference))
        assert rows == others
        assert [row["step"] for row in rows] == [4, 8, 12]


@pytest.mark.parametrize("lost", [None, "seed_2"])
def test_seeds_that_are_further_keep_their_checkpoints(
    lost: str | None, reference: Path, rewarded_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A new seed, or one without its checkpoints, would send the others back to update 0."""
    out, seeds = Path(shutil.copytree(reference, tmp_path / "runs")), "seeds=[0,1,2,3]"
    if lost:
        shutil.rmtree(out / lost / "checkpoints")
        seeds = "seeds=[0,1,2]"
    before = sorted(path for path in out.rglob("*") if "tensorboard" not in path.parts)
    assert main(command(rewarded_file, out, seeds, "resume=true")) == 2
    behind = out / (lost or "seed_3")
    assert f"{behind} is not as far as the other seeds beside it" in capsys.readouterr().err
    assert sorted(path for path in out.rglob("*") if "tensorboard" not in path.parts) == before


def test_a_kill_while_the_first_checkpoints_are_saved(reference: Path, rewarded_file: Path, tmp_path: Path) -> None:
    out = Path(shutil.copytree(reference, tmp_path / "runs"))
    for seed in (0, 1, 2):
        for found in checkpoints(out / f"seed_{seed}")[0 if seed == 2 else 1 :]:
            shutil.rmtree(found)
    assert main(command(rewarded_file, out, "seeds=[0,1,2]", "resume=true")) == 0
    name = "checkpoints/step_00000012/model.safetensors"
    for seed in ("seed_0", "seed_1", "seed_2"):
        assert (out / seed / name).read_bytes() == (reference / seed / name).read_bytes()


def test_the_seed_that_diverges_is_named(
    rewarded_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    schedule = QLearning._rates  # pyright: ignore[reportPrivateUsage]

    def spoil(self: QLearning, step: int) -> Any:
        if step == 5:
            second = next(owner for owner in owners if owner.context.generator.initial_seed() == 7)
            second.program.state["critic"].fill_(math.nan)
        return schedule(self, step)

    owners: list[QLearning] = []
    move = QLearning.move
    monkeypatch.setattr(QLearning, "move", lambda self, state: (owners.append(self), move(self, state)))
    monkeypatch.setattr(QLearning, "_rates", spoil)
    assert main(command(rewarded_file, tmp_path / "runs", "seeds=[0,7]")) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert "seed 7: " in error
    assert " is nan at update 6: " in error
    assert str(tmp_path / "runs" / "seed_7" / "checkpoints" / "step_00000004") in error


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["seeds=[0,0]"], "seeds=[0, 0] names a seed twice"),
        (["seeds=[]"], "seeds=[] is no list of whole numbers"),
        (["seeds=3"], "seeds=3 is no list of whole numbers"),
        (["seeds=[0,1.5]"], "is no list of whole numbers"),
        (["seeds=[0,1]", "seed=2"], "seed=2 and seeds=[0, 1] are both set"),
    ],
)
def test_bad_seeds(
    words: list[str], message: str, rewarded_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "method=ofql", f"data.path={rewarded_file}", f"out={tmp_path / 'runs'}", *SMALL, *words]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_a_run_of_one_seed_is_not_mixed_with_several(
    reference: Path, rewarded_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command(rewarded_file, reference / "seed_0", "seeds=[0,1]")) == 2
    assert "already holds a run of one seed" in capsys.readouterr().err
