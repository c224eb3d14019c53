"""An environment of gymnasium behind the topics of a robot, in real time: what `laminar simulate` runs."""

from __future__ import annotations

import secrets
import threading
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from ..data.instructions import plain, task_of
from ..data.robots.description import Camera, Robot
from ..data.robots.messages import Message, Types
from ..data.robots.names import BOOL, STRING, TRIGGER, WHOLE
from ..data.robots.simulating import action_in, shown_by
from ..envs.on_request import showing
from ..envs.room import as_room
from ..envs.spec import env_spec
from ..errors import LaminarError
from ..eval.rollouts.video import Recorder
from ..progress import tell
from .pace import Pace
from .transport import Transport

Array = NDArray[Any]
_RESET_WITHIN = 10.0  # seconds


class SimulatedRobot:
    """Shows an environment's observations, and steps it with what it is commanded.

    After a reset it stands still until the first command, so that an episode begins where the environment's does. A
    control period without a new command is one of rest; an episode that is over is shown as it ended until the next
    reset. A room that is told a task begins it where it is: success is its own from then on.

    Attributes:
        resets: episodes that were begun.
        steps: of all episodes.
        refused: commands that were none, and why the last one was.
    """

    def __init__(
        self,
        env: gymnasium.Env[Any, Any],
        robot: Robot,
        transport: Transport,
        types: Types,
        seed: int = 0,
        film: Recorder | None = None,
        filmed: int = 0,
    ) -> None:
        """Offer the topics and services of a robot.

        Args:
            env: that shows the keys of the robot, or some of them.
            robot: its description.
            transport: open.
            types: of its messages.
            seed: of the first start, one more for each after it.
            film: takes pictures of the first episodes in which something is commanded.
            filmed: how many.

        Raises:
            LaminarError: the environment is another robot; names what differs.
        """
        env = showing(env, robot.observation)
        spec = env_spec(env)
        robot.fitting(spec, "the environment")
        numbers = [key for key, one in robot.observation.items() if not isinstance(one, Camera)]
        dark = [key for key in numbers if key not in spec.observation]
        if dark:
            shown = ", ".join(spec.observation)
            raise LaminarError(f"robot {robot.name} shows '{dark[0]}', which the environment does not (it has {shown})")
        self._key = next(iter(spec.observation))  # of an environment that shows one array
        self._env, self._robot, self._transport, self._types = env, robot, transport, types
        self.resets, self.steps, self.refused = 0, 0, (0, "")
        self._seed, self._lock = seed, threading.Lock()
        self._born = secrets.randbits(32) << 20  # of another process another number, which its starts are counted from
        self._film, self._filmed, self._shown = film, filmed, seed
        self._wanted, self._done = threading.Event(), threading.Event()
        self._commands: dict[str, Message] = {}
        self._told, self._doing = "", ""  # what was said last since the reset, and what was begun of it
        self._stopped, self._begun, self._over, self._success = False, False, True, False
        self._observation: dict[str, Array] = {}
        self._rest = np.zeros(len(robot.action_names))
        self._offer()

    def _offer(self) -> None:
        robot, transport = self._robot, self._transport
        for topic in [*robot.read_topics(), *filter(None, (robot.success, robot.start))]:
            transport.advertise(topic, robot.types[topic])
        for topic in {output.topic for output in robot.action}:
            transport.subscribe(topic, robot.types[topic], self._commander(topic))
        if robot.seed:
            transport.subscribe(robot.seed, WHOLE, self._next_seed)
        if robot.estop:
            transport.subscribe(robot.estop, BOOL, self._estop)
        if robot.instruction:
            transport.subscribe(robot.instruction, STRING, self._hear)
        if robot.reset:
            transport.serve(robot.reset, TRIGGER, self._reset_service)

    def _commander(self, topic: str) -> Any:
        def read(message: Message, arrival: float) -> None:
            with self._lock:
                self._commands[topic] = message

        return read

    def _next_seed(self, message: Message, arrival: float) -> None:
        self._seed = int(message["data"])

    def _hear(self, message: Message, arrival: float) -> None:
        self._told = message["data"]

    def _estop(self, message: Message, arrival: float) -> None:
        self._stopped = bool(message["data"])

    def _reset_service(self, request: dict[str, Any]) -> dict[str, Any]:
        self._done.clear()
        self._wanted.set()
        if not self._done.wait(_RESET_WITHIN):
            raise LaminarError(f"the simulated robot was not reset within {_RESET_WITHIN:g} s")
        return {"success": True, "message": f"start {self.resets}"}

    def run(self, over: threading.Event) -> None:
        """Go on in real time until told that it is over."""
        self._reset()
        pace = Pace(1.0 / self._robot.rate_hz)
        while not over.is_set():
            pace.wait()
            self.tick()

    def tick(self) -> None:
        """Simulate a control period and show what there is."""
        if self._wanted.is_set():
            self._wanted.clear()
            self._reset()
            self._done.set()
        else:
            self._begin_task()
            self._step()
        self._show()

    def _reset(self) -> None:
        self._see(self._env.reset(seed=self._seed)[0])
        self._shown = self._seed
        self._seed, self.resets = self._seed + 1, self.resets + 1
        with self._lock:
            self._commands = {}
        self._begun = self._over = self._success = self._stopped = False
        self._told = self._doing = ""
        self._rest = np.zeros(len(self._robot.action_names))

    def _begin_task(self) -> None:
        """Begin what was told, in an environment that takes instructions; other words than its tasks' are refused."""
        words = self._told
        if plain(words) == plain(self._doing) or as_room(self._env) is None:
            return
        task, self._doing = task_of(words), words
        if task is None:
            tell(
                f"'{words}' is no sentence of a task that is known here, so success goes on to be that of the last one"
            )
            return
        self._see(self._env.get_wrapper_attr("begin")(task))
        self._success = False

    def _see(self, observation: Any) -> None:
        self._observation = observation if isinstance(observation, dict) else {self._key: observation}

    def _step(self) -> None:
        action = self._action()
        if action is not None and not self._begun:
            self._begin()
        if not self._begun or self._over:
            return
        action = self._rest if action is None else action
        space: Any = self._env.action_space
        clipped = np.clip(action, space.low, space.high).astype(space.dtype)
        seen, _, terminated, truncated, info = self._env.step(clipped)
        self._see(seen)
        self.steps += 1
        self._over, self._success = terminated or truncated, self._success or bool(info.get("success", False))
        self._picture()

    def _begin(self) -> None:
        """Note that the first command has come."""
        self._begun = True
        if self._film is not None and self._filmed > 0:
            self._filmed -= 1
            self._film.add(self._shown)
            self._picture()

    def _picture(self) -> None:
        if self._film is not None:
            self._film.film(self._shown, self._env)
            ended = "time is up" if self._over else "no success yet"
            good = True if self._success else False if self._over else None
            self._film.caption(self._shown, outcome="success" if self._success else ended, good=good)

    def _action(self) -> Array | None:
        """Return the newest command; None where none came in this period, or it is none."""
        with self._lock:
            commands, self._commands = self._commands, {}
        if not commands or self._stopped:
            return None
        try:
            action = action_in(self._robot, commands)
        except (LaminarError, KeyError) as error:
            self.refused = self.refused[0] + 1, str(error)
            return None
        rests = [rest for output in self._robot.action for rest in output.rest or (None,) * output.width]
        self._rest = np.array([x if rest is None else rest for rest, x in zip(rests, action, strict=True)])
        return action

    def _show(self) -> None:
        now = self._transport.now()
        for topic, message in shown_by(self._robot, self._types, self._observation, now).items():
            self._transport.publish(topic, self._robot.types[topic], message)
        if self._robot.success:
            self._transport.publish(self._robot.success, BOOL, {"data": self._success})
        if self._robot.start:
            self._transport.publish(self._robot.start, WHOLE, {"data": self._born + self.resets})
