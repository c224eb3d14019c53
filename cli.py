"""The command `laminar VERB key=value …`.

    laminar collect task=pointmaze episodes=200 out=demos.hdf5
    laminar inspect demos.hdf5
    laminar train method=bc policy=meanflow data.path=demos.hdf5 out=runs/maze
    laminar eval policy.path=runs/maze env.id=laminar/PointMaze-v0 out=runs/maze/eval
    laminar compare runs/maze runs/other env.id=laminar/PointMaze-v0

Exit codes: 0 done, 2 a mistake in the input (one line on standard error), 1 a bug (a traceback).
"""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

from .errors import LaminarError, nearest


def main(argv: list[str] | None = None) -> int:
    """Run one verb and return the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ("-h", "--help", "help"):
        print(_usage())
        return 0 if words else 2
    verb, rest = words[0], words[1:]
    try:
        if verb not in VERBS:
            raise LaminarError(f"no verb is called '{verb}' (known: {', '.join(VERBS)}){nearest(verb, VERBS)}")
        if "-h" in rest or "--help" in rest:
            print(_help(verb))
            return 0
        VERBS[verb](rest)
        return 0
    except LaminarError as error:
        print(f"laminar: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except OSError as error:  # a full disk, missing rights: what went wrong and where is all there is to say
        print(f"laminar: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except Exception:
        traceback.print_exc()
        print("laminar: this is a bug; please report it with the lines above", file=sys.stderr)
        return 1


def train(words: list[str]) -> None:
    """Train a policy on demonstrations."""
    from .configs.compose import compose
    from .train.trainer import train as run

    run(compose("train", words))


def evaluate(words: list[str]) -> None:
    """Measure a policy: success and return with intervals, a report with plots and a video."""
    from .configs.compose import compose
    from .eval.rollout import evaluate as run

    config = compose("eval", words)
    _need(config.policy.path, "eval", "policy.path=FOLDER")
    _need(config.env.id, "eval", "env.id=ENVIRONMENT")
    out = Path(config.out) if config.out else None
    if out and out.exists() and not out.is_dir():
        raise LaminarError(f"out={out} is a file; laminar eval writes a folder")
    video = _video(out) if out and config.video_episodes and not config.processes else None
    seeds = list(range(config.seed, config.seed + config.episodes))
    result = run(
        config.policy.path, config.env.id, seeds, config.num_envs, config.processes, video, config.video_episodes
    )
    print(result.summary())
    if out:
        from .eval.report import write_report

        if video is None:
            (out / "episodes.mp4").unlink(missing_ok=True)  # of an earlier evaluation

        result.save(out)
        print(f"report in {write_report(out, result, config.policy.path)}")


def compare(words: list[str]) -> None:
    """Compare two policies on identical seeds: laminar compare A B env.id=…."""
    from .configs.compose import compose
    from .eval.compare import compare as run

    paths = [word for word in words if "=" not in word]
    if len(paths) > 2:
        raise LaminarError(f"compare takes two policies, got {len(paths)}: {paths}")
    named = [f"{key}.path={json.dumps(path, ensure_ascii=False)}" for key, path in zip("ab", paths, strict=False)]
    config = compose("compare", named + [word for word in words if "=" in word])
    _need(config.a.path and config.b.path, "compare", "two policies: laminar compare A B env.id=…")
    _need(config.env.id, "compare", "env.id=ENVIRONMENT")
    seeds = list(range(config.seed, config.seed + config.episodes))
    comparison = run(config.a.path, config.b.path, config.env.id, seeds)
    print(comparison.summary())
    if config.out:
        print(f"written to {comparison.save(config.out)}")


def collect(words: list[str]) -> None:
    """Record demonstrations of a built-in task with its scripted controller."""
    from .configs.compose import compose
    from .envs.collect import collect as run

    config = compose("collect", words)
    _need(config.env.id, "collect", "task=NAME, for example task=pointmaze")
    _need(config.out, "collect", "out=FILE.hdf5")
    print(run(config.env.id, config.episodes, config.seed, config.out))


def inspect(words: list[str]) -> None:
    """Show what is in a demonstration file and what looks wrong: laminar inspect FILE [--json]."""
    from .data.inspect import inspect_file, render

    files = [word for word in words if not word.startswith("--")]
    flags = [word for word in words if word.startswith("--")]
    if len(files) != 1 or set(flags) - {"--json"}:
        raise LaminarError(f"usage: laminar inspect FILE [--json], got {' '.join(words) or 'nothing'}")
    found = inspect_file(files[0])
    print(json.dumps(found, indent=2) if flags else render(found))


VERBS: dict[str, Callable[[list[str]], None]] = {
    "train": train,
    "eval": evaluate,
    "compare": compare,
    "collect": collect,
    "inspect": inspect,
}


def _video(out: Path) -> Path | None:
    """Where the film goes; the figures do not need one, so a machine that cannot draw still evaluates, and says so."""
    from .envs.rendering import rendering_problem

    problem = rendering_problem()
    if problem:
        print(f"no video: {problem}", file=sys.stderr)
    return None if problem else out / "episodes.mp4"


def _need(value: object, verb: str, what: str) -> None:
    if not value:
        raise LaminarError(f"laminar {verb} needs {what}")


def _usage() -> str:
    lines = [f"  {verb:10}{(function.__doc__ or '').splitlines()[0]}" for verb, function in VERBS.items()]
    return "\n".join(["laminar VERB key=value …", "", *lines, "", "laminar VERB --help lists the verb's settings."])


def _help(verb: str) -> str:
    text = (VERBS[verb].__doc__ or "").strip()
    if verb == "inspect":
        return text
    from .configs.compose import GROUPS, describe, options

    choices = [f"  {group}={'|'.join(options(group))}" for group in GROUPS[verb] if options(group)]
    return "\n".join([text, "", "Choices:", *choices, "", "Settings and defaults:", describe(verb)])


if __name__ == "__main__":
    sys.exit(main())
