"""The world in this process: B environments, stepped one after the other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from ..data.spec import Spec
from ..errors import LaminarError
from . import guard
from .fitting import fit_env
from .ledger import Ledger, replay
from .limits import stepped
from .room import as_room
from .success import succeeded
from .world import Array, Observations, Outcome


class Slots:
    """A `World` of environments that fit a policy.

    Attributes:
        env_id: all arguments included, those too that follow from the policy.
        spec: of the environment; only the observations that the policy sees.
        unseen: the observations that it does not see.
        envs: one a slot.
        observations: what the last reset or step left in view.
        limits: what actions are clipped to, and what was cut of those that were executed.
    """

    def __init__(self, env_id: str | gymnasium.Env[Any, Any], wanted: Spec, count: int, render: bool = False) -> None:
        """Make the environments.

        Args:
            env_id: see `make_env`; or an environment that is there already, which is the only slot then.
            wanted: what the policy sees and does, see `fit_env`.
            count: number of slots.
            render: make environments without a MuJoCo model able to give pictures.

        Raises:
            LaminarError: no such environment, or it does not fit; names the key and both sides.
        """
        if count < 1 or (count > 1 and not isinstance(env_id, str)):
            raise LaminarError(f"a world has at least 1 slot, and 1 of an environment that is there, got {count}")
        fitted = fit_env(env_id, wanted, render)
        self.env_id, self.spec, self.slots = fitted.env_id, fitted.spec, count
        self.limits, self.unseen = fitted.limits, fitted.unseen
        self.envs: list[gymnasium.Env[Any, Any]] = [fitted.env]
        self._closed = False
        self._ledger = Ledger(self.env_id, count, self.spec.action_dim)
        shown = self.spec.observation.items()
        self.share({key: np.zeros((count, *feature.shape), feature.dtype) for key, feature in shown})
        try:
            self.envs += [fitted.another(render) for _ in range(count - 1)]
        except BaseException:
            self.close()
            raise
        self._stepped = [stepped(env) for env in self.envs]

    def share(self, observations: Observations) -> None:
        """Write observations into these arrays (B, ...) from now on."""
        self.observations = observations
        self._stored = [(key, rows, rows.shape[1:]) for key, rows in observations.items()]

    def reset(self, seeds: Mapping[int, int], options: Mapping[int, dict[str, Any]] | None = None) -> Observations:
        """Begin an episode in some slots, see `World.reset`."""
        for slot in self._ledger.existing(seeds):
            chosen = options.get(slot) if options else None
            self._store(slot, guard.begin(self.envs[slot], self.env_id, seeds[slot], chosen))
            self._ledger.begin({slot: seeds[slot]}, options)
        return self.observations

    def begin(
        self,
        tasks: Mapping[int, str],
        sentences: Mapping[int, str] | None = None,
        goals: Mapping[int, Array] | None = None,
    ) -> Observations:
        """Give some slots (slot -> task) of a room an instruction where they are, maybe in words or by a goal.

        Nothing moves.

        Raises:
            LaminarError: the environment takes no instructions, no episode runs in a slot, or the task is unknown.
        """
        for slot in self._ledger.running(tasks):
            if as_room(self.envs[slot]) is None:
                raise LaminarError(f"'{self.env_id}' takes no instructions, so no task can be begun in it")
            words = () if sentences is None else (sentences[slot],)
            goal = {} if goals is None else {"goal": goals[slot]}
            self._store(slot, self.envs[slot].get_wrapper_attr("begin")(tasks[slot], *words, **goal))
        self._ledger.given(tasks)
        return self.observations

    def step(self, chunks: Array, slots: Iterable[int] | None = None) -> Outcome:
        """Execute a chunk in each of some slots, see `World.step`."""
        chosen = self._ledger.running(slots)
        asked = self._ledger.chunks(chunks)
        chunks = self.limits.clip(asked)
        outcome = no_outcome(self.observations, self.slots)
        for slot in chosen:
            self._execute(slot, chunks, outcome)
        self.limits.count(asked, chunks, chosen, outcome.steps)
        return outcome

    def _execute(self, slot: int, chunks: NDArray[np.float32], outcome: Outcome) -> None:
        env = self._stepped[slot]
        total, steps, told, observation = 0.0, 0, None, None
        terminated = truncated = over = False
        for action in chunks[slot]:
            try:
                observation, reward, terminated, truncated, info = env.step(action)
                success = info.get("success")
                over = bool(terminated or truncated)
            except Exception as error:
                raise guard.failed(env, self.env_id, error) from error
            try:
                total += float(reward)
            except (TypeError, ValueError):
                total += guard.number(reward, self.env_id)
            steps += 1
            if success is None:
                success = info.get("is_success")
            if success is not None:
                told = succeeded(success, self.env_id) or bool(told)
            if over:
                break
        self._store(slot, observation)
        if total - total != 0:  # not a number, or infinite
            raise guard.not_finite(total, self.env_id)
        outcome.reward[slot] = total
        outcome.steps[slot] = steps
        if told is not None:
            outcome.success[slot] = told
        self._ledger.book(slot, chunks, steps)
        if over:  # a time limit reached by the very step that terminates cuts nothing off
            outcome.terminated[slot], outcome.truncated[slot] = terminated, truncated and not terminated
            self._ledger.end(slot)

    def _store(self, slot: int, observation: Any) -> None:
        # A lone array is called "observation", as in Episodes. Assigning casts float64 to the dtype of the spec.
        shown = observation if isinstance(observation, dict) else {"observation": observation}
        for key, rows, shape in self._stored:
            value = shown.get(key)
            if type(value) is not np.ndarray or value.shape != shape:  # a number would be broadcast without a word
                value = guard.array(self.env_id, shown, key, shape)
            rows[slot] = value

    def executed(self, slot: int) -> Array:
        """Return the actions (T, A), within the limits, that a slot has executed since its episode began."""
        return self._ledger.executed(slot)

    def state(self) -> dict[str, Array]:
        """Return what resumes the running episodes, see `World.state`."""
        return self._ledger.state(self.observations)

    def load_state(self, state: Mapping[str, Array]) -> Observations:
        """Resume the episodes of `state`, see `World.load_state`."""
        return replay(self, self._ledger, state)

    def close(self) -> None:
        """Close all environments."""
        self._ledger.forget()
        for env in [] if self._closed else self.envs:
            env.close()
        self._closed = True


def no_outcome(observations: Observations, slots: int) -> Outcome:
    """Return what a step brings to slots that are not stepped."""
    return Outcome(
        observations,
        np.zeros(slots),
        np.zeros(slots, np.int64),
        np.zeros(slots, np.bool_),
        np.zeros(slots, np.bool_),
        _untold(slots).copy(),
    )


@cache
def _untold(slots: int) -> NDArray[np.float64]:
    return np.full(slots, np.nan)  # copying it takes a fifth of the time
