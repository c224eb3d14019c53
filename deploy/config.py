"""Settings of `laminar serve`, `deploy` and `simulate`."""

# Hydra reads this class and needs real types: no postponed annotations here.
from dataclasses import dataclass, field

from ..eval.config import EvaluatedPolicy, Guidance
from ..settings import choice, number, path, seed_number


@dataclass
class Served:
    """What is served, and where; in the order of the help, what guides comes after it."""

    policy: EvaluatedPolicy = field(default_factory=EvaluatedPolicy)
    host: str = "127.0.0.1"  # address to listen at; one that other machines can reach needs a token
    port: int = number(8000, least=0, most=65535)  # 0 takes one that is free, and prints it
    token: str | None = None  # what clients have to know; better in the variable LAMINAR_TOKEN, where nobody sees it
    batch: int = number(16, least=1)  # observations that the policy is asked for at once, at most
    # intra-op threads; more than one is slower for small networks and on shared machines
    threads: int = number(1, least=1)
    # chunks or particles that the critic chooses from; null: as saved
    candidates: int | None = number(None, least=1, null=True)


@dataclass
class ServeConfig(Guidance, Served):
    """A policy server."""

    seed: int = seed_number()  # of noise that clients do not give


@dataclass
class Connection:
    """How a robot is reached."""

    robot: str = "playroom"  # its description: one of configs/robot/, or a YAML file; docs/deploy.md
    transport: str = "rosbridge"  # rosbridge, or what else deploy/transports/ has
    token: str | None = None  # of a bridge that wants one; better in the variable LAMINAR_TOKEN


@dataclass
class DeployConfig(Connection):
    """A policy on a robot."""

    policy: EvaluatedPolicy = field(default_factory=EvaluatedPolicy)
    url: str = "ws://127.0.0.1:9090"  # of the bridge; transport=rospy: of the ROS 1 master, http://127.0.0.1:11311
    episodes: int = number(1, least=1)
    # what a policy that takes instructions is told: open_drawer, or 'open the drawer'
    instruction: str | None = None
    seconds: float = number(30.0, above=0)  # that an episode lasts at most
    seed: int = seed_number()  # of noise, and of the first start, one more for each after it, where a robot takes one
    # of chunks that overlap: the newer, the older to its end, a mean of both, or one that goes on from the other
    merge: str = choice("replace", "replace", "append", "ensemble", "realtime")
    # actions of a chunk until the next one is asked for; null: as the policy was trained
    execute: int | None = number(None, least=1, null=True)
    dry_run: bool = False  # compute everything and send nothing
    # port of the status page, on this machine only; 0 takes one that is free, and prints it; null: no page
    page: int | None = number(None, least=0, most=65535, null=True)
    record: bool = True  # everything seen and commanded into out=…/recording.mcap
    threads: int = number(1, least=1)  # intra-op threads
    out: str | None = path()  # folder of deploy.json and of the recording
    overwrite: bool = False  # write over results that are there


@dataclass
class SimulateConfig(Connection):
    """A simulated robot behind its topics, in real time, until Ctrl-C."""

    task: str | None = None  # of the robot's environment: open_drawer
    cameras: bool = False  # show pictures, too
    url: str = "http://127.0.0.1:11311"  # of a ROS 1 master, for transport=rospy; rosbridge listens itself, see below
    host: str = "127.0.0.1"  # address of the bridge; one that other machines can reach needs a token
    port: int = number(9090, least=0, most=65535)  # of the bridge; 0 takes one that is free, and prints it
    seed: int = seed_number()  # of the first start, one more for each after it
    video: str | None = path()  # film (.mp4) of the first episodes, written at the end
    video_episodes: int = number(5, least=1)  # how many
