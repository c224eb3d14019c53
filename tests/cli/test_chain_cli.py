"""`laminar eval` in the playroom: one task, and chains of instructions, with a saved policy from end to end."""

from __future__ import annotations

import json
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
import torch

from laminar.cli import main
from laminar.configs.compose import compose
from laminar.data.episodes import Episodes
from laminar.data.instructions import TASKS
from laminar.data.spec import Spec
from laminar.envs import env_spec, make_env
from laminar.envs.rendering import rendering_problem
from laminar.eval.results.chain_result import load_chain_result
from laminar.eval.rollouts.chains import evaluate_chains
from laminar.policies.generative import GenerativePolicy, PolicyConfig
from laminar.policies.networks.mlp import Config


def noise_episodes(spec: Spec, steps: int = 20) -> Episodes:
    """Return one episode of small numbers, enough to fit normalizers."""
    generator = np.random.default_rng(0)

    def rows(shape: tuple[int, ...], count: int) -> np.ndarray:
        return generator.normal(0, 0.3, (count, *shape)).astype(np.float32)

    return Episodes(
        observation={key: rows(feature.shape, steps) for key, feature in spec.observation.items()},
        final_observation={key: rows(feature.shape, 1) for key, feature in spec.observation.items()},
        action=rows(spec.action.shape, steps).clip(-1, 1),
        reward=np.zeros(steps, np.float32),
        terminated=np.zeros(steps, bool),
        truncated=np.arange(steps) == steps - 1,
        ends=np.array([steps]),
        spec=spec,
    )


@pytest.fixture(scope="module")
def policies(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Save an untrained policy that sees the instruction, and one that does not."""
    folder = tmp_path_factory.mktemp("policies")
    found: dict[str, Path] = {}
    for name, query in (("seeing", "?instruction=task"), ("blind", "")):
        env = make_env(f"laminar/Playroom-v0{query}")
        torch.manual_seed(0)
        policy = GenerativePolicy.build(
            PolicyConfig(chunk=4, execute=4), Config(width=16, depth=1), noise_episodes(env_spec(env))
        )
        env.close()
        found[name] = folder / name
        policy.save(found[name])
    return found


def test_chains_from_end_to_end(policies: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["eval", "task=calvin-chain", "chains=3", "max_steps=4", "num_envs=2", "video_episodes=0"]
    assert main([*words, f"policy.path={policies['seeing']}", f"out={tmp_path}"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("laminar Playroom (MuJoCo ")
    assert "not comparable with published CALVIN scores" in printed
    stored = json.loads((tmp_path / "eval.json").read_text())
    assert stored["env_id"] == "laminar/Playroom-v0?scene=D&instruction=task"
    assert (stored["instruction"], len(stored["chains"]), stored["max_steps"]) == ("task", 3, 4)
    assert (tmp_path / "report.md").read_text().startswith("# Chains of instructions in laminar Playroom (MuJoCo ")
    assert main([*words, f"policy.path={policies['blind']}"]) == 0
    assert "the policy does not see the instruction" in capsys.readouterr().out


def test_chains_are_filmed_with_their_instruction(policies: dict[str, Path], tmp_path: Path) -> None:
    problem = rendering_problem()
    if problem:
        pytest.skip(problem)
    words = ["eval", "task=calvin-chain", "chains=2", "max_steps=4", "video_episodes=1"]
    (tmp_path / "chains.mp4").write_bytes(b"of an evaluation of before")
    assert main([*words, f"policy.path={policies['seeing']}", f"out={tmp_path}", "overwrite=true"]) == 0
    assert [film.name for film in tmp_path.glob("*.mp4")] == ["chain_000_0_of_5.mp4"]
    assert "(chain_000_0_of_5.mp4)" in (tmp_path / "report.md").read_text()
    reader = imageio_ffmpeg.read_frames(str(tmp_path / "chain_000_0_of_5.mp4"))
    width, height = next(reader)["size"]
    frames = [np.frombuffer(frame, np.uint8).reshape(height, width, 3) for frame in reader]
    assert (width, height) == (640, 480)
    assert len(frames) == 5 + 30, "and a second of how it ended"
    for frame in frames:
        strip = frame[-60:]
        assert np.median(strip) < np.median(frame[-140:-80]) / 2, "a dark strip"
        assert (strip.min(axis=2) > 200).sum() > 200, "white letters on it"
    assert main([*words[:-1], "video_episodes=0", f"policy.path={policies['seeing']}", f"out={tmp_path}"]) == 0
    assert not list(tmp_path.glob("*.mp4")), "a film of an earlier evaluation would show other chains"


def test_the_number_of_environments_does_not_matter(policies: dict[str, Path]) -> None:
    alone = evaluate_chains(policies["seeing"], chains=3, max_steps=12, num_envs=1)
    together = evaluate_chains(policies["seeing"], chains=3, max_steps=12)
    assert alone.chains == together.chains


@pytest.mark.slow
def test_workers_give_the_same_chains(policies: dict[str, Path], tmp_path: Path) -> None:
    words = ["eval", "task=calvin-chain", "chains=3", "max_steps=40", f"policy.path={policies['seeing']}"]
    assert main([*words, "processes=2", "video_episodes=1", "video_of=first", f"out={tmp_path}"]) == 0
    films = [film.name for film in tmp_path.glob("*.mp4")]
    assert films == ([] if rendering_problem() else ["chain_000_0_of_5.mp4"]), "of chains that ran in workers"
    sharded = load_chain_result(tmp_path)
    here = evaluate_chains(policies["seeing"], chains=3, max_steps=40)
    assert sharded.chains == here.chains
    assert (sharded.checkpoint, sharded.simulator, sharded.num_envs) == (here.checkpoint, here.simulator, 3)


def test_one_task_is_an_ordinary_evaluation(
    policies: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["eval", "task=playroom/open_drawer", "episodes=2", "video_episodes=0", f"out={tmp_path}"]
    assert main([*words, f"policy.path={policies['seeing']}"]) == 0
    assert "success " in capsys.readouterr().out
    stored = json.loads((tmp_path / "eval.json").read_text())
    assert stored["env_id"] == "laminar/Playroom-v0?task=open_drawer&instruction=task"
    assert stored["simulator"].startswith("laminar Playroom (MuJoCo ")
    assert all(isinstance(episode["success"], bool) for episode in stored["episodes"])


@pytest.mark.parametrize("task", TASKS)
def test_every_task_has_its_file(task: str) -> None:
    assert compose("eval", [f"task=playroom/{task}"]).env.id == f"laminar/Playroom-v0?task={task}"


def test_play_and_chains_have_no_single_task() -> None:
    assert compose("collect", ["task=playroom/play"]).env.id == "laminar/Playroom-v0"
    assert compose("eval", ["task=calvin-chain"]).chains == 1000
    assert compose("eval", ["task=pointmaze"]).chains is None


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("task=calvin-chain chains=0", "chains must be at least 1, or null, got 0"),
        ("task=calvin-chain chains=1001", "the protocol has 1 to 1000"),
        ("task=calvin-chain chains=few", "chains"),
        ("task=calvin-chain episodes=10", "episodes does not apply to chains; give chains=N"),
        ("task=playroom/open_drawer max_steps=10", "max_steps does not apply to episodes"),
        ("task=playroom/open_drawer video_of=failed", "video_of does not apply to episodes"),
        ("task=calvin-chain video_of=complete", "video_of must be mixed, first, longest or failed"),
        ("task=calvin-chain env.id=Pendulum-v1", "robot_obs"),
        ("task=calvin-chain env.id=laminar/Playroom-v0?scene=A", "'scene D' for the policy but 'scene A'"),
        ("task=calvin-chains", "did you mean 'calvin-chain'?"),
        ("task=open_drawer", "did you mean 'playroom/open_drawer'?"),
        ("task=playroom/open_drawers", "did you mean 'playroom/open_drawer'?"),
        ("task=playroom", "(known: calvin-chain, maze2d/…, ogbench/…, playroom/…, pointmaze, pusht, pusht-block, "),
    ],
)
def test_mistakes_are_one_line(
    words: str, message: str, policies: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert main(["eval", f"policy.path={policies['blind']}", f"out={tmp_path / 'out'}", *words.split()]) == 2
    printed = capsys.readouterr()
    assert message in printed.err
    assert (printed.out, printed.err.count("\n")) == ("", 1)
    assert not list(tmp_path.iterdir()), "nothing is created on error"


@pytest.mark.parametrize("verb", ["train", "compare", "collect"])
def test_chains_are_only_evaluated(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([verb, "task=calvin-chain"]) == 2
    assert f"task=calvin-chain is for laminar eval; laminar {verb}" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.skipif(bool(rendering_problem()), reason="no OpenGL library on this machine")
def test_chains_from_both_cameras(tmp_path: Path) -> None:
    """Play with pictures is recorded, learned from, and its policy sees the room through them alone."""
    play, run, out = (tmp_path / name for name in ("play", "run", "eval"))
    room = "env.id=laminar/Playroom-v0?scene=D&cameras=true"
    assert main(["collect", "task=playroom/play", room, "steps=1500", "seed=3", f"out={play}", "processes=1"]) == 0
    shown = "data.observation=[robot_obs,rgb_static,rgb_gripper]"
    small = ["policy.transforms=[rotations]", "network.width=16", "method.batch_size=8", "steps=4"]
    assert main(["train", "experiment=playroom-chains", f"data.path={play}", shown, *small, f"out={run}"]) == 0
    told = ["task=calvin-chain", "chains=2", "max_steps=8", "video_episodes=0"]
    assert main(["eval", f"policy.path={run}", *told, f"out={out}"]) == 0
    found = json.loads((out / "eval.json").read_text())
    assert len(found["chains"]) == 2
    assert "cameras=true" in found["env_id"]
