"""Films of chains that were measured: which ones, and how they come about afterwards.

Which chains are worth a look is known when all are over, in whichever process they ran. So nothing is drawn while they
run. A chosen chain is done again from its recorded actions, without the policy, which in laminar's room repeats it to
the last bit.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...data.spec import Spec
from ...envs import env_spec, make_env
from ...envs.rendering import drawing_problem
from ...errors import LaminarError
from ...progress import Finished, Progress, silent, tell
from ..results.chain_result import Chain, ChainResult
from .chains import run_chains
from .lockstep import Lockstep
from .video import Recorder

MIXED, FIRST, LONGEST, FAILED = "mixed", "first", "longest", "failed"


def film_name(chain: Chain) -> str:
    """Return for example ``chain_007_2_of_5.mp4``: the chain, and how many of its instructions succeeded."""
    return f"chain_{chain.index:03d}_{chain.completed}_of_{len(chain.tasks)}.mp4"


def chosen(chains: Sequence[Chain], count: int, of: str = MIXED) -> list[Chain]:
    """Return at most so many chains to film.

    Args:
        chains: that were measured.
        count: at most.
        of: "first" takes the first ones; "longest" those with the most instructions in a row; "failed" failed ones,
            each at another task, those that failed most often before others; "mixed" the longest one, then failed ones.

    Raises:
        LaminarError: an unknown choice.
    """
    longest = sorted(chains, key=lambda chain: (-chain.completed, chain.index))
    orders = {
        FIRST: sorted(chains, key=lambda chain: chain.index),
        LONGEST: longest,
        FAILED: _failed(chains),
        MIXED: [*longest[:1], *(chain for chain in _failed(chains) if chain is not longest[0])],
    }
    if of not in orders:
        raise LaminarError(f"video_of={of} is no choice of chains (known: {', '.join(orders)})")
    return orders[of][:count]


def _failed(chains: Sequence[Chain]) -> list[Chain]:
    """Return the chains that failed: one of each task at which some did, the most frequent first, then the second."""
    failed = [chain for chain in sorted(chains, key=lambda chain: chain.index) if not chain.whole]
    often = Counter(chain.tasks[chain.completed] for chain in failed)
    before: Counter[str] = Counter()
    ranked: list[tuple[int, int, Chain]] = []
    for chain in failed:
        task = chain.tasks[chain.completed]
        ranked.append((before[task], -often[task], chain))
        before[task] += 1
    return [chain for *_, chain in sorted(ranked, key=lambda one: one[:2])]


def film_chains(
    result: ChainResult, folder: str | Path, count: int = 3, of: str = MIXED, progress: Progress = silent
) -> dict[int, Path]:
    """Film some of the chains of an evaluation, each into a file of its own in `folder`, with the instructions.

    A machine that cannot draw films nothing, and says so. Ctrl-C ends it between two films.

    Args:
        result: from `evaluate_chains`; one that was read from a file does not have the actions.
        folder: made if missing.
        count: how many, at most.
        of: which ones, see `chosen`.
        progress: follows the films.

    Returns:
        Number of the chain -> its film, named by `film_name`, in the order of the choice.

    Raises:
        LaminarError: an unknown choice, or chains without actions.
    """
    films: dict[int, Path] = {}
    chains = chosen(result.chains, count, of)
    with progress(len(chains), unit="film") as watch:
        for chain in chains:
            again, problem = _film(result, chain, Path(folder))
            if again is None:
                tell(f"no film of chain {chain.index}: {problem}")
                return films
            if again != chain:
                tell(f"chain {chain.index} went otherwise when it was filmed, as the simulator does not repeat exactly")
            films[chain.index] = Path(folder) / film_name(again)
            watch(Finished())
    return films


def _film(result: ChainResult, chain: Chain, folder: Path) -> tuple[Chain | None, str]:
    """Do a chain again before a camera; return how it went this time, or None and why there is no film."""
    if chain.actions is None:
        raise LaminarError(
            f"the actions of chain {chain.index} are not in its file; film chains right after evaluation"
        )
    env = make_env(result.env_id)
    spec = env_spec(env)
    env.close()
    recorder = Recorder(folder / film_name(chain), [chain.index])
    with ExitStack() as stack:
        stack.callback(recorder.close)
        lockstep = Lockstep(_Again(spec, chain.actions), result.env_id, 1, recorder)
        stack.callback(lockstep.close)
        problem = drawing_problem(lockstep.world.envs[0])
        if problem:
            return None, problem
        said = {"phrasings": result.phrasings, "told": result.told}
        again = run_chains(lockstep, [chain.index], result.seed, result.max_steps, **said).get(chain.index)
        if again is None:
            return None, "interrupted"
        recorder.path = folder / film_name(again)
        recorder.write()
    return again, ""


class _Again:
    """Plays recorded actions; the last one for as long as a simulator goes on that does not repeat exactly."""

    noise_shape = None

    def __init__(self, spec: Spec, actions: NDArray[np.float32]) -> None:
        """Begin with the first of the actions (T, A)."""
        self.spec = spec
        self._actions, self._next = torch.from_numpy(actions), 0

    def sample(self, obs: object, noise: Tensor | None = None) -> Tensor:
        """Return a chunk (1, 1, A) of the next action."""
        at = min(self._next, len(self._actions) - 1)
        self._next += 1
        return self._actions[at].reshape(1, 1, -1).clone()
