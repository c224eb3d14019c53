"""A policy on a robot is told what to do: by a setting, and by the robot's own topic from then on."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from laminar.data.bags.opening import open_bag
from laminar.data.bags.saying import Said
from laminar.data.bags.words import INSTRUCTION
from laminar.data.episodes import Episodes
from laminar.data.formats.calvin import NAMES
from laminar.data.instructions import HELD_OUT, SENTENCES, TASKS, plain, task_of
from laminar.data.language import hashed_embedding, vector_of
from laminar.data.load import load_episodes
from laminar.data.robots.names import STRING
from laminar.data.robots.observing import observation_of
from laminar.data.robots.reading import load_robot
from laminar.data.selection import Selection
from laminar.data.spec import Feature, Spec
from laminar.deploy.client import PolicyClient
from laminar.deploy.config import DeployConfig
from laminar.deploy.pilot import PolicyPilot
from laminar.deploy.rosbridge.gateway import Gateway
from laminar.deploy.run import deploy
from laminar.deploy.scheduler import ChunkScheduler
from laminar.deploy.server import PolicyServer
from laminar.deploy.simulated import SimulatedRobot
from laminar.deploy.told import Told, shown, told
from laminar.deploy.transports.loopback import Bus, Loopback
from laminar.envs.make import make_env
from laminar.errors import LaminarError
from laminar.eval.config import EvaluatedPolicy
from laminar.policies import NETWORKS, PROCESSES, GenerativePolicy, PolicyConfig, load_policy
from laminar.policies.acting import Actor

from .test_run import YAML
from .test_simulated import Line
from .test_words import Listener
from .toy_robot import RATE, Inline

TOLD = YAML.replace("topics:\n", "topics:\n  instruction: std_msgs/msg/String\n") + "instruction: instruction\n"


class Room(Line):
    """A line that is told which task it is about, and never done."""

    def __init__(self) -> None:
        self.begun: list[str] = []

    def begin(self, task: str) -> Any:
        self.begun.append(task)
        return self._seen()

    def step(self, action: Any) -> Any:
        seen, *_ = super().step(action)
        return seen, 0.0, False, False, {"success": False}


@pytest.fixture
def description(tmp_path: Path) -> Path:
    path = tmp_path / "line.yaml"
    path.write_text(TOLD)
    return path


@pytest.fixture
def room(description: Path) -> Iterator[tuple[Gateway, Room, Loopback]]:
    """The room behind a bridge, in real time, in threads of this process; and another side of its topics."""
    bus, over, env = Bus(), threading.Event(), Room()
    side, mine = Loopback(bus), Loopback(bus)
    side.open()
    mine.open()
    simulated = SimulatedRobot(env, load_robot(str(description)), side, bus.types)
    with Gateway(Loopback(bus), bus.types) as gateway:
        thread = threading.Thread(target=simulated.run, args=(over,))
        thread.start()
        yield gateway, env, mine
        over.set()
        thread.join(5.0)


def untrained(folder: Path, instruction: bool) -> str:
    """Save a policy that maybe is told one number a task."""
    rng, rows = np.random.default_rng(0), 40
    seen, features = {"place": rng.normal(size=(rows, 2)).astype(np.float32)}, {"place": Feature((2,))}
    if instruction:
        seen["instruction"] = np.eye(len(TASKS), dtype=np.float32)[np.arange(rows) % len(TASKS)]
        features["instruction"] = Feature((len(TASKS),), unit="task")
    episodes = Episodes(
        observation=seen,
        final_observation={key: value[:1] for key, value in seen.items()},
        action=rng.uniform(0.5, 1, (rows, 2)).astype(np.float32),
        reward=np.zeros(rows, np.float32),
        terminated=np.zeros(rows, bool),
        truncated=np.zeros(rows, bool),
        ends=np.array([rows]),
        spec=Spec(features, Feature((2,), names=("push", "grip")), (-1.0, -1.0), (1.0, 1.0), rate_hz=20.0),
    )
    torch.manual_seed(0)
    config = PolicyConfig(process=PROCESSES.config_class("meanflow")(), chunk=8, execute=4)
    policy = GenerativePolicy.build(config, NETWORKS.config_class("mlp")(width=16, depth=1), episodes).eval()
    policy.save(folder)
    return str(folder)


@pytest.fixture
def saved(tmp_path: Path) -> str:
    """An untrained policy that is told one number a task."""
    return untrained(tmp_path / "policy", instruction=True)


def settings(path: str, description: Path, url: str, **more: Any) -> DeployConfig:
    return DeployConfig(robot=str(description), policy=EvaluatedPolicy(path=path), url=url, **({"seconds": 0.6} | more))


def test_a_run_is_told_and_so_is_the_robot(
    room: tuple[Gateway, Room, Loopback], saved: str, description: Path, tmp_path: Path
) -> None:
    gateway, env, mine = room
    heard: list[str] = []
    mine.subscribe("/line/instruction", STRING, lambda message, arrival: heard.append(message["data"]))
    out = tmp_path / "out"
    deploy(settings(saved, description, gateway.url, episodes=2, instruction="open_drawer", out=str(out)))
    assert heard == ["open_drawer"] * 2, "at the begin of every episode"
    assert env.begun == ["open_drawer"] * 2
    assert [one["told"] for one in json.loads((out / "deploy.json").read_text())["episodes"]] == ["open_drawer"] * 2
    assert "open_drawer" in (out / "report.html").read_text()
    assert INSTRUCTION in {raw.topic for raw in open_bag(out / "recording.mcap").messages()}
    learned = load_episodes(out / "recording.mcap", Selection(instruction="task"))
    assert learned.tasks is not None
    assert learned.tasks.tolist() == ["open_drawer"] * learned.num_episodes
    told_as = learned.spec.observation["instruction"]
    assert (told_as.unit, told_as.shape) == ("task", (len(TASKS),))
    assert (learned.observation["instruction"].argmax(axis=1) == TASKS.index("open_drawer")).all()
    assert learned.final_observation["instruction"].shape == (learned.num_episodes, len(TASKS))


@pytest.mark.filterwarnings("error:The given NumPy array is not writable")
def test_a_policy_that_a_server_runs_is_told_too(
    room: tuple[Gateway, Room, Loopback], saved: str, description: Path, tmp_path: Path
) -> None:
    gateway, env, _ = room
    out = tmp_path / "out"
    with PolicyServer(load_policy(saved), port=0) as server:
        deploy(settings(server.url, description, gateway.url, instruction="open_drawer", out=str(out)))
        with pytest.raises(LaminarError, match=r"'open_drawr' is none.*open_drawer"):
            deploy(settings(server.url, description, gateway.url, instruction="open_drawr"))
    assert env.begun == ["open_drawer"]
    assert [one["told"] for one in json.loads((out / "deploy.json").read_text())["episodes"]] == ["open_drawer"]


def test_words_of_a_recording_become_instructions(
    room: tuple[Gateway, Room, Loopback], saved: str, description: Path, tmp_path: Path
) -> None:
    """Of each step those that were said last, also where they changed within an episode."""
    gateway, _, mine = room
    mine.advertise("/line/instruction", STRING)
    sentence, out = SENTENCES["close_drawer"][0], tmp_path / "out"
    change = threading.Timer(1.0, mine.publish, ["/line/instruction", STRING, {"data": sentence}])
    mine.subscribe("/line/instruction", STRING, lambda *_: None if change.ident else change.start())
    told_open = settings(saved, description, gateway.url, instruction="open_drawer", out=str(out), seconds=2.0)
    deploy(told_open)
    path = out / "recording.mcap"
    by_task, hashed = (load_episodes(path, Selection(instruction=how)) for how in ("task", "hashed"))
    which = by_task.observation["instruction"].argmax(axis=1)
    assert [TASKS[one] for one in dict.fromkeys(which.tolist())] == ["open_drawer", "close_drawer"]
    np.testing.assert_array_equal(hashed.observation["instruction"][-1], hashed_embedding(sentence))
    assert hashed.spec.observation["instruction"].unit == "hashed"
    np.testing.assert_array_equal(hashed.observation["instruction"][0], vector_of(hashed.spec, "open_drawer"))
    assert list(load_episodes(path).observation) == ["place"]
    both = load_episodes(path, Selection(observation=("instruction", "place"), instruction="task"))
    assert list(both.observation) == list(both.spec.observation) == ["instruction", "place"]
    with pytest.raises(LaminarError, match="names nothing but 'instruction'"):
        load_episodes(path, Selection(observation=("instruction",), instruction="task"))
    with pytest.raises(LaminarError, match=r"data\.observation names 'instruction', there are \['place'\]"):
        load_episodes(path, Selection(observation=("instruction",)))


def test_a_recording_without_words_is_no_instruction(room: tuple[Gateway, Room, Loopback], tmp_path: Path) -> None:
    gateway, _, _ = room
    for number, (text, why) in enumerate(
        [
            (YAML, r"no words on /laminar/instruction, and .* names no topic of words"),
            (TOLD, "no words on /laminar/instruction or /line/instruction"),
        ]
    ):
        (tmp_path / "line.yaml").write_text(text)
        out = tmp_path / str(number)
        policy = untrained(out / "policy", instruction=False)
        deploy(settings(policy, tmp_path / "line.yaml", gateway.url, out=str(out / "run")))
        with pytest.raises(LaminarError, match=why):
            load_episodes(out / "run" / "recording.mcap", Selection(instruction="task"))


def test_whoever_speaks_on_its_topic_tells_it_something_else(
    room: tuple[Gateway, Room, Loopback],
    saved: str,
    description: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    gateway, env, mine = room
    mine.advertise("/line/instruction", STRING)

    def speak(words: str) -> None:
        mine.publish("/line/instruction", STRING, {"data": words})

    first: list[Any] = []

    def spoken(message: Any, arrival: float) -> None:
        if not first:
            first.append(message)
            threading.Timer(0.2, speak, ["dance"]).start()
            threading.Timer(0.8, speak, ["close_drawer"]).start()

    mine.subscribe("/line/instruction", STRING, spoken)
    out = tmp_path / "out"
    deploy(settings(saved, description, gateway.url, instruction="open_drawer", out=str(out), seconds=1.5))
    assert env.begun == ["open_drawer", "close_drawer"]
    assert [one["told"] for one in json.loads((out / "deploy.json").read_text())["episodes"]] == ["close_drawer"]
    said = {str(words) for words in load_episodes(out / "recording.mcap").tasks or ()}
    assert said == {"open_drawer"}, "words that were not understood are no task of what was done"
    said = capfd.readouterr().err
    assert "'dance'" in said
    assert "'open_drawer' goes on" in said


def test_what_nobody_can_be_told_is_one_line(saved: str, description: Path, tmp_path: Path) -> None:
    nowhere = "ws://127.0.0.1:9"
    with pytest.raises(LaminarError, match=r"told what to do, so give instruction=TASK or a sentence"):
        deploy(settings(saved, description, nowhere))
    with pytest.raises(LaminarError, match=r"'open_drawr' is none.*open_drawer"):
        deploy(settings(saved, description, nowhere, instruction="open_drawr"))
    description.write_text(TOLD.replace("instruction: std_msgs/msg/String", "instruction: std_msgs/msg/Bool"))
    with pytest.raises(LaminarError, match=r"/line/instruction carries std_msgs/msg/Bool, not std_msgs/msg/String"):
        deploy(settings(saved, description, nowhere, instruction="open_drawer"))


def test_words_for_a_policy_that_takes_none_are_refused(
    make_policy: Callable[..., GenerativePolicy], description: Path
) -> None:
    robot = load_robot(str(description))
    with pytest.raises(LaminarError, match="tells nobody: the policy takes none"):
        told(make_policy(), robot, "open_drawer")
    assert told(make_policy(), robot, None) is None
    listener: Any = Listener()
    itself = replace(robot, observation={**robot.observation, "instruction": robot.observation["place"]})
    assert told(listener, itself, None) is None
    with pytest.raises(LaminarError, match="tells nobody: robot line shows it itself"):
        told(listener, itself, "open_drawer")
    assert list(shown(listener.spec).observation) == ["arm"]


def settled(saying: Told) -> str:
    """Return the words that hold once all that was heard was thought about."""
    end = time.monotonic() + 20
    while saying._thinking:
        assert time.monotonic() < end
        time.sleep(0.001)
    return saying.words


@pytest.mark.parametrize(("merge", "delay"), [("replace", 0), ("append", 0), ("append", 3), ("ensemble", 2)])
def test_what_is_planned_goes_on_until_there_is_a_chunk_for_other_words(merge: str, delay: int) -> None:
    """Not a moment without an action, in which a gripper would open; and nothing of the last task after that."""
    now, asked = 50.0, list[int]()

    class Heard(Listener):
        def sample(self, obs: Any, noise: Any = None, generator: Any = None) -> torch.Tensor:
            asked.append(int(obs["instruction"][0, -1].argmax()))
            return torch.full((1, 12, 2), float(asked[-1]))

    policy: Any = Heard("task", len(TASKS))
    policy.spec = replace(policy.spec, chunk=12, execute=6)
    actor = Actor(policy)
    saying = told(policy, load_robot("arm"), TASKS[3])
    assert saying is not None
    planner: Any = Inline(actor, lambda: now)
    planner.delay = delay
    pilot = PolicyPilot(actor, planner, ChunkScheduler(1 / RATE, merge), lambda: now, saying)
    pilot.begin(now)
    done: list[float] = []
    for period in range(24):
        if period == 8:
            saying.hear(TASKS[5])
            settled(saying)
        action = pilot.decide({"arm": np.zeros(3)}, now)
        done += [] if action is None else [round(float(action[0]), 6)]
        assert period < delay or action is not None
        now += 1 / RATE
    first = done.index(5.0)
    assert set(done[:first]) == {3.0}
    assert set(done[first:]) == {5.0}
    assert 8 <= first + delay <= 8 + 2 * delay + 1, "asked for at once, or when the one that was made is there"


def test_words_that_mean_nothing_change_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    listener: Any = Listener("task", len(TASKS))
    noted: list[str] = []
    with PolicyServer(listener, port=0) as server, PolicyClient(server.url) as client:
        saying = Told(client.instruction, "open_drawer")
        saying.noted = noted.append
        np.testing.assert_array_equal(saying.now[1], np.eye(len(TASKS))[TASKS.index("open_drawer")])
        for words in ("dance", "Dance.", "", "dance"):
            saying.hear(words)
            assert settled(saying) == "open_drawer"
        assert capfd.readouterr().err.count("'dance' is none") == 1
        saying.hear(SENTENCES["close_drawer"][0])
        assert settled(saying) == SENTENCES["close_drawer"][0]
        assert saying.now[1].argmax() == TASKS.index("close_drawer")
        assert noted == [SENTENCES["close_drawer"][0]]


def test_what_takes_long_to_understand_holds_nobody_up() -> None:
    """Words come in the thread that brings emergency stops; of many that come meanwhile the last ones count."""
    free, seen = threading.Event(), list[str]()

    def slow(words: str) -> np.ndarray:
        seen.append(words)
        if len(seen) > 1:
            assert free.wait(20)
        return np.zeros(1)

    saying = Told(slow, "one")
    begun = time.monotonic()
    for words in ("two", "three", "four"):
        saying.hear(words)
    assert time.monotonic() - begun < 1
    assert saying.words == "one"
    free.set()
    assert settled(saying) == "four"
    assert seen in (["one", "two", "four"], ["one", "two", "three", "four"], ["one", "four"])


def test_words_of_recordings_are_compared_as_people_mean_them() -> None:
    said = Said(["close the drawer", "open_drawer"], np.array([1, 1, 0, -1]), np.array([3, 4]))
    assert said.of_episodes().tolist() == ["open_drawer", ""]
    assert {plain(one) for one in ("Open  the drawer.", " open the drawer")} == {"open the drawer"}
    names = ("wipe the table", "wave")
    own = Spec({"instruction": Feature((2,), unit="task of 2 (0a1b2c3d)", names=names)}, Feature((1,)))
    np.testing.assert_array_equal(vector_of(own, "Wave!"), [0, 1])
    with pytest.raises(LaminarError, match=r"knows 2 tasks, and 'waive' is none.*wave"):
        vector_of(own, "waive")


def test_a_simulated_room_begins_what_is_new(description: Path) -> None:
    bus, env = Bus(), Room()
    side, mine = Loopback(bus), Loopback(bus)
    side.open()
    mine.open()
    simulated = SimulatedRobot(env, load_robot(str(description)), side, bus.types)
    simulated._reset()
    for words in ("open_drawer", "open_drawer", "dance", SENTENCES["close_drawer"][0]):
        mine.publish("/line/instruction", STRING, {"data": words})
        simulated.tick()
        simulated.tick()
    assert env.begun == ["open_drawer", "close_drawer"]


def test_sentences_are_known_by_their_tasks() -> None:
    for task in TASKS:
        assert task_of(task) == task
        assert {task_of(one) for one in (*SENTENCES[task], HELD_OUT[task].upper())} == {task}
    assert task_of("dance") is None


def test_the_playrooms_robot_shows_what_its_play_has() -> None:
    """So that a policy of play runs behind the bridge; `room_obs`, which a room shows on request, too."""
    described = load_robot("playroom")
    for key in ("robot_obs", "scene_obs", "room_obs"):
        assert described.spec.observation[key].names == NAMES[key]
    env, seen, over = make_env(described.simulator), dict[str, Any](), threading.Event()
    bus = Bus()
    side, mine = Loopback(bus), Loopback(bus)
    side.open()
    mine.open()
    simulated = SimulatedRobot(env, described, side, bus.types)
    numbers = replace(described, observation={key: described.observation[key] for key in ("robot_obs", "room_obs")})

    def see(topic: str) -> Callable[[Any, float], None]:
        def keep(message: Any, arrival: float) -> None:
            seen[topic] = message
            if {*numbers.seen_topics()} <= {*seen}:
                over.set()

        return keep

    for topic in numbers.seen_topics():
        mine.subscribe(topic, described.types[topic], see(topic))
    mine.publish(described.instruction, STRING, {"data": SENTENCES["open_drawer"][-1]})
    simulated.run(over)
    np.testing.assert_allclose(
        observation_of(numbers, seen)["room_obs"], env.get_wrapper_attr("requested")()["room_obs"], atol=1e-6
    )
    env.close()
