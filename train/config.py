"""Every setting of `laminar train`, with its default; YAML files only select and override."""

# Hydra reads these classes and needs real types: no postponed annotations here.
from dataclasses import dataclass, field
from typing import Any

from ..envs.config import EnvConfig
from ..settings import choice, names, number, path, paths, seed_number, share
from ..world_models.dreams import DreamConfig


@dataclass
class DataConfig:
    """Demonstrations."""

    path: Any = paths()  # noqa: RUF009  # a file, or a list of files that are concatenated
    observation: Any = names()  # noqa: RUF009  # list of the observations to use; null uses all, or what the format takes by default
    action: str | None = None  # CALVIN data: rel_actions (default), actions or executed
    # CALVIN data: annotated windows become the episodes. task is one number a task, a language folder has its vectors,
    # and hashed, sentence-transformers:MODEL or FILE.safetensors of a text encoder encode what was said. LeRobot
    # data, words in bags: the same but for folders.
    instruction: str | None = None
    # CALVIN data: so many windows more, cut in hindsight out of the whole recordings and told by the state at the end,
    # as each annotated one is once more; policy.transforms=[…,goal] shows a policy what is to change.
    goals: int | None = number(None, least=0, null=True)
    filter: str | None = None  # robomimic data: a list of the file, such as train for the demonstrations in mask/train
    robot: str | None = None  # bags: the robot that they show, NAME or FILE.yaml; our own recordings describe it
    # LeRobot data: cache unpacks pictures once into a file, stream decodes them when they are used; null is cache where
    # there is room.
    video: str | None = choice(None, "cache", "stream", null=True)
    frame: str | None = None  # PushT: block, all that is seen and done in its frame, as env.id=…?frame=block has it
    # OGBench's play, which serves many tasks: whose rewards it gets, an id, or env for that of env.id.
    task: str | None = None
    short_episodes: str = choice("error", "error", "pad", "drop")  # what to do with episodes shorter than a chunk
    # Tasks that are recorded unequally often, with method=bc: 0 learns from each step as often, 1 from each task, and
    # what lies between favors the rare ones less.
    balance: float = share(0.0)
    # Share of the episodes that nothing is learned from: loss and action errors are measured on them while training,
    # the best checkpoint is chosen by these where no environment tells, and `laminar replay` finds them. 0 is none.
    validation: float = number(0.0, least=0, below=1)


@dataclass
class TrainEnvConfig(EnvConfig):
    """An environment to evaluate in while training, and that a method which acts learns in."""

    # Control steps in all of a method that acts: `steps`, the number of updates, then follows from it. A method that
    # can do without them (dsrl, residual) learns from data.path alone where none are given.
    steps: int | None = number(None, least=1, null=True)
    slots: int = number(1, least=1)  # environments that a method which acts steps side by side
    processes: int = number(0, least=0)  # workers that they are spread over; 0 steps them in this process
    workers: str | None = None  # ray:N spreads them over N workers of a Ray cluster in place of processes


@dataclass
class EvaluationConfig:
    """Evaluation while training, always with the averaged weights."""

    # Updates between evaluations: in the environment if there is env.id, on held-out episodes if there is
    # data.validation. 0 evaluates in no environment, and on held-out episodes at every checkpoint.
    every: int = number(0, least=0)
    episodes: int = number(10, least=1)  # of each evaluation in the environment
    seed: int = seed_number(10_000)  # episode i runs on seed + i, away from the training seeds


@dataclass
class RuntimeConfig:
    """How the same mathematics is run."""

    name: str = "eager"
    compiled: bool = False  # torch.compile the update: repays its 10-60 s after some thousand updates
    captured: bool = False  # draws, batch and update as one CUDA graph; of fused kernels with `compiled`
    updates_per_launch: int = number(1, least=1)  # of a captured update; steps and intervals must be multiples of it
    autocast: bool = False  # matrix products of the update in bfloat16
    # Torch's precision of float32 products in updates. High is TF32 on GPUs. Medium gives oneDNN the products on CPUs:
    # twice as fast on AMD's, just as exact; on Intel's with AMX they are bfloat16 inside. Auto tries on one product
    # whether medium keeps the accuracy here, and takes it then.
    matmul: str = choice("highest", "auto", "highest", "high", "medium")
    device: str = "cpu"  # cpu, cuda, or one of several: cuda:1
    # intra-op threads; more than one is slower for small networks and on shared machines
    threads: int = number(1, least=1)


@dataclass
class InitConfig:
    """A saved policy to start from."""

    path: str | None = path()  # policy, run or checkpoint, in place of policy= and network=; `init=PATH` for short
    # Statistics that states and actions are normalized by: the policy's own, or those of the data of this run.
    normalizer: str = choice("keep", "keep", "refit")


@dataclass
class TrainConfig:
    """A training run."""

    data: DataConfig = field(default_factory=DataConfig)
    env: TrainEnvConfig = field(default_factory=TrainEnvConfig)
    # Untyped here, so that each process, network and method brings its own settings.

    policy: Any = None  # how chunks are generated and executed; policy=NAME chooses the process
    network: Any = None  # what learns; network=NAME chooses it
    method: Any = None  # what it learns from; method=NAME chooses it
    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)
    world: DreamConfig = field(default_factory=DreamConfig)  # what a method that acts does so in, if not in env
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    steps: int = number(30_000, least=1)  # updates in all
    init: InitConfig = field(default_factory=InitConfig)  # saved policy to start from
    seed: int = seed_number()  # of the first weights and of all that is drawn
    seeds: Any = None  # list of seeds that train together, each as a run of its own in out/seed_K; in place of seed
    out: str | None = path()  # folder of the run
    resume: bool = False  # continue the run in `out` from its newest checkpoint
    log_every: int = number(500, least=1)  # updates between rows in the logs
    checkpoint_every: int = number(5_000, least=1)  # updates between checkpoints, of which the last two are kept
    keep_every: int | None = number(None, least=1, null=True)  # checkpoints at its multiples are kept as well
    wandb: bool = False  # also log to Weights & Biases (extra: wandb)
