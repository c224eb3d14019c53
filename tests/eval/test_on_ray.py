"""Roll-outs on a Ray cluster: the episodes of this process, whoever is lost on the way."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from laminar.cli import main
from laminar.errors import LaminarError
from laminar.eval.rollouts.episodes import evaluate, run_episodes
from laminar.eval.rollouts.lockstep import Lockstep
from laminar.eval.rollouts.measurement import measure
from laminar.eval.rollouts.on_ray import divided
from laminar.eval.rollouts.options import Cluster, RolloutOptions
from laminar.eval.rollouts.packed import pack
from laminar.policies.load import load_policy

HOPPER = "Hopper-v4"
TWO = RolloutOptions(cluster=Cluster(workers=2))


pytestmark = pytest.mark.timeout(300)  # Ray and its workers take their time on a busy machine


@pytest.fixture(scope="module")
def started(ray: Any) -> Any:
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import tests
    return ray


@pytest.fixture
def saved(made_up_policy: Callable[..., Any], tmp_path: Path) -> Path:
    return made_up_policy().save(tmp_path / "policy")


def dies_at_first(lockstep: Lockstep, seeds: Sequence[int], marks: str) -> dict[int, Any]:
    """Let the process of the first shard die in its first try, after it has done its work."""
    found = run_episodes(lockstep, seeds)
    mark = Path(marks) / str(seeds[0])
    if seeds[0] == 0 and not mark.exists():
        mark.touch()
        os._exit(9)
    return found


def always_dies(lockstep: Lockstep, seeds: Sequence[int]) -> dict[int, Any]:
    os._exit(9)


def refuses(lockstep: Lockstep, seeds: Sequence[int]) -> dict[int, Any]:
    raise LaminarError("the protocol refuses")


@pytest.mark.slow
def test_episodes_are_equal_to_local_ones(started: Any, saved: Path) -> None:
    here = evaluate(saved, HOPPER, range(3, 23))
    there = evaluate(str(saved), HOPPER, range(3, 23), TWO)
    assert there.episodes == here.episodes
    assert (there.checkpoint, there.origin, there.findings) == (here.checkpoint, here.origin, here.findings)
    assert replace(there, seconds=0.0, num_envs=0) == replace(here, seconds=0.0, num_envs=0)


def test_lost_workers_cost_no_episodes(
    started: Any, saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    here = measure(run_episodes, saved, HOPPER, range(16))
    dying = partial(dies_at_first, marks=str(tmp_path))
    there = measure(dying, saved, HOPPER, range(16), TWO)
    assert there.records == here.records
    told = capsys.readouterr().err
    assert told.count("a worker was lost (WorkerCrashedError: ") == 1
    assert "seeds 0 to 7 are run again" in told


@pytest.mark.slow
def test_what_goes_wrong_is_told_in_one_line(started: Any, saved: Path, noise_policy: Any) -> None:
    with pytest.raises(LaminarError, match=r"^the protocol refuses$"):
        measure(refuses, saved, HOPPER, range(4), TWO)
    with pytest.raises(LaminarError, match=r"the worker with seed 5 was lost 3 times .*launcher=null to see it happen"):
        measure(always_dies, saved, HOPPER, [5], TWO)
    with pytest.raises(LaminarError, match="workers load the policy themselves: give a saved policy's folder"):
        evaluate(noise_policy(HOPPER), HOPPER, [0], TWO)


def test_a_policy_of_tensors_is_never_asked_for_fewer_than_four(
    made_up_policy: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of one to three rows libraries give other last digits: an episode would depend on how many plan beside it."""
    policy, rows = made_up_policy(), list[int]()
    sample = type(policy).sample

    def counted(self: Any, obs: Any, *rest: Any) -> Any:
        rows.append(len(next(iter(obs.values()))))
        return sample(self, obs, *rest)

    monkeypatch.setattr(type(policy), "sample", counted)
    alone = evaluate(policy, HOPPER, range(6), num_envs=1)
    together = evaluate(policy, HOPPER, range(6))
    assert set(rows) == {4, 6}
    assert [one.seed for one in alone.episodes] == [one.seed for one in together.episodes]
    assert alone.returns == pytest.approx(together.returns)


@pytest.mark.slow
def test_a_process_of_this_machine_that_dies_is_told(saved: Path) -> None:
    with pytest.raises(LaminarError, match="a worker process died; its simulator crashed or memory ran out"):
        measure(always_dies, saved, HOPPER, range(2), RolloutOptions(processes=2))


@pytest.mark.parametrize(("count", "workers"), [(1, 64), (50, 2), (200, 64), (1000, 3)])
def test_shards_are_small_and_hold_every_seed_once(count: int, workers: int) -> None:
    shards = divided(range(7, 7 + count), workers)
    assert [seed for shard in shards for seed in shard] == list(range(7, 7 + count))
    assert len(shards) >= min(count, workers) * 0.7, "no worker waits"
    assert max(map(len, shards)) <= max(8, -(-count // (4 * workers)))


def test_a_policy_travels_without_its_training_and_is_checked(saved: Path) -> None:
    (saved / "train.safetensors").write_bytes(b"of the optimizer")
    packed = pack(saved)
    assert sorted(packed.files) == ["config.json", "model.safetensors", "spec.json"]
    assert packed.load().checkpoint_hash() == load_policy(saved).checkpoint_hash()
    weights = bytearray(packed.files["model.safetensors"])
    weights[-1] ^= 1
    with pytest.raises(LaminarError, match="its digest differs"):
        replace(packed, files={**packed.files, "model.safetensors": bytes(weights)}).load()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["launcher=ray"], "launcher=ray needs workers=N"),
        (["workers=2"], "workers=2 is for launcher=ray; of this machine give processes=N"),
        (["launcher.address=auto"], "launcher.address=auto is for launcher=ray"),
        (["launcher=ray", "workers=2", "processes=2"], "with launcher=ray give workers=N"),
        (["launcher=slurm", "workers=2"], "launcher.kind must be ray or null, got slurm"),
    ],
)
def test_settings_that_do_not_fit(words: list[str], message: str, saved: Path, capsys: Any) -> None:
    assert main(["eval", f"policy.path={saved}", f"env.id={HOPPER}", *words]) == 2
    assert message in capsys.readouterr().err


def test_without_ray_the_extra_is_named(saved: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("laminar.cluster.find_spec", lambda name: None)
    assert main(["eval", f"policy.path={saved}", f"env.id={HOPPER}", "launcher=ray", "workers=2"]) == 2
    assert capsys.readouterr().err == "laminar: launcher=ray needs the extra: pip install 'laminar[ray]'\n"
