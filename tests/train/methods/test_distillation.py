"""Distillation: what a student learns from, what it takes over, and that it learns it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from laminar.cli import main
from laminar.configs.compose import compose
from laminar.data.batches import Chunks
from laminar.data.episodes import Episodes
from laminar.data.spec import Feature
from laminar.errors import LaminarError
from laminar.policies import GenerativePolicy, load_policy
from laminar.policies.networks import Network
from laminar.train.config import RuntimeConfig
from laminar.train.improver import Context
from laminar.train.methods.distillation import Distillation, pairs
from laminar.train.methods.distillation.lesson import Lesson, coupled, draw, trajectory
from laminar.train.methods.distillation.pairs import Pairs

SMALL = ("network.width=16", "network.depth=2")
QUICK = ("method.batch_size=32", "method.warmup=5", "method.pairs=200")
ONE_CALL = "policy.process.steps=1"
DIRECT = ("policy=direct", "policy.process.noise=true", "policy.process.squash=false")


class Analytic(Network):
    """Any function of (x, times, cond) as a network."""

    def __init__(self, function: Callable[[Tensor, Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor, times: Tensor, cond: Tensor) -> Tensor:
        return self.function(x, times, cond)


def build(episodes: Episodes, *words: str, seed: int = 0) -> GenerativePolicy:
    """Return an untrained policy: as a teacher it is as good as any, its samples are a function of the noise."""
    config = compose("train", [*SMALL, *words])
    torch.manual_seed(seed)
    return GenerativePolicy.build(config.policy, config.network, episodes).eval()


@pytest.fixture(scope="module")
def teachers(episodes: Episodes, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Return a function that saves an untrained teacher; its data are other than the student's by a factor."""
    folder = tmp_path_factory.mktemp("teachers")
    other = replace(episodes, action=0.5 * episodes.action, observation={"observation": 3 * observations(episodes)})

    def save(*words: str) -> Path:
        path = folder / "_".join(words).replace("=", "-")
        return path if path.exists() else build(other, *words, seed=7).save(path)

    return save


def observations(episodes: Episodes) -> Any:
    return episodes.observation["observation"]


def distillation(episodes: Episodes, teacher: Path, *words: str, seed: int = 0, **context: Any) -> Distillation:
    """Return the improver as a run with that seed would have it."""
    config = compose("train", [*SMALL, *QUICK, f"method.teacher={teacher}", *words])
    torch.manual_seed(seed)
    policy = GenerativePolicy.build(config.policy, config.network, episodes)
    generator = torch.Generator().manual_seed(seed)
    settings = RuntimeConfig(compiled=context.pop("compiled", False))
    context = {"steps": 100, "generator": generator, "runtime": settings} | context
    return Distillation(policy, episodes, config.method, Context(**context))


@pytest.mark.parametrize("words", [(), ("policy.history=2", "policy.chunk=3")])
def test_pairs_are_the_teachers_samples_for_their_noise(
    words: tuple[str, ...], episodes: Episodes, teachers: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pairs, "ROWS", 64)  # so that there are several batches, the last one smaller
    teacher = teachers("policy=flow", *words)
    improver = distillation(episodes, teacher, "method=reflow", *words)
    made, policy = improver.data, load_policy(teacher)
    assert isinstance(made, Pairs)
    assert made.noise.shape == (200, *policy.noise_shape)
    assert abs(float(made.noise.std()) - 1) < 0.1
    assert len(made.noise.unique(dim=0)) == 200
    index = torch.tensor([0, 79, 80, 199])
    batch = made.gather(index)
    assert torch.equal(batch["observation"]["observation"][0], batch["observation"]["observation"][2])  # of 80 steps
    with torch.no_grad():
        chunk = policy.sample(batch["observation"], batch["noise"])
    normalized = policy.action_normalizer({"action": chunk})["action"]
    inside = (normalized - batch["sample"]).abs() < 1e-5
    beyond = (chunk == policy.action_low) | (chunk == policy.action_high)  # pairs are not cut off at the limits
    assert bool((inside | beyond).all())
    assert inside.float().mean() > 0.5


def test_the_seed_of_the_run_leaves_the_pairs_alone(episodes: Episodes, teachers: Callable[..., Path]) -> None:
    first, second = (distillation(episodes, teachers("policy=flow"), "method=reflow", seed=seed) for seed in (0, 1))
    other = distillation(episodes, teachers("policy=flow"), "method=reflow", "method.pairs_seed=1")
    assert torch.equal(first.data.noise, second.data.noise)
    assert torch.equal(first.data.sample, second.data.sample)
    assert not torch.equal(first.data.noise, other.data.noise)
    assert not torch.equal(first._draw()[0], second._draw()[0])  # but not the batches


@pytest.mark.parametrize("words", [("method=reflow",), ("method=ctm",)])
def test_the_student_takes_over_normalizers_and_spec(
    words: tuple[str, ...], episodes: Episodes, teachers: Callable[..., Path]
) -> None:
    teacher = load_policy(teachers("policy=flow", "policy.observation_normalizer=minmax"))
    path = teachers("policy=flow", "policy.observation_normalizer=minmax")
    student = distillation(episodes, path, *words).product()
    for part in ("observation_normalizer", "action_normalizer"):
        mine, theirs = getattr(student, part).state_dict(), getattr(teacher, part).state_dict()
        assert mine.keys() == theirs.keys()
        assert all(torch.equal(mine[name], theirs[name]) for name in mine)
    assert student.spec == teacher.spec
    assert student.policy_config.observation_normalizer == "minmax"


def test_a_student_starts_as_the_teacher_or_as_itself(episodes: Episodes, teachers: Callable[..., Path]) -> None:
    path = teachers("policy=flow")
    teacher = load_policy(path).network.state_dict()
    warm = distillation(episodes, path, "method=reflow").product().network.state_dict()
    assert all(torch.equal(teacher[name], warm[name]) for name in teacher)
    cold = distillation(episodes, path, "method=reflow", "method.start=own").product().network.state_dict()
    fresh = build(episodes, "policy=flow").network.state_dict()
    assert all(torch.equal(fresh[name], cold[name]) for name in fresh)


def test_one_call_learns_where_it_is_made(episodes: Episodes, teachers: Callable[..., Path]) -> None:
    path = teachers("policy=flow")
    _, t = distillation(episodes, path, "method=reflow", ONE_CALL)._draw()[1]
    assert bool((t == 1).all())
    _, t = distillation(episodes, path, "method=reflow")._draw()[1]
    assert t.unique().numel() == 32


def test_annealing_leads_from_fresh_to_paired_noise(episodes: Episodes, teachers: Callable[..., Path]) -> None:
    words = ("method=reflow", "method.start=own", "method.anneal=0.5")
    improver = distillation(episodes, teachers("policy=flow"), *words)
    betas = [improver._rates(step)[0][2] for step in (0, 25, 50, 99)]
    assert betas == [1.0, 0.5, 0.0, 0.0]
    index, draws = improver._draw()
    batch = improver.data.gather(index)

    def loss(beta: float, paired: float = 1.0, fresh: float = 1.0) -> float:
        changed = {**batch, "noise": paired * batch["noise"]}
        return coupled(improver.lesson, changed, (fresh * draws[0], draws[1]), torch.tensor(beta))[0].item()

    assert loss(1.0, paired=2.0) == loss(1.0) != loss(1.0, fresh=2.0)
    assert loss(0.0, fresh=2.0) == loss(0.0) != loss(0.0, paired=2.0)
    process = improver.lesson.student.process
    mixed = torch.tensor(0.75).sqrt() * batch["noise"] + 0.5 * draws[0]  # of variance 1
    cond = improver.lesson.student.encode(batch["observation"])
    expected, _ = process.objective(improver.lesson.student.network, batch["sample"], cond, None, (mixed, draws[1]))
    assert loss(0.5) == pytest.approx(expected.item(), rel=1e-5)


STD = 0.4  # of the Gaussian that the linear teacher below samples
GRID = 10


def gaussian_velocity(x: Tensor, times: Tensor, cond: Tensor) -> Tensor:
    """Velocity of the flow to N(0, STD^2), which is linear in x."""
    t = times[:, :1, None]
    return (t - (1 - t) * STD**2) / (((1 - t) * STD) ** 2 + t**2) * x


def euler_factor() -> float:
    """What ten Euler steps of `gaussian_velocity` multiply the noise by."""
    factor, one = 1.0, torch.ones(1, 1, 1)
    for k in range(GRID, 0, -1):
        factor *= 1 - gaussian_velocity(one, torch.tensor([[k / GRID]]), one).item() / GRID
    return factor


@pytest.mark.parametrize("student", [("policy=flow", ONE_CALL), DIRECT])
def test_one_call_of_a_linear_teacher_is_exact(student: tuple[str, ...], episodes: Episodes) -> None:
    """Ten steps are one factor; the student that has it is without loss, if noise and sample belong together."""
    teacher, own = build(episodes, "policy=flow"), build(episodes, *student)
    teacher.network = Analytic(gaussian_velocity)
    factor = euler_factor()
    own.network = Analytic(lambda x, t, cond: (1 - factor if student[0] == "policy=flow" else factor) * x)
    learned = Lesson(own, teacher)
    coupling = Pairs.make(teacher, Chunks(episodes, 1, 1), 500, seed=0)
    torch.testing.assert_close(coupling.sample, factor * coupling.noise)
    batch, draws = coupling.gather(torch.arange(500)), draw(learned, 500, torch.Generator().manual_seed(0))
    assert coupled(learned, batch, draws, torch.tensor(0.0))[0] < 1e-12
    shuffled = {**batch, "noise": batch["noise"].roll(1, 0)}
    assert coupled(learned, shuffled, draws, torch.tensor(0.0))[0] > 0.1


def test_a_linear_teachers_pairs_are_straight(episodes: Episodes) -> None:
    """On coupled pairs the best velocity is that of a line: a 2-rectified flow needs one step (Liu et al. 2023)."""
    teacher, own = build(episodes, "policy=flow"), build(episodes, "policy=flow")
    teacher.network = Analytic(gaussian_velocity)
    factor = euler_factor()

    def straight(x: Tensor, times: Tensor, cond: Tensor) -> Tensor:
        t = times[:, :1, None]
        return (1 - factor) * x / (t + (1 - t) * factor)  # x_t = (t + (1 - t) factor) z, v = (1 - factor) z

    own.network = Analytic(straight)
    learned = Lesson(own, teacher)
    coupling = Pairs.make(teacher, Chunks(episodes, 1, 1), 500, seed=0)
    draws = draw(learned, 500, torch.Generator().manual_seed(0))
    assert coupled(learned, coupling.gather(torch.arange(500)), draws, torch.tensor(0.0))[0] < 1e-12
    noise, cond = torch.randn(8, 1, 2, generator=torch.Generator().manual_seed(1)), torch.zeros(8, 1, 3)
    one, ten = (own.process.sample(own.network, noise, cond, steps) for steps in (1, 10))
    torch.testing.assert_close(one, ten)


def distance(student: GenerativePolicy, teacher: GenerativePolicy, episodes: Episodes) -> float:
    """Mean squared difference of their chunks for the same noise."""
    obs = {"observation": torch.from_numpy(observations(episodes))}
    noise = torch.randn(80, *teacher.noise_shape, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        return (student.sample(obs, noise) - teacher.sample(obs, noise)).square().mean().item()


@pytest.fixture(scope="module")
def trained(demonstrations: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return a function that clones the demonstrations with a process and gives the run."""
    folder = tmp_path_factory.mktemp("trained")

    def train(process: str) -> Path:
        run = folder / process
        if not run.exists():
            words = [f"policy={process}", "steps=300", "network.width=32", "method.warmup=20", "method.lr=3e-3"]
            assert main(["train", f"data.path={demonstrations}", f"out={run}", *words]) == 0
        return run

    return train


@pytest.mark.parametrize(
    ("process", "words"),
    [
        ("flow", ("method=reflow", ONE_CALL)),
        ("flow", ("method=reflow", "method.start=own", *DIRECT)),
        ("diffusion", ("method=reflow", "method.start=own", "policy=meanflow")),
        ("flow", ("method=ctm",)),
        ("diffusion", ("method=ctm",)),
    ],
    ids=["flow-one-call", "flow-direct", "diffusion-meanflow", "flow-ctm", "diffusion-ctm"],
)
def test_one_call_comes_close_to_the_teacher(
    process: str, words: tuple[str, ...], trained: Callable[[str], Path], episodes: Episodes
) -> None:
    path = trained(process)
    settings = ("network.width=32", "network.depth=3", "method.lr=3e-3", "method.pairs=8000", "method.batch_size=128")
    improver = distillation(episodes, path, *words, *settings, steps=200)
    teacher = load_policy(path)
    before = distance(improver.product(), teacher, episodes)
    for step in range(200):
        improver.update(step)
    assert distance(improver.product(), teacher, episodes) < 0.5 * before


def final(run: Path) -> dict[str, Tensor]:
    folder = run / "checkpoints" / "step_00000040"
    return load_file(folder / "model.safetensors") | load_file(folder / "train.safetensors")


@pytest.mark.parametrize("words", [("method=reflow", ONE_CALL), ("method=ctm",)])
def test_resuming_and_training_seeds_together(
    words: tuple[str, ...], teachers: Callable[..., Path], demonstrations: Path, tmp_path: Path
) -> None:
    command = ["train", *words, *SMALL, *QUICK, f"data.path={demonstrations}", "checkpoint_every=16"]
    command += [f"method.teacher={teachers('policy=flow')}"]
    whole, parts, both = (tmp_path / name for name in ("whole", "parts", "both"))
    assert main([*command, "steps=40", f"out={whole}", "seed=1"]) == 0
    assert main([*command, "steps=40", f"out={parts}", "seed=1"]) == 0
    (parts / "checkpoints" / "step_00000040").rename(tmp_path / "aside")
    assert main([*command, "steps=40", f"out={parts}", "seed=1", "resume=true"]) == 0
    assert main([*command, "steps=40", f"out={both}", "seeds=[0,1]"]) == 0
    reference, resumed, together = final(whole), final(parts), final(both / "seed_1")
    for name, value in reference.items():
        assert torch.equal(value, resumed[name]), name
        torch.testing.assert_close(value, together[name], rtol=1e-3, atol=1e-5, msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("words", [("method=reflow", ONE_CALL), ("method=ctm",)])
def test_an_update_is_one_graph(
    words: tuple[str, ...], episodes: Episodes, teachers: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a compiler needs, checked without its cost; the graph takes the steps that the code does."""
    torch._dynamo.reset()
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    eager, compiled = (
        distillation(episodes, teachers("policy=flow"), *words, compiled=compiled) for compiled in (False, True)
    )
    for step in range(2):
        torch.testing.assert_close(eager.update(step), compiled.update(step), rtol=1e-4, atol=1e-6)


def test_a_trajectory_takes_over_the_teachers_path(episodes: Episodes, teachers: Callable[..., Path]) -> None:
    straight = distillation(episodes, teachers("policy=flow"), "method=ctm").product().policy_config.process
    assert (straight.schedule, straight.levels) == ("straight", None)
    path = teachers("policy=diffusion", "policy.process.schedule=vp", "policy.process.levels=50")
    curved = distillation(episodes, path, "method=ctm").product().policy_config.process
    assert (curved.schedule, curved.levels) == ("vp", 50)


def test_a_trajectory_ends_by_the_averaged_weights(episodes: Episodes, teachers: Callable[..., Path]) -> None:
    """Other averaged weights are another target; the teacher's ODE is that of its own network."""
    improver = distillation(episodes, teachers("policy=flow"), "method=ctm")
    index, draws = improver._draw()
    batch, taught = improver.data.gather(index), improver.lesson

    def loss() -> float:
        return trajectory(taught, batch, draws, 0.0)[1]["consistency"].item()

    before = loss()
    for network in (taught.averaged.network, taught.teacher.network):
        parameter = next(iter(network.parameters()))
        parameter.data.mul_(1.1)
        assert loss() != before
        parameter.data.div_(1.1)
        assert loss() == pytest.approx(before, rel=1e-4)


def test_the_denoising_losss_weight_is_the_methods(episodes: Episodes, teachers: Callable[..., Path]) -> None:
    improver = distillation(episodes, teachers("policy=flow"), "method=ctm", "method.denoising_weight=0.25")
    metrics = improver.update(0)
    torch.testing.assert_close(metrics["loss"], metrics["consistency"] + 0.25 * metrics["denoising"])


def test_what_is_deployed_is_the_average(episodes: Episodes, teachers: Callable[..., Path]) -> None:
    improver = distillation(episodes, teachers("policy=flow"), "method=reflow", "method.ema_decay=0.9")
    averaged = improver.state()["student"].clone()
    for step in range(4):
        improver.update(step)
        decay = min(0.9, 1 - (1 + step) ** -0.75)
        averaged = decay * averaged + (1 - decay) * improver.state()["student"]
    deployed = torch.cat([parameter.flatten() for parameter in improver.product().parameters()])
    torch.testing.assert_close(deployed, averaged)
    assert not torch.equal(deployed, improver.state()["student"])


FLOW = ("policy=flow",)


@pytest.mark.parametrize(
    ("teacher", "words", "message"),
    [
        (None, ("method=reflow",), "method=reflow needs method.teacher=RUN"),
        ((), ("method=reflow", "method.teacher=nowhere"), "no policy in nowhere: no such folder"),
        ((*FLOW, "policy.chunk=4"), ("method=reflow",), "a chunk of 4, the student 1; set policy.chunk=4"),
        ((*FLOW, "policy.history=2"), ("method=ctm",), "a history of 2, the student 1; set policy.history=2"),
        ((*FLOW, ONE_CALL), ("method=reflow",), "takes one call already"),
        (("policy=meanflow",), ("method=reflow",), "takes one call already"),
        (("policy=direct",), ("method=reflow",), "takes one call already"),
        (("policy=dql",), ("method=ctm",), "draws noise on the way"),
        (("policy=ctm", "policy.process.steps=4"), ("method=ctm",), "is a ctm; choose method=reflow"),
        (FLOW, ("method=ctm", "policy=flow"), "method=ctm teaches policy=ctm, not policy=flow"),
        (FLOW, ("method=reflow", "policy=ctm"), "not policy=ctm; choose method=ctm"),
        (FLOW, ("method=reflow", "policy=diffusion"), "not policy=diffusion; choose policy=flow"),
        (FLOW, ("method=reflow", "policy=direct"), "set policy.process.noise=true"),
        (FLOW, ("method=reflow", "network.width=8"), "method.start=teacher needs a student of the teacher's network"),
        (FLOW, ("method=reflow", "policy=meanflow"), "method.start=teacher needs a student of the teacher's policy"),
        (FLOW, ("method=reflow", ONE_CALL, "method.anneal=0.5"), "set method.anneal=0"),
        (FLOW, ("method=ctm", "policy.process.schedule=cosine"), "schedule=cosine, but the teacher's schedule is stra"),
        (("policy=diffusion",), ("method=ctm", "policy.process.schedule=straight"), "schedule is cosine; leave it out"),
        (FLOW, ("method=reflow", "method.pairs=0"), "method.pairs must be at least 1, got 0"),
        (FLOW, ("method=reflow", "method.start=warm"), "method.start must be teacher or own, got warm"),
        (FLOW, ("method=reflow", "method.anneal=2"), "method.anneal must be a share"),
        (FLOW, ("method=reflow", "method.lr=0"), "method.lr must be above 0"),
        (FLOW, ("method=ctm", "method.denoising_weight=-1"), "method.denoising_weight must be at least 0"),
    ],
)
def test_what_contradicts_is_refused(
    teacher: tuple[str, ...] | None, words: tuple[str, ...], message: str, episodes: Episodes,
    teachers: Callable[..., Path],
) -> None:  # fmt: skip
    path = teachers(*teacher) if teacher else "null"
    with pytest.raises(LaminarError, match=message):
        distillation(episodes, path, *words)


def test_a_teacher_of_other_data_is_refused(episodes: Episodes, tmp_path: Path) -> None:
    narrow = replace(
        episodes,
        observation={"observation": observations(episodes)[:, :2]},
        final_observation={"observation": episodes.final_observation["observation"][:, :2]},
        spec=replace(episodes.spec, observation={"observation": Feature((2,))}),
    )
    with pytest.raises(LaminarError, match="observation 'observation' has shape \\(2,\\) for the teacher"):
        distillation(episodes, build(narrow, "policy=flow").save(tmp_path / "teacher"), "method=reflow")


def test_a_trained_student_is_refused(
    teachers: Callable[..., Path], demonstrations: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    teacher = teachers("policy=flow")
    words = [f"method.teacher={teacher}", f"init={teacher}", f"data.path={demonstrations}", f"out={tmp_path / 'run'}"]
    assert main(["train", "method=reflow", *words]) == 2
    assert "reflow makes its student in the teacher's units; leave out init=" in capsys.readouterr().err
