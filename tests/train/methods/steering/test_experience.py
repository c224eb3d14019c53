"""What steering learns from: executed and recorded chunks as rows of its replay, and when what of it is learned."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from laminar.data.formats import d4rl
from laminar.errors import LaminarError
from laminar.policies import load_policy
from laminar.policies.storage import checkpoints
from laminar.train.methods.steering import Steering


@pytest.fixture
def demos(toy: Any) -> str:
    d4rl.write(toy.folder / "demos.hdf5", toy.recorded())
    return f"data.path={toy.folder / 'demos.hdf5'}"


def kept(improver: Steering) -> dict[str, torch.Tensor]:
    return improver.executed.gather(torch.arange(improver.executed.kept))


@pytest.mark.parametrize("n_step", [1, 3])
def test_recorded_chunks(toy: Any, build: Any, demos: str, n_step: int) -> None:
    """From every step that has the two actions of a chunk before its end, by hand."""
    improver = build(demos, f"method.n_step={n_step}", "method.reward_shift=-1")
    base: Any = load_policy(toy.base)
    data = toy.recorded()
    rows, gamma = kept(improver), 0.99
    starts = [t for t in range(20) if t not in (9, 19)]
    assert len(rows["reward"]) == len(starts) == improver.executed.kept
    seen = np.concatenate([data.observation["observation"], data.final_observation["observation"]])
    for row, t in enumerate(starts):
        end = 10 if t < 10 else 20
        to = min(t + 2 * n_step, end)
        reward = sum(gamma**k * (data.reward[t + k] - 1) for k in range(to - t))
        assert rows["reward"][row].item() == pytest.approx(reward, rel=1e-4)
        wanted = 0.0 if to == 10 else gamma ** (to - t)  # the first episode terminates, the second is cut off
        assert rows["discount"][row].item() == pytest.approx(wanted)
        last = seen[20 if to == 10 else 21] if to in (10, 20) else seen[to]
        for name, one in (("cond", seen[t]), ("next_cond", last)):
            encoded = base.encode({"observation": torch.from_numpy(one.astype(np.float32))[None, None]})[0]
            torch.testing.assert_close(rows[name][row], encoded)
        action = torch.from_numpy(data.action[t : t + 2])
        torch.testing.assert_close(
            rows["action"][row], base.action_normalizer({"action": action})["action"].flatten(), atol=1e-6, rtol=1e-5
        )


def test_half_of_a_batch_is_recorded_and_stays(build: Any, demos: str) -> None:
    improver = build(demos, "method.replay=30", "method.warm_up=200", "env.steps=300", "method.demonstrations=0.5")
    before = {name: value.clone() for name, value in kept(improver).items()}
    improver.collect(0)
    assert len(improver.executed) == 30, "new ones replaced each other"
    for name, value in kept(improver).items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)
    drawn = torch.stack([improver._draw()[0] for _ in range(50)])  # pyright: ignore[reportPrivateUsage]
    assert (drawn[:, :4] < 18).all()
    assert 0.2 < (drawn[:, 4:] >= 18).float().mean().item() < 0.6, "the others are of all rows, 12 of 30 are new"


def test_they_are_saved_and_resumed(toy: Any, demos: str) -> None:
    run = toy.train(demos)
    replay = load_file(checkpoints(run)[-1] / "replay.safetensors")
    assert int(replay["kept"]) == 18
    assert int(replay["added"]) > 18 + 30


def test_executed_chunks(toy: Any, build: Any) -> None:
    """A row is what was seen before a chunk, what of it was executed, and where it led."""
    improver = build("method.reward_shift=-1", arguments="limit=5")
    base: Any = load_policy(toy.base)
    improver.collect(0)
    rows = improver.executed.gather(torch.arange(3))  # steps 0-2, 2-4, and 4-5 of the first episode
    zero = base.action_normalizer({"action": torch.zeros(1)})["action"]
    raw = (rows["action"] - zero) * base.action_scale
    total = torch.stack([raw[0].sum(), raw[1].sum(), raw[2][0]])
    torch.testing.assert_close(rows["reward"], total - torch.tensor([2.0, 2.0, 1.0]), atol=1e-5, rtol=1e-5)
    assert rows["discount"].tolist() == pytest.approx([0.99**2, 0.99**2, 0.99]), "a time limit is no terminal"
    assert raw[2][0].item() == pytest.approx(raw[2][1].item(), abs=1e-6), "beyond the end the last action is repeated"
    torch.testing.assert_close(rows["next_cond"][:2], rows["cond"][1:])
    assert not torch.equal(rows["next_cond"][2], improver.executed.gather(torch.tensor([3]))["cond"][0])


@pytest.mark.parametrize("updates_per_step", [0.3, 0.5, 1.0, 2.5])
@pytest.mark.parametrize("slots", [1, 4])
def test_control_steps_are_counted_as_they_were_asked(build: Any, updates_per_step: float, slots: int) -> None:
    """Control steps, not chunks: the run has env.steps, and no more than the last chunk of every slot beyond them."""
    words = (f"method.updates_per_step={updates_per_step}", f"env.slots={slots}", "env.steps=120")
    improver = build(*words)
    updates = improver.context.steps
    assert updates == pytest.approx(100 * updates_per_step, abs=1)
    for step in range(updates):
        before = improver.collector.interaction.steps
        improver.collect(step)
        due = 20 + (step + 1) / updates_per_step
        assert due - 1e-3 <= improver.collector.interaction.steps < due + 2 * slots + 1
        assert improver.collector.interaction.steps - before <= 2 * slots + 1 / updates_per_step + 20 * (step == 0)
    assert 120 - 1 / updates_per_step < improver.collector.interaction.steps < 120 + 2 * slots
    assert improver.figures()["env_steps"].item() == improver.collector.interaction.steps


def test_a_short_warm_up_collects_what_an_update_needs(build: Any) -> None:
    improver = build("method.warm_up=1", "method.n_step=4", "method.updates_per_step=10")
    improver.collect(0)
    assert len(improver.executed) > 0


def test_actors_learn_when_it_is_their_turn(build: Any) -> None:
    improver = build("method.actor_start=4", "method.actor_every=3", "method.edit_scale=0.2")
    assert improver.program is not None
    state, moved = improver.program.state, {}
    for step in range(10):
        before = {
            part: state[part].clone() for part in ("actor", "editor", "log_temperature", "critic", "noise_critic")
        }
        improver.collect(step)
        improver.update(step)
        moved[step] = {part for part, value in before.items() if not torch.equal(state[part], value)}
    critics = {"critic", "noise_critic"}
    assert all(moved[step] == critics for step in (0, 1, 2, 3, 4, 5, 7, 8))
    assert all(moved[step] == critics | {"actor", "editor", "log_temperature"} for step in (6, 9))
    assert state["critic_step"].item() == 10
    assert state["actor_step"].item() == state["editor_step"].item() == 2


def test_the_prior_fades(build: Any) -> None:
    improver = build("method.prior=0.4", "method.prior_until=8")
    rates: Callable[[int], Any] = improver._rates  # pyright: ignore[reportPrivateUsage]
    assert [rates(step)[0][0] for step in (0, 2, 8, 20)] == pytest.approx([0.4, 0.3, 0.0, 0.0])


@pytest.mark.parametrize(
    ("method", "words", "gain"), [("dsrl", (), 5.0), ("residual", ("method.edit_scale=0.5",), 1.5)]
)
def test_it_learns(build: Any, method: str, words: tuple[str, ...], gain: float) -> None:
    """The action is the reward, and the base's noise decides the action: it finds the noises that are worth most."""
    improver = build(
        *words, "method.lr=0.01", "method.discount=0", "method.actor_rate=1", "env.steps=200", method=method,
        arguments="limit=10",
    )  # fmt: skip
    first: float | None = None
    for step in range(improver.context.steps):
        improver.collect(step)
        improver.update(step)
        if step == 0:
            first = improver.figures()["train_return"].item()
    policy = improver.product()
    if method == "residual":
        improver.agent.edited.share = 1.0  # so many edits were to come later
    noise = torch.randn(200, *policy.noise_shape, generator=torch.Generator().manual_seed(0))
    chunk = policy.sample(torch.zeros(200, 3), noise)
    assert first is not None
    assert chunk[:, :2].mean().item() * 10 > first + gain


def test_a_policy_that_was_steered_before_is_a_base_like_any(toy: Any, build: Any) -> None:
    """Its own actors stay as they are."""
    first = toy.train("method.edit_scale=0.2", out="first")
    inner = load_policy(first)
    for method, part in (("dsrl", "actor"), ("residual", "editor")):
        improver = build(base=first, method=method)
        assert improver.program is not None
        assert {"actor", "editor"} & improver.program.state.keys() == {part}
        again = toy.train("evaluation.every=10", base=first, method=method, out=f"again_{method}")
        found = load_policy(again)
        stored: Any = found.base.base  # type: ignore[union-attr]
        assert stored.checkpoint_hash() == inner.checkpoint_hash(), "the base is as it was"


def test_updates_need_control_steps() -> None:
    from laminar.train.methods.steering import Config

    assert Steering.updates(Config(warm_up=10, updates_per_step=0.5), 20, 1, 4) == 5
    assert Steering.updates(Config(warm_up=10, updates_per_step=0.1), 11, 1, 4) == 1
    assert Steering.updates(Config(), None, 1, 4) is None
    with pytest.raises(LaminarError, match=r"warm_up=10 leaves nothing of env.steps=10"):
        Steering.updates(Config(warm_up=10), 10, 1, 4)


@pytest.mark.parametrize(
    ("limit", "words", "scale"), [(10, (), None), (1, (), 1.0), (10, ("method.reward_scale=3",), 3.0)]
)
def test_large_returns_become_one(build: Any, limit: int, words: tuple[str, ...], scale: float | None) -> None:
    """The largest discounted return from any chunk of the warm-up on is the unit, unless below 1 or it is given."""
    improver = build(*words, arguments=f"limit={limit}")
    episodes: list[list[tuple[float, int]]] = [[]]
    step = improver.collector.interaction.step

    def followed(decide: Any) -> Any:
        seen = step(decide)
        episodes[-1].append((float(seen["reward"]), int(seen["steps"])))
        if seen["ended"]:
            episodes.append([])
        return seen

    def from_chunk(rows: list[tuple[float, int]]) -> float:
        return abs(sum(reward * 0.99 ** sum(n for _, n in rows[:at]) for at, (reward, _) in enumerate(rows)))

    improver.collector.interaction.step = followed
    improver.collect(0)
    largest = max(from_chunk(rows[at:]) for rows in episodes for at in range(len(rows)))
    assert scale is not None or largest > 1, "there is something to do"
    found = improver.program.state["reward_scale"].item()
    assert found == pytest.approx(1 / largest if scale is None else scale)
    improver.update(0)
    improver.collect(1)
    assert improver.program.state["reward_scale"].item() == found, "it stays"
