"""CALVIN's long-horizon evaluation: chains of five instructions, without a reset of the room in between.

The protocol of Mees et al. 2022 (arXiv:2112.03227): every chain starts in a recorded state with the robot in its
neutral pose; each instruction has 360 steps; success is checked after every step, for the current task only; the
first failure ends the chain. Chain i draws its noise from `seed` + i, so it does not depend on which others run beside
it (up to the floating-point differences between batch sizes; the genuine simulator does not repeat to the last bit).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from ...data.calvin.hindsight import KEY
from ...data.spec import Spec
from ...envs.chains import load_chains, start_state
from ...envs.make import split_id
from ...envs.room import achieved_in, as_room, reached_by_expert
from ...errors import LaminarError
from ...policies.policy import Policy
from ...progress import Finished
from ...settings import check_seeds
from ..results.chain_result import CHAINS, MAX_STEPS, Chain, ChainResult
from ..results.findings import GIVEN
from .captions import instruction_text
from .lockstep import Lockstep
from .measurement import measure
from .moment import Moment
from .options import DEFAULTS, RolloutOptions
from .telling import GOAL, INSTRUCTION, STREAM, check_told
from .wording import ONE, check_phrasings, wording


def evaluate_chains(
    policy: Policy | str | Path,
    env_id: str = "laminar/Playroom-v0?scene=D",
    chains: int = CHAINS,
    seed: int = 0,
    max_steps: int = MAX_STEPS,
    options: RolloutOptions = DEFAULTS,
    *,
    phrasings: str = ONE,
    told: str = INSTRUCTION,
    **settings: Any,
) -> ChainResult:
    """Measure how many instructions in a row a policy carries out.

    Args:
        policy: a policy, or a folder with one (a checkpoint or a run).
        env_id: environment with instructions, laminar's or the genuine one ("laminar/CALVIN-v0?scene=D"). The policy
            is told by the embedding that it was trained with, unless this names one.
        chains: the first so many of the protocol's 1,000.
        seed: chain i draws its noise from `seed` + i.
        max_steps: limit of each instruction.
        options: how it is rolled out; a video has the first `video_episodes` chains, with the instructions.
        phrasings: in which words tasks are said, see `wording.wording`. What chain i is told follows from `seed` + i.
        told: "instruction", or "goal": the state that a scripted expert reaches then, nothing where it fails.
        settings: fields of `RolloutOptions` that differ from `options`.

    Raises:
        LaminarError: the policy does not fit the environment, this takes no instructions or ends by itself, or a
            number makes no sense.
        Stopped: by Ctrl-C; `found` is the result of the chains that were finished by then.
    """
    if max_steps < 1:
        raise LaminarError(f"chains need max_steps >= 1, got {max_steps}")
    check_seeds(seed, seed + chains - 1)
    load_chains(chains)  # a wrong number is told before any work
    protocol = partial(run_chains, seed=seed, max_steps=max_steps, phrasings=phrasings, told=told)
    options = options.but(**settings, starts=GIVEN)
    found = measure(protocol, policy, env_id, range(chains), options.called(unit="chain"))
    instruction = found.spec.observation.get("instruction")
    result = ChainResult(
        found.env_id,
        found.simulator or split_id(found.env_id)[0],
        found.records,
        max_steps=max_steps,
        seed=seed,
        instruction=None if instruction is None else instruction.unit or "unnamed",
        checkpoint=found.checkpoint,
        num_envs=found.num_envs,
        runtime=found.runtime,
        seconds=found.seconds,
        findings=found.findings,
        out_of_range=found.out_of_range,
        steps=found.steps,
        planned=found.planned,
        origin=found.origin,
        rate_hz=found.rate_hz,
        told=told,
        phrasings=phrasings,
    )
    return found.whole(result)


def run_chains(
    lockstep: Lockstep,
    numbers: Sequence[int],
    seed: int,
    max_steps: int,
    phrasings: str = ONE,
    told: str = INSTRUCTION,
) -> dict[int, Chain]:
    """Run the chains with the given numbers, noise seeded with `seed` + number; return those that were finished."""
    room = as_room(lockstep.world.envs[0])
    if room is None:
        raise LaminarError(
            f"'{lockstep.env_id}' takes no instructions, so it has no chains; use env.id=laminar/Playroom-v0?scene=D"
        )
    check_phrasings(phrasings, lockstep.policy.spec)
    check_told(told, phrasings, lockstep.policy.spec)
    drawn = load_chains(max(numbers) + 1)
    chains = {number: Chain(number, drawn[number][1]) for number in numbers}

    def begin(slots: Mapping[int, int]) -> None:
        for number in slots.values():
            chain = chains[number]
            chain.steps.append(0)
            if phrasings != ONE:
                chain.sentences.append(wording(chain.tasks, phrasings, seed + number)[chain.completed])
            if lockstep.recorder is not None:
                lockstep.recorder.caption(number, **_caption(chains[number], lockstep.policy.spec, told))
        begun = {slot: chains[number] for slot, number in slots.items()}
        tasks = {slot: chain.tasks[chain.completed] for slot, chain in begun.items()}
        said = {slot: chain.sentences[-1] for slot, chain in begun.items()} if phrasings != ONE else None
        lockstep.begin(tasks, said, _goals(lockstep, begun, seed) if told == GOAL else None)

    def start(fresh: dict[int, int]) -> None:
        states = {slot: start_state(drawn[number][0], room.layout) for slot, number in fresh.items()}
        options = {slot: {"robot_obs": robot, "scene_obs": scene} for slot, (robot, scene) in states.items()}
        lockstep.start(fresh, {slot: seed + number for slot, number in fresh.items()}, options)
        begin(fresh)

    def advance(slot: int, number: int, moment: Moment) -> Finished | None:
        chain = chains[number]
        over = _book(chain, moment, max_steps, lockstep.env_id)
        begun = len(chain.steps) > chain.completed and not over
        if not begun:
            _note_others(chain, lockstep.world.envs[slot])
        if over:
            chain.jerk, chain.actions = lockstep.jerk(slot), lockstep.world.executed(slot)
            if lockstep.recorder is not None:
                lockstep.recorder.caption(number, **_ending(chain))
            return Finished({"instructions in a row": float(chain.completed)})
        if not begun:
            begin({slot: number})
        return None

    done = lockstep.run(numbers, start, advance)
    return {number: chains[number] for number in numbers if number in done}


def _goals(lockstep: Lockstep, chains: Mapping[int, Chain], seed: int) -> dict[int, NDArray[Any]]:
    """Return slot -> the goal that tells the next task of its chain; zeros, which tell nothing, where there is none."""
    goals: dict[int, NDArray[Any]] = {}
    for slot, chain in chains.items():
        task, chance = chain.tasks[chain.completed], (seed + chain.index, STREAM, chain.completed)
        found = reached_by_expert(lockstep.world.envs[slot], task, chance)
        chain.untold += found is None
        goals[slot] = np.zeros(lockstep.policy.spec.observation[KEY].shape) if found is None else found
    return goals


def _book(chain: Chain, moment: Moment, max_steps: int, env_id: str) -> bool:
    """Book one step of a chain; return whether the chain is over."""
    chain.steps[-1] += 1
    if moment.success is None:
        raise LaminarError(f"'{env_id}' does not tell success after begin(task), so chains cannot be counted in it")
    if moment.success:
        chain.completed += 1
        return chain.completed == len(chain.tasks)
    if moment.ended and chain.steps[-1] < max_steps:
        raise LaminarError(
            f"'{env_id}' ended by itself at step {sum(chain.steps)} of chain {chain.index}; "
            "chains need an environment without a task or a step limit of its own: leave them out of env.id"
        )
    return chain.steps[-1] >= max_steps


def _note_others(chain: Chain, env: gymnasium.Env[Any, Any]) -> None:
    """Note which other tasks were done while the last instruction was carried out, which is over."""
    done = achieved_in(env)
    if done is not None:
        done.pop(chain.tasks[len(chain.steps) - 1], None)
        chain.also_done = [*(chain.also_done or []), done]


def _caption(chain: Chain, spec: Spec, told: str) -> dict[str, Any]:
    """Return what a film says about a chain while an instruction is carried out."""
    number, count = chain.completed, len(chain.tasks)
    name = chain.tasks[number]
    said = (
        instruction_text(name, spec, *chain.sentences[-1:]) if told != GOAL else f"{name.replace('_', ' ')}, by a goal"
    )
    task = f"{number + 1} of {count}: {said}"
    outcome = f"{number} of {count} done"
    return {"whose": f"chain {chain.index}", "task": task, "outcome": outcome, "good": True if number else None}


def _ending(chain: Chain) -> dict[str, Any]:
    """Return what a film says about a chain that is over."""
    instead = chain.instructions[-1].instead
    did = "" if instead is None else f", {instead.replace('_', ' ')} done instead"
    return {"outcome": f"ended: {chain.completed} of {len(chain.tasks)}{did}", "good": chain.whole}
