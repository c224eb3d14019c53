"""Steering from recordings alone: what is learned from, that nothing is acted in, and that a run is one like any."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from laminar.cli import main
from laminar.configs.compose import compose
from laminar.data.formats import d4rl
from laminar.eval.rollouts.offline import load_offline
from laminar.policies import load_policy
from laminar.policies.generative import generative
from laminar.policies.guided import Acting, Guided
from laminar.policies.storage import checkpoints
from laminar.train.methods.steering import Steering, experience
from laminar.train.run.build import acts, build_improver, load_recorded, with_settings_of_init
from laminar.train.update.group import Group

from ...saved import assert_same, final, rows

ENV = "env.id='user/Count-v0?limit=10&goal=3'"


def train(toy: Any, *words: str, **choices: Any) -> Path:
    assert main(toy.offline(*words, **choices)) == 0
    return toy.folder / choices.get("out", "run")


def learned_from(improver: Steering) -> dict[str, torch.Tensor]:
    return improver.executed.gather(torch.arange(len(improver.executed)))


@pytest.mark.parametrize(
    ("words", "acting"),
    [
        (("method=dsrl", "data.path=x"), False),
        (("method=residual", "data.path=x", "steps=7", "env.id=y"), False),
        (("method=dsrl", "data.path=x", "env.steps=7"), True),
        (("method=dsrl", "env.id=y", "steps=7"), True),
        (("method=dsrl", "data.path=x", "world=w"), True),
        (("method=dppo", "data.path=x", "env.id=y"), True),
        (("method=dsrl_sac", "data.path=x", "env.id=y"), True),
        (("method=bc", "data.path=x"), False),
    ],
    ids=str,
)
def test_recordings_without_control_steps_are_all_there_is(words: tuple[str, ...], acting: bool) -> None:
    assert acts(compose("train", words)) == acting


@pytest.mark.parametrize("method", ["dsrl", "residual"])
def test_it_is_logged_saved_and_evaluated(
    toy: Any, method: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("laminar.train.run.build._world", lambda *_: pytest.fail("it acts"))
    run = train(toy, ENV, "evaluation.every=10", "evaluation.episodes=2", method=method)
    assert f"note: method={method} learns from these recordings alone; env.steps=N lets" in capsys.readouterr().err
    seen = [row for row in rows(run) if "critic_loss" in row]
    assert [row["step"] for row in seen] == [10, 20, 30]
    assert not {"env_steps", "episodes", "train_return"} & set().union(*seen)
    assert [row["step"] for row in rows(run) if "eval/success_rate" in row] == [10, 20, 30]
    kept = {file.name for file in checkpoints(run)[-1].glob("*.safetensors")}
    assert not kept & {"replay.safetensors", "world.safetensors"}, "the recordings are where they were"
    policy = load_policy(run)
    assert isinstance(policy, Guided)
    assert generative(policy).checkpoint_hash() == load_policy(toy.base).checkpoint_hash(), "the base is as it was"


def test_it_needs_no_environment_at_all(toy: Any) -> None:
    assert rows(train(toy))[-1]["step"] == 30


@pytest.mark.parametrize("n_step", [1, 3])
def test_it_learns_from_all_that_an_acting_run_begins_with(toy: Any, build: Any, n_step: int) -> None:
    words = (f"method.n_step={n_step}", "method.reward_shift=-1")
    alone = build(*words, offline=True)
    acting = build(f"data.path={toy.folder / 'demos.hdf5'}", *words)
    assert len(alone.executed) == alone.executed.capacity == acting.executed.kept == 18
    for name, value in learned_from(alone).items():
        torch.testing.assert_close(value, acting.executed.gather(torch.arange(18))[name], rtol=0, atol=0)
    before = learned_from(alone)
    for step in range(3):
        alone.collect(step)
        alone.update(step)
    for name, value in learned_from(alone).items():
        assert torch.equal(value, before[name]), "nothing was added"


def test_many_observations_are_never_encoded_at_once(build: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows of pictures take as much memory as the recordings, and what an encoder makes on the way is far more."""
    at_once: list[int] = []
    whole = learned_from(build(offline=True))
    empty = experience.empty_replay

    def noted(agent: Any, *others: Any) -> Any:
        encode = agent.base.encode
        monkeypatch.setattr(agent.base, "encode", lambda seen: at_once.append(len(seen["observation"])) or encode(seen))
        return empty(agent, *others)

    monkeypatch.setattr(experience, "empty_replay", noted)
    monkeypatch.setattr(experience, "_AT_ONCE", 5 * 2 * 3)  # both ends of five chunks, of three numbers each
    sliced = learned_from(build(offline=True))
    assert max(at_once) == 5
    assert sum(at_once) == 1 + 2 * 18, "an example, and both ends of each chunk"
    for name, value in sliced.items():
        torch.testing.assert_close(value, whole[name], rtol=0, atol=0)
    monkeypatch.setattr(experience, "_AT_ONCE", 1)
    assert len(build(offline=True).executed) == 18, "one at a time, if it must be"


@pytest.mark.parametrize("scale", [None, 0.25])
@pytest.mark.parametrize("shift", [0.0, -3.0])
def test_rewards_have_the_unit_of_the_recordings(toy: Any, build: Any, shift: float, scale: float | None) -> None:
    """1 is the largest discounted return, from any recorded step that has a whole chunk before its end."""
    given = () if scale is None else (f"method.reward_scale={scale}",)
    improver = build(f"method.reward_shift={shift}", *given, offline=True)
    reward = toy.recorded().reward.astype(np.float64) + shift
    starts = [t for t in range(20) if t not in (9, 19)]
    returns = [sum(0.99**k * reward[t + k] for k in range(10 * (1 + t // 10) - t)) for t in starts]
    wanted = 1 / np.abs(returns).max() if scale is None else scale
    assert np.abs(returns).max() > 1
    assert improver.program.state["reward_scale"].item() == pytest.approx(wanted, rel=1e-5)


def test_small_rewards_keep_their_unit(toy: Any, build: Any) -> None:
    small = toy.recorded(reward=np.full(20, 0.01, np.float32))
    d4rl.write(toy.folder / "demos.hdf5", small)
    assert build(offline=True).program.state["reward_scale"].item() == 1.0


def test_values_are_those_of_the_recordings(toy: Any, build: Any) -> None:
    """A reward of 1 a step, no end: 1 / (1 - discount) from anywhere, in units of the largest recorded return."""
    steady = toy.recorded(
        reward=np.ones(20, np.float32), terminated=np.zeros(20, bool), truncated=np.arange(20) % 10 == 9
    )
    d4rl.write(toy.folder / "demos.hdf5", steady)
    words = ("method.discount=0.5", "method.lr=0.01", "method.batch_size=32", "method.target_rate=0.1")
    improver = build(*words, offline=True)
    for step in range(250):
        improver.collect(step)
        improver.update(step)
    rows = learned_from(improver)
    q = improver.agent.critic(rows["cond"].flatten(1), rows["action"])
    largest = sum(0.5**k for k in range(10))
    torch.testing.assert_close(q, torch.full_like(q, 2 / largest), rtol=0.03, atol=0)


@pytest.mark.parametrize("method", ["dsrl", "residual"])
def test_it_learns(toy: Any, build: Any, method: str) -> None:
    """Without a discount the first action of a chunk is what it earns: it grows."""
    action = np.random.default_rng(0).uniform(-1, 1, (20, 1)).astype(np.float32)
    d4rl.write(toy.folder / "demos.hdf5", toy.recorded(action=action, reward=action[:, 0]))
    words = ("method.lr=0.01", "method.discount=0", "method.actor_rate=1", "method.batch_size=32", "method.growth=9")
    improver = build(*words, offline=True, method=method)
    policy = improver.product()
    noise = torch.randn(200, *policy.noise_shape, generator=torch.Generator().manual_seed(0))

    def first() -> float:
        with torch.no_grad():
            return policy.sample(torch.zeros(200, 3), noise)[:, 0].mean().item()

    before = first()
    for step in range(120):
        improver.collect(step)
        improver.update(step)
    assert first() > before + 0.05, "an edit moves by 0.095 at most"


def test_what_is_learned_acts_by_and_by(build: Any) -> None:
    """A critic that knows little yet would choose badly, whether or not the run acts."""
    improver = build("method.candidates=5", "method.edit_scale=0.2", "method.growth=8", offline=True)
    found = []
    for step in (0, 2, 8, 20):
        improver.collect(step)
        found.append((improver.product().acting, improver.agent.edited.share))
    assert found == [(Acting(n, "argmax"), share) for n, share in ((1, 0.0), (2, 0.125), (5, 0.5), (5, 0.5))]


@pytest.mark.parametrize(
    "words",
    [
        ("method.n_step=3", "method.reward_shift=-1"),
        ("method.edit_scale=0.3", "method.candidates=3", "method.actor_rate=0.2"),
        ("method.critic.heads=5", "method.actor_every=3", "method.prior=0.1", "data.validation=0.5"),
    ],
    ids=" ".join,
)
def test_what_is_resumed_ends_the_same(toy: Any, words: tuple[str, ...]) -> None:
    whole = train(toy, *words, out="whole")
    shutil.copytree(whole, toy.folder / "cut")
    shutil.rmtree(checkpoints(toy.folder / "cut")[-1])
    assert_same(final(whole), final(train(toy, *words, "resume=true", out="cut")))


def test_seeds_share_the_recordings_and_learn_as_each_alone(toy: Any) -> None:
    both = train(toy, "seeds=[0,1]", "steps=20", out="both")
    for seed in (0, 1):
        mine, theirs = final(both / f"seed_{seed}"), final(train(toy, f"seed={seed}", "steps=20", out=f"alone_{seed}"))
        assert mine.keys() == theirs.keys()
        for name, value in mine.items():
            np.testing.assert_allclose(value, theirs[name], rtol=1e-3, atol=1e-4, err_msg=name)
    config = with_settings_of_init(compose("train", toy.offline()[1:]), None)
    first = build_improver(config, load_recorded(config), Group(), None)
    second = build_improver(config, load_recorded(config), Group(), first)
    assert isinstance(first, Steering)
    assert isinstance(second, Steering)
    assert second.executed is first.executed
    assert first.program is not None
    assert second.program is not None
    assert torch.equal(first.program.state["reward_scale"], second.program.state["reward_scale"])


def test_the_offline_protocol_measures_it(toy: Any) -> None:
    run = train(toy, ENV, "evaluation.every=10", "evaluation.episodes=2", "method.candidates=4")
    words = [f"policy.path={run}", ENV, "episodes=3", "protocol=offline", "candidates=4", f"out={run / 'offline'}"]
    assert main(["eval", *words]) == 0
    found = load_offline(run / "offline")
    assert len(found.numbers) == 3
    assert not found.missing
    assert set(found.updates.values()) <= {10, 20, 30}
    assert main(["eval", f"policy.path={run}", ENV, "episodes=2", f"out={run / 'plain'}"]) == 0


def test_recordings_of_a_task_tuned(toy: Any, build: Any) -> None:
    tuned = learned_from(build("method.reward=rebrac_antmaze", offline=True))
    plain = learned_from(build(offline=True))
    torch.testing.assert_close(tuned["reward"], 100 * plain["reward"])
