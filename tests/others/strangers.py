"""Environments as other people write them, registered with gymnasium: "strangers:NAME-v0"."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.wrappers import TimeLimit

BOX = spaces.Box(-1.0, 1.0, (2,), np.float32)


class Stranger(gymnasium.Env[Any, Any]):
    """Observation (3,), drawn at the start and then moved by the action (2,) in [-1, 1]; ends after `length` steps."""

    length: int | None = 5
    action_space: Any = BOX
    observation_space: Any = spaces.Box(-np.inf, np.inf, (3,), np.float64)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.steps, self.place = 0, self.start()
        return self.shown(), {}

    def start(self) -> Any:
        return self.np_random.normal(size=3)

    def shown(self) -> Any:
        return self.place.copy()

    def reward(self, action: Any) -> float:
        return float(self.place.sum())

    def told(self) -> dict[str, Any]:
        return {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert self.action_space.contains(np.asarray(action, self.action_space.dtype)), action
        self.steps += 1
        self.place = self.place + 0.1 * float(np.sum(action))
        over = self.length is not None and self.steps >= self.length
        return self.shown(), self.reward(action), over, False, self.told()


# limits of actions


class Uneven(Stranger):
    """No two limits are alike; the observation is a dictionary."""

    action_space = spaces.Box(np.array([-0.2, -1.0, -np.inf]), np.array([0.7, np.inf, np.inf]), dtype=np.float64)
    observation_space = spaces.Dict({"place": spaces.Box(-np.inf, np.inf, (3,)), "extra": spaces.Box(0, 1, (4,))})
    action_names = ("hip", "knee", "toe")

    def shown(self) -> Any:
        return {"place": self.place.astype(np.float32), "extra": np.zeros(4, np.float32)}

    def reward(self, action: Any) -> float:
        return float(action[0] + 100 * action[1] + 10_000 * action[2])


class Doubles(Stranger):
    """Limits that float32 does not have; an action on the wrong side of them in the last digit is refused."""

    action_space = spaces.Box(np.array([0.1, -0.3]), np.array([0.3, -0.1]), dtype=np.float64)

    def reward(self, action: Any) -> float:
        return float(action[0])


class Unbounded(Stranger):
    action_space = spaces.Box(-np.inf, np.inf, (2,), np.float32)

    def reward(self, action: Any) -> float:
        return float(action[0])


# ends


class Forever(Stranger):
    length = None


class Long(Stranger):
    """Ends by itself, after more steps than laminar would assume."""

    length = max_steps = 1200


def wrapped(render_mode: str | None = None) -> gymnasium.Env[Any, Any]:
    return gymnasium.Wrapper(TimeLimit(Forever(), 30))


# starts


class Deaf(Stranger):
    def start(self) -> Any:
        return np.ones(3)


class Global(Stranger):
    """Draws from NumPy's global generator, which no seed of a reset reaches."""

    def start(self) -> Any:
        return np.random.normal(size=3)


class Listed(Stranger):
    """Goes through a list of starts, one after the other."""

    count = 0

    def start(self) -> Any:
        self.count += 1
        return np.full(3, float(self.count))


class Coin(Stranger):
    """Two starts, as the seed has it."""

    def start(self) -> Any:
        return np.full(3, float(self.np_random.integers(2)))


# success


class Success(Stranger):
    """`info[key]` is `at` at the second step, or at every step, and the opposite at others, in a type of many."""

    def __init__(self, kind: str = "bool", key: str = "success", always: bool = False) -> None:
        self.kind, self.key, self.always = kind, key, always

    def told(self) -> dict[str, Any]:
        now = self.always or self.steps == 2
        kinds: dict[str, Any] = {
            **{"bool": now, "numpy": np.bool_(now), "float": float(now), "single": np.array([now])},
            **{"count": 2 * now, "share": 0.4 + 0.6 * now, "robomimic": {"task": now, "reach": True}},
            **{"text": str(now), "many": np.array([now, True]), "no number": np.nan, "nothing": None},
        }
        return {self.key: kinds[self.kind]}


class Both(Stranger):
    """Has both names of success, and tells it under the second one."""

    def told(self) -> dict[str, Any]:
        return {"success": None, "is_success": self.steps == 2}


# spaces


class Scalar(Stranger):
    observation_space = spaces.Box(-np.inf, np.inf, (), np.float64)

    def shown(self) -> Any:
        return np.float64(self.place[0])


class Mixed(Stranger):
    """Scalars, a nested dictionary, and what no policy can see."""

    observation_space = spaces.Dict(
        {
            "height": spaces.Box(-np.inf, np.inf, (), np.float32),
            "arm": spaces.Dict({"joints": spaces.Box(-np.inf, np.inf, (3,), np.float64), "grip": spaces.Box(0, 1, ())}),
            "mission": spaces.Text(20),
            "gear": spaces.Discrete(4),
        }
    )

    def shown(self) -> Any:
        arm = {"joints": self.place, "grip": np.float32(0.5)}
        return {"height": np.float32(self.place[0]), "arm": arm, "mission": "go", "gear": 2}


class Pair(Stranger):
    observation_space = spaces.Tuple((spaces.Box(-1, 1, (2,)), spaces.Box(-1, 1, (1,))))


class Gears(Stranger):
    observation_space = spaces.Discrete(4)


class Unseen(Stranger):
    """Observations of spaces that no policy can see, of another length or kind at each step."""

    observation_space = spaces.Dict(
        {
            "place": spaces.Box(-np.inf, np.inf, (3,), np.float64),
            "events": spaces.Sequence(BOX),
            "pair": spaces.Tuple((spaces.Box(-1, 1, (3,)), spaces.Discrete(3))),
            "graph": spaces.Graph(BOX, None),
            "thing": spaces.Text(9),
        }
    )

    def shown(self) -> Any:
        events = (np.zeros(2, np.float32), np.zeros(2, np.float32))[: 1 + self.steps]
        graph = spaces.GraphInstance(np.zeros((2, 2)), None, None)
        return {"place": self.place, "events": events, "pair": (np.zeros(3), 1), "graph": graph, "thing": object()}


# interfaces of before gymnasium, and what no interface has


class Unseeded(Stranger):
    def reset(self) -> Any:  # type: ignore[override]
        return super().reset()


class OldReset(Stranger):
    """Returns the observation alone; one of two numbers passes for a pair."""

    def __init__(self, width: int = 3) -> None:
        self.observation_space = spaces.Box(-np.inf, np.inf, (width,), np.float64)

    def start(self) -> Any:
        return self.np_random.normal(size=self.observation_space.shape)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        return super().reset(seed=seed)[0]


class OldStep(Stranger):
    def step(self, action: Any) -> Any:
        observation, reward, over, _, info = super().step(action)
        return observation, reward, over, info


class NoInfo(Stranger):
    def told(self) -> Any:
        return None


class Shown(Stranger):
    """Shows something else than its space says, from the first observation or from the second on."""

    def __init__(self, kind: str, at: int = 0) -> None:
        self.kind, self.at = kind, at

    def shown(self) -> Any:
        kinds: dict[str, Any] = {
            **{"column": self.place[:, None], "one": self.place[:1], "number": 0.5, "nothing": None, "text": "here"},
            **{"ragged": [[1.0], [1.0, 2.0], 3.0], "list": self.place.tolist(), "key": {"place": self.place}},
        }
        return kinds[self.kind] if self.steps >= self.at else self.place


class Paid(Stranger):
    """Its reward is of many types."""

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def reward(self, action: Any) -> Any:
        kinds: dict[str, Any] = {
            **{"array": np.array([0.5]), "column": np.array([[0.5]], np.float32), "numpy": np.float32(0.5)},
            **{"nothing": None, "dictionary": {"task": 0.5}, "two": np.array([0.5, 0.5]), "text": "much"},
        }
        return kinds[self.kind]


class Legacy(Stranger):
    """Draws from NumPy's global generator, which takes seeds below 2**32."""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        np.random.seed(seed)
        return super().reset(seed=seed)


class Broken(Stranger):
    def step(self, action: Any) -> Any:
        raise RuntimeError("servo fault\nof the second joint")


class BrokenWrapper(gymnasium.Wrapper[Any, Any, Any, Any]):
    def step(self, action: Any) -> Any:
        raise KeyError("gripper")


def broken_wrapper(render_mode: str | None = None) -> gymnasium.Env[Any, Any]:
    return BrokenWrapper(Stranger())


class Hidden(Stranger):
    """Starts look alike, but the seed decides what happens afterwards."""

    def start(self) -> Any:
        self.drift = self.np_random.normal()
        return np.zeros(3)

    def reward(self, action: Any) -> float:
        return float(self.drift)


class Huge(Stranger):
    """Limits that float32 has just so, or does not have."""

    def __init__(self, limit: float, kind: str = "float64") -> None:
        self.action_space = spaces.Box(-limit, limit, (2,), np.dtype(kind).type)


class Keeps(Stranger):
    """Keeps the limit of its steps under some name, as a number of some type."""

    length = 1200

    def __init__(self, name: str, kind: str) -> None:
        kinds: dict[str, Any] = {
            **{"int": 1200, "numpy": np.int64(1200), "float": 1200.0, "single": np.float32(1200)},
            **{"flag": True, "infinite": np.inf, "part": 1200.5, "text": "1200"},
        }
        setattr(self, name, kinds[kind])


ALL = (Uneven, Doubles, Unbounded, Forever, Long, Deaf, Global, Listed, Coin, Success, Scalar, Mixed, Pair, Gears)
ODD = (Both, Unseen, Unseeded, OldReset, OldStep, NoInfo, Shown, Paid, Legacy, Broken, Hidden, Huge, Keeps)
for one in (*ALL, *ODD, Stranger):
    gymnasium.register(f"{one.__name__}-v0", f"strangers:{one.__name__}")
gymnasium.register("Limited-v0", "strangers:Forever", max_episode_steps=40)
gymnasium.register("Wrapped-v0", "strangers:wrapped")
gymnasium.register("BrokenWrapper-v0", "strangers:broken_wrapper")
