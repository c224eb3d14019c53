"""Settings of `laminar eval`, `compare`, `replay`, `plan`, `bench`, `export`, `schedule` and `view`."""

# Hydra reads these classes and needs real types: no postponed annotations here.
from dataclasses import dataclass, field
from typing import Any

from ..data.config import LookedAt
from ..envs.config import EnvConfig
from ..settings import choice, names, number, path, paths, seed_number, share


@dataclass
class PolicyPath:
    """A saved policy."""

    path: str | None = path()  # out= folder of a run, a checkpoint, or a saved policy


@dataclass
class SampledPolicy(PolicyPath):
    """A saved policy, and how it samples."""

    steps: Any = None  # network calls of a sample, or the name of a searched schedule; null is the configured number


@dataclass
class EvaluatedPolicy(SampledPolicy):
    """A saved policy, and what runs it."""

    runtime: str = "eager"  # of the sampling loop: eager, onnx, pt2, compile, or auto, the fastest; docs/realtime.md


@dataclass
class Guidance:
    """How a policy decides by its critic, see docs/guidance.md; the settings of `policies.guided.Acting`.

    What is not said stays as a policy was saved: the defaults are those of one that knows nothing of a critic.
    """

    # the critic chooses among samples, moves them by its gradient, resamples particles (fk), or searches a tree
    guidance: str = choice("best_of_n", "best_of_n", "gradient", "fk", "tree")
    # of a candidate: softmax of Q / temperature, or argmax of Q
    selection: str = choice("softmax", "softmax", "argmax")
    temperature: float = number(1.0, above=0)  # in units of Q; what is guided aims at policy x exp(Q / temperature)
    noise_scale: float = number(1.0, least=0)  # of the noise that samples start from; 0 is deterministic
    # temperature in units of Q's standard deviation among the candidates of an observation
    zscore: bool = False
    # gradient: applied at the clean action as it is, or exactly, back through the network
    jacobian: str = choice("identity", "identity", "exact")
    strength: float = number(1.0, above=0)  # gradient: factor of the gradient of Q / temperature
    eta: float = number(1.0, above=0, most=1)  # fk, tree: noise of the steps, as that of DDIM
    # fk: of a particle, the gain of Q, its maximum so far, or its sum so far
    potential: str = choice("diff", "diff", "max", "sum")
    resampling: str = choice("systematic", "systematic", "multinomial")  # fk: how particles are drawn
    ess: float = share(0.5)  # fk: effective share of the particles below which they are resampled
    # fk: time, 1 (noise) to 0, from which on particles are judged; before, what they become is a mean over modes
    resample_below: float = number(0.8, above=0, most=1)
    widening: float = share(0.8)  # tree: a node may have as many children as its visits to this power
    # tree: share of steps that go anywhere; with selection=argmax, weight of the upper confidence bound
    exploration: float = number(1.0, least=0)


@dataclass
class Planning:
    """How a planner acts where it acts otherwise than it was saved, see docs/mazes.md; null: as saved."""

    # of plans: their actions in chunks, an inverse model at every step, or a force to where the plan will be
    controller: str | None = choice(None, "chunk", "inverse", "waypoints", null=True)
    replan: int | None = number(None, least=0, null=True)  # control steps until the next plan; 0 makes one an episode
    # last steps of the process that the plan of before goes through, to become the next one; 0 begins with noise
    warm_start: int | None = number(None, least=0, null=True)
    # last steps of the process that a draft goes through (Trajectory Diffuser); 0 leaves drafts out
    draft_steps: int | None = number(None, least=0, null=True)
    track_return: bool | None = None  # what is still asked for falls by the rewards that are got
    target_return: float | None = number(None, null=True)  # that is asked for, as the environment counts
    execute: int | None = number(None, least=1, null=True)  # actions of a chunk that are executed


@dataclass
class Evaluated:
    """What is evaluated; in the order of the help, what guides comes after it."""

    policy: EvaluatedPolicy = field(default_factory=EvaluatedPolicy)
    env: EnvConfig = field(default_factory=EnvConfig)
    episodes: int = number(50, least=1)  # one a seed
    # chains of five instructions, in place of episodes; see task=calvin-chain
    chains: int | None = number(None, least=1, null=True)
    protocol: str = choice("episodes", "episodes", "offline")  # offline gives three numbers of a run
    # chunks or particles that the critic chooses from, a tree's budget in samples; null: as saved, offline 50
    candidates: int | None = number(None, least=1, null=True)
    plan: Planning = field(default_factory=Planning)


@dataclass
class LauncherConfig:
    """Where workers are, docs/clusters.md; `launcher=ray` for short."""

    kind: str | None = choice(None, "ray", null=True)  # ray: `workers` of a cluster; null: this machine, `processes`
    # of a Ray cluster, HOST:PORT, or auto; null is that of RAY_ADDRESS, or else one is started here for the evaluation
    address: str | None = None


@dataclass
class EvalConfig(Guidance, Evaluated):
    """One evaluation."""

    max_steps: int = number(360, least=1)  # limit of each instruction of a chain
    # words of a chain's instructions: one, the sentence of each task that is kept for evaluation; or drawn for each
    # chain among those of training (known), several that are kept for evaluation (held_out), or both (all)
    phrasings: str = choice("one", "one", "known", "held_out", "all")
    # what tells the tasks of a chain: the instruction, or a goal, the state that the playroom's scripted expert reaches
    # from the room as it is then; of a policy that was trained with data.goals
    told: str = choice("instruction", "instruction", "goal")
    seed: int = seed_number()  # episode i runs on seed + i; chain i draws its noise from it
    out: str | None = path()  # folder for eval.json and the report
    overwrite: bool = False  # replace files in `out` that the verb did not write itself; read-only ones never
    num_envs: int | None = number(None, least=1, null=True)  # environments that step together; null chooses
    processes: int = number(0, least=0)  # worker processes of this machine; 0 evaluates in this one
    launcher: LauncherConfig = field(default_factory=LauncherConfig)
    workers: int | None = number(None, least=1, null=True)  # launcher=ray: workers of the cluster at the same time
    video_episodes: int = number(3, least=0)  # filmed episodes, or chains, in the report; 0 films none
    # chains that are filmed: the longest one and failed ones, the first, the longest, or failed ones
    video_of: str = choice("mixed", "mixed", "first", "longest", "failed")


@dataclass
class ComparedPolicy(PolicyPath):
    """The first or the second of the policies."""

    steps: Any = None  # as policy.steps, of this one alone


@dataclass
class Sampling:
    """How the policies sample."""

    # network calls of a sample, or a searched schedule's name, or a list, one a policy; null is the configured number
    steps: Any = None


@dataclass
class CompareConfig:
    """A paired comparison of policies on identical seeds."""

    a: ComparedPolicy = field(default_factory=ComparedPolicy)
    b: ComparedPolicy = field(default_factory=ComparedPolicy)
    policy: Sampling = field(default_factory=Sampling)
    env: EnvConfig = field(default_factory=EnvConfig)
    episodes: int = number(50, least=1)  # pairs, one a seed
    seed: int = seed_number()  # pair i runs on seed + i
    out: str | None = path()  # folder for compare.json and the report
    overwrite: bool = False  # replace files in `out` that the verb did not write itself; read-only ones never


@dataclass
class Benched:
    """What is timed."""

    policy: PolicyPath = field(default_factory=PolicyPath)
    runtimes: Any = None  # list of eager, compile, cuda_graph, pt2 and onnx; null takes those that suit the device
    steps: Any = None  # list of network calls and named schedules of the policy; null is the configured number
    batch: Any = 1  # list of robots a call
    # chunks, or particles, a robot that the policy's critic chooses from; null: as saved
    candidates: int | None = number(None, least=1, null=True)


@dataclass
class BenchConfig(Guidance, Benched):
    """Latency of one policy: every runtime x steps x batch."""

    calls: int = number(2000, least=1)  # timed calls of every row; a p99 of fewer says little
    # control rate that p99 is held against; null is that of the policy's Spec
    rate_hz: float | None = number(None, above=0, null=True)
    # intra-op threads; more than one is slower for small networks and on shared machines
    threads: int = number(1, least=1)
    device: str = "cpu"  # cpu, cuda, or one of several: cuda:1
    seed: int = seed_number()  # of observations and noise
    out: str | None = path()  # folder for bench.json, the histogram and the report
    overwrite: bool = False  # replace files in `out` that the verb did not write itself; read-only ones never


@dataclass
class Exported:
    """What is exported."""

    policy: PolicyPath = field(default_factory=PolicyPath)
    format: str = "onnx"  # onnx, or pt2: AOTInductor, for this kind of machine and this PyTorch
    batch: int = number(1, least=1)  # observations a call
    steps: Any = None  # network calls, or the name of a schedule of the policy; null is the configured number
    # chunks, or particles, that the critic chooses from; null: as saved
    candidates: int | None = number(None, least=1, null=True)


@dataclass
class ExportConfig(Guidance, Exported):
    """One artifact of a policy."""

    out: str | None = path()  # folder of the artifact


@dataclass
class RecordedPath:
    """Recorded observations."""

    path: Any = paths()  # noqa: RUF009  # a file, or a list of files
    observation: Any = names()  # noqa: RUF009  # list of the observations to read; null takes what the format takes by default
    instruction: str | None = None  # CALVIN data: as in training
    goals: int | None = number(None, least=0, null=True)  # CALVIN data: as in training
    filter: str | None = None  # robomimic data: as in training, or the list of those that were held out
    robot: str | None = None  # bags: as in training
    frame: str | None = None  # PushT: as in training


@dataclass
class WorldPath:
    """A saved world model."""

    # run or checkpoint of method=world_model, which is replayed in place of a policy; `world=PATH` for short
    path: str | None = path()


@dataclass
class ReplayedData:
    """Recorded episodes; what is left out is as in the policy's run."""

    path: Any = paths()  # noqa: RUF009  # a file, or a list of files; null takes those that the policy was trained on
    observation: Any = names()  # noqa: RUF009  # list of the observations to read
    action: str | None = None  # CALVIN data: rel_actions, actions or executed
    instruction: str | None = None  # CALVIN data: as in training
    goals: int | None = number(None, least=0, null=True)  # CALVIN data: as in training
    filter: str | None = None  # robomimic data: a list of the file; as in the run only for the run's own files
    robot: str | None = None  # bags: the robot that they show; as in the run only for the run's own files
    frame: str | None = None  # PushT: block, or as it was recorded


@dataclass
class ReplayConfig:
    """Predicted beside recorded actions, or imagined beside recorded moments: what is measured without a simulator."""

    policy: SampledPolicy = field(default_factory=SampledPolicy)
    world: WorldPath = field(default_factory=WorldPath)
    data: ReplayedData = field(default_factory=ReplayedData)
    # at most so many, evenly spread; null takes all: those that the run held out, of other data every one
    episodes: int | None = number(None, least=1, null=True)
    # at most so many steps, evenly spread, at which chunks are sampled, or from which a world model imagines
    windows: int = number(2000, least=1)
    samples: int = number(8, least=1)  # chunks at each of them; one of a policy without noise
    seed: int = seed_number()  # of the noise, or of what is imagined
    out: str | None = path()  # folder for replay.json, the pictures and the report
    overwrite: bool = False  # replace files in `out` that the verb did not write itself; read-only ones never


@dataclass
class ViewConfig:
    """A page to look at recordings with."""

    data: LookedAt = field(default_factory=LookedAt)
    episodes: int = number(20, least=1)  # at most so many, evenly spread
    megabytes: float = number(24.0, above=0)  # of the page, at most: pictures become smaller, then fewer
    out: str | None = path()  # HTML file; null is the name of the data, in the folder where one is
    overwrite: bool = False  # replace a file that the verb did not write itself; read-only ones never


@dataclass
class PlanConfig:
    """What a planner plans at the start of an episode."""

    policy: PolicyPath = field(default_factory=PolicyPath)
    env: EnvConfig = field(default_factory=EnvConfig)
    seed: int = seed_number()  # of the environment's reset; plan i is of the noise of seed + i
    plans: int = number(1, least=1)  # that are drawn, each of its own noise
    drive: bool = False  # mazes: run the episode as well, and draw where the policy drove
    out: str | None = path()  # PNG file; null prints the line alone
    overwrite: bool = False  # replace the file, unless it is read-only


@dataclass
class ScheduleConfig:
    """Search of solver schedules for one policy."""

    policy: PolicyPath = field(default_factory=PolicyPath)
    data: RecordedPath = field(default_factory=RecordedPath)
    calls: Any = field(default_factory=lambda: [2, 3, 4, 5])  # network calls of a sample; a schedule for each number
    observations: int = number(32, least=1)  # recorded observations of a draw
    noises: int = number(32, least=2)  # chunks for each observation
    draws: int = number(8, least=2)  # held-out draws, which the reported distances are means of
    seed: int = seed_number()  # of the split, the draws and the proposals
    out: str | None = path()  # folder for report.json and report.md; the schedules go beside the policy's weights
    overwrite: bool = False  # replace files in `out` that the verb did not write itself; read-only ones never
