"""What `laminar eval` does with its settings: episodes, the offline protocol, or chains of instructions."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

from ..cluster import check_ray
from ..errors import LaminarError, Stopped, nearest
from ..policies.guided import Acting
from ..policies.out_of_range import Excursions
from ..policies.planners.anew import Anew
from ..progress import bar, tell
from .config import CompareConfig, EvalConfig, Guidance, Planning
from .guidance import acting_told
from .outputs import CHAIN_FILMS, EPISODES_FILM, OLD_CHAINS_FILM
from .results.chain_result import ChainResult
from .rollouts.options import Cluster, RolloutOptions

Found = TypeVar("Found")


def run(config: EvalConfig, given: set[str], out: Path | None) -> None:
    """Evaluate as the settings say, print the summary, and write a report to the folder `out`.

    Args:
        config: the settings.
        given: names of the settings that the user gave; one that has no effect is refused.
        out: None writes nothing.

    Raises:
        LaminarError: an unknown protocol, or a setting that does not apply.
        Stopped: by Ctrl-C; what was finished by then has been printed and written.
    """
    _refuse_unused(config, given)
    protocols = {"episodes": _evaluate_episodes, "offline": _evaluate_offline}
    if config.protocol not in protocols:
        known = f"(known: {', '.join(protocols)}){nearest(config.protocol, protocols)}"
        raise LaminarError(f"no protocol is called '{config.protocol}' {known}")
    evaluate = _evaluate_chains if config.chains is not None else protocols[config.protocol]
    try:
        evaluate(config, given, out)
    except Stopped as stop:
        if out is None or stop.found is None:
            raise
        raise Stopped(message=f"{stop}, and kept in {out}") from stop


def compare(config: CompareConfig, more: Sequence[str], out: Path | None) -> None:
    """Compare policies as the settings say, print the findings, and write a report to the folder `out`.

    Args:
        config: the settings, with the first two policies.
        more: folders of further ones.
        out: None writes nothing.

    Raises:
        LaminarError: a policy or a setting that does not apply.
        Stopped: by Ctrl-C; what can be compared has been printed and written.
    """
    from .rollouts.compare import compare as run

    policies = [str(config.a.path), str(config.b.path), *more]
    shared = config.policy.steps
    steps = list(shared) if isinstance(shared, list) else [shared] * len(policies)
    for index, one in enumerate((config.a, config.b)[: len(steps)]):
        steps[index] = steps[index] if one.steps is None else one.steps
    seeds = list(range(config.seed, config.seed + config.episodes))
    options = RolloutOptions(progress=bar)
    with finished(lambda: run(policies, str(config.env.id), seeds, options, steps)) as comparison:
        print(comparison.summary())
        if out:
            from .reports.compare_report import write_compare_report

            _tell_page(write_compare_report(out, comparison))


def _refuse_unused(config: EvalConfig, given: set[str]) -> None:
    """Refuse settings that would have no effect."""
    if config.chains is not None:
        choices = [*(one.name for one in fields(Guidance)), *(f"plan.{one.name}" for one in fields(Planning))]
        unused = dict.fromkeys(("protocol", "candidates", *choices), "leave it out") | {"episodes": "give chains=N"}
        what = "chains"
    else:
        own = ("max_steps", "phrasings", "told", "video_of")
        unused, what = dict.fromkeys(own, "it belongs to task=calvin-chain"), "episodes"
    for name, remedy in unused.items():
        if name in given:
            raise LaminarError(f"{name} does not apply to {what}; {remedy}")


def _options(config: EvalConfig, out: Path | None, acting: Any = None) -> RolloutOptions:
    video = _video(config, out)
    if out is not None and video is None:
        (out / EPISODES_FILM).unlink(missing_ok=True)  # of an earlier evaluation
    run = (acting, config.policy.runtime)
    how = (config.num_envs, config.processes, cluster_of(config), video, config.video_episodes, *run)
    return RolloutOptions(*how, steps=config.policy.steps, plan=Anew.of(config.plan), progress=bar)


def cluster_of(config: EvalConfig) -> Cluster | None:
    """Return the cluster that seeds are rolled out on, if they are.

    Raises:
        LaminarError: settings that are for a cluster without one, or for this machine with one.
    """
    launcher = config.launcher
    if launcher.kind is None:
        given = {"workers": config.workers, "launcher.address": launcher.address}
        for name, value in given.items():
            if value is not None:
                raise LaminarError(f"{name}={value} is for launcher=ray; of this machine give processes=N")
        return None
    if config.processes:
        raise LaminarError(f"processes={config.processes} are of this machine; with launcher=ray give workers=N")
    if config.workers is None:
        raise LaminarError("launcher=ray needs workers=N, how many work at the same time, a core each")
    check_ray()
    return Cluster(config.workers, launcher.address)


def _evaluate_episodes(config: EvalConfig, given: set[str], out: Path | None) -> None:
    from .rollouts.episodes import evaluate as run

    policy, seeds = str(config.policy.path), range(config.seed, config.seed + config.episodes)
    options = _options(config, out, acting_told(config, given))
    with finished(lambda: run(policy, str(config.env.id), seeds, options)) as result:
        print(result.summary())
        _tell_range(result.out_of_range)
        if out:
            from .reports.report import write_report

            _tell_page(write_report(out, result, policy))


def _evaluate_offline(config: EvalConfig, given: set[str], out: Path | None) -> None:
    from .rollouts.offline import CANDIDATES, evaluate_offline

    run, seeds = str(config.policy.path), range(config.seed, config.seed + config.episodes)
    told = {"candidates": CANDIDATES} | (acting_told(config, given) or {})
    if config.noise_scale == 0:
        told["candidates"] = 1  # the others would be the same; that number is then missing, and says why
    options = _options(config, out, Acting().told(told))
    with finished(lambda: evaluate_offline(run, str(config.env.id), seeds, options)) as found:
        print(found.summary())
        _tell_range(found.last.out_of_range)
        if out:
            from .reports.offline_report import write_offline_report

            _tell_page(write_offline_report(out, found, run))


def _evaluate_chains(config: EvalConfig, given: set[str], out: Path | None) -> None:
    from .rollouts.chains import evaluate_chains as run

    policy, limits = str(config.policy.path), (config.chains or 0, config.seed, config.max_steps)
    options = _options(config, None)  # chains are filmed when it is known which
    said = {"phrasings": config.phrasings, "told": config.told}
    with finished(lambda: run(policy, str(config.env.id), *limits, options, **said)) as result:
        print(result.summary())
        _tell_range(result.out_of_range)
        if out:
            from .reports.chain_report import write_chain_report

            result.save(out)  # before the minutes that films take
            for film in (*out.glob(OLD_CHAINS_FILM), *out.glob(CHAIN_FILMS)):  # of an earlier evaluation
                film.unlink()
            _tell_page(write_chain_report(out, result, policy, _film_chains(config, out, result)))


def _film_chains(config: EvalConfig, out: Path, result: ChainResult) -> dict[int, Path]:
    """Film chains that were measured, unless that was interrupted: who wants an end does not want films."""
    from .rollouts.chain_films import film_chains

    if not config.video_episodes or result.interrupted or not _can_draw():
        return {}
    return film_chains(result, out, config.video_episodes, config.video_of, bar)


@contextmanager
def finished(evaluate: Callable[[], Found]) -> Generator[Found]:
    """Give what an evaluation found, of one that was interrupted too, and go on with the interruption afterwards."""
    try:
        found, stop = evaluate(), None
    except Stopped as stopped:
        if stopped.found is None:
            raise
        found, stop = stopped.found, stopped
    yield found
    if stop is not None:
        raise stop


def _tell_page(page: Path) -> None:
    """Tell where a report is: for a browser, and for a terminal."""
    print(f"report in {page} (and {page.with_suffix('.md').name})")


def _tell_range(seen: Excursions | None) -> None:
    """Tell how much of what the policy saw was unlike its training data."""
    if seen is not None:
        print(seen)


def _video(config: EvalConfig, out: Path | None) -> Path | None:
    """Where the film of episodes goes; None where there is none."""
    if out is None or not config.video_episodes or config.processes or config.launcher.kind:
        return None
    return out / EPISODES_FILM if _can_draw() else None


def _can_draw() -> bool:
    """Whether films can be made; the figures need none, so a machine that cannot draw still evaluates, and says so."""
    from ..envs.rendering import rendering_problem

    problem = rendering_problem()
    if problem:
        tell(f"no video: {problem}")
    return not problem
