"""The verbs of the command `laminar`, one function each: words in, a result on standard output.

What a verb needs is imported inside it, so that `laminar --help` and short verbs start at once.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .configs.command_line import need, paths_in, usage_of
from .errors import LaminarError


def train(words: list[str]) -> None:
    """Train a policy on demonstrations.

    out=RUN resume=true continues a run that was stopped, with its settings. With -m it trains a run for each
    combination of values, as laminar sweep does: laminar train -m method=bc,dql seed=0,1 launcher=ray out=SWEEP.
    """
    from .configs.compose import compose, given_in
    from .configs.multirun import MARKS, alone
    from .train.run.restored import restored
    from .train.run.trainer import train as run

    if {*words} & {*MARKS}:
        from .configs.sweep_command import from_words

        print(from_words(words), end="")
        return
    with alone(words):
        config = compose("train", words)
    run(restored(config, given_in(words)) if config.resume else config)


def sweep(words: list[str]) -> None:
    """Train many runs, here or on a cluster: laminar sweep FILE.yaml [launcher=joblib|ray|slurm] [out=FOLDER].

    The file has settings of every run, lists of values of which each combination is a run, and settings of single runs;
    laminar train -m says the same by words. The same command again goes on where a sweep stopped. Runs lie in
    out=FOLDER, with a table of them; eval.task=TASK measures each as laminar eval does.
    """
    from .configs.sweep_command import from_file

    print(from_file(words), end="")


def evaluate(words: list[str]) -> None:
    """Measure a policy: success and return, or chains of instructions, with intervals, a report and a video.

    A policy with a critic can act by its choice: candidates=50. protocol=offline gives the three numbers of an offline
    run: the last checkpoint by single samples and by the critic's choice, and the best checkpoint. noise_scale=0.5
    starts samples from half the noise, noise_scale=0 from its mean.
    """
    from .configs.compose import compose
    from .eval.command import run

    config = compose("eval", words)
    need(config.policy.path, "eval", "policy.path=FOLDER")
    need(config.env.id, "eval", "env.id=ENVIRONMENT")
    given = {word.partition("=")[0] for word in words}
    run(config, given, _folder(config, "eval"))


def compare(words: list[str]) -> None:
    """Compare policies on identical seeds, each with each: laminar compare A B … env.id=….

    policy.steps=nfe2 samples by a searched schedule or by so many network calls, policy.steps=[nfe2,null,4] has one
    entry a policy; a.steps and b.steps are of the first and the second one alone.
    """
    from .configs.compose import compose, is_setting
    from .eval.command import compare as run

    paths, settings = paths_in(words, lambda word: is_setting("compare", word))
    if paths and any(word.startswith(("a.path=", "b.path=")) for word in settings):
        raise LaminarError(
            "compare takes all policies as words, compare A B …, or two as a.path= and b.path=; not both"
        )
    config = compose("compare", settings, {f"{key}.path": path for key, path in zip("ab", paths, strict=False)})
    how = "two policies: laminar compare A B env.id=… (./ in front of a folder that is called like a setting)"
    need(config.a.path and config.b.path, "compare", how)
    need(config.env.id, "compare", "env.id=ENVIRONMENT")
    run(config, paths[2:], _folder(config, "compare"))


def replay(words: list[str]) -> None:
    """Hold predicted against recorded actions, without a simulator: errors with intervals, and curves.

    Of the run's own data it takes the episodes that data.validation held out, of other data all. data.path may be left
    out: the run knows its own. world=WORLD holds what a world model imagines against what was recorded.
    """
    from .configs.compose import compose
    from .progress import bar

    config = compose("replay", words)
    need(config.policy.path or config.world.path, "replay", "policy.path=FOLDER, or world=WORLD")
    out = _folder(config, "replay")
    if config.world.path:
        from .eval.imagined.page import write_imagined
        from .eval.imagined.replay import replay as imagine

        found = imagine(config, [word.partition("=")[0] for word in words], bar)
        written = write_imagined(out, found) if out else None
    else:
        from .eval.replay.page import write_replay
        from .eval.replay.replay import replay as run

        found = run(config, bar)
        written = write_replay(out, found) if out else None
    print(found.summary())
    if written:
        print(f"report in {written}")


def plan(words: list[str]) -> None:
    """Draw what a planner plans at the start of an episode: laminar plan policy.path=RUN env.id=… out=plan.png.

    In a maze over its map, with the share of planned steps that lead through walls, elsewhere as curves of states and
    actions. plans=5 draws five, each of its own noise; drive=true draws where the policy drove as well.
    """
    from .configs.compose import compose
    from .eval.planning.command import run

    config = compose("plan", words)
    need(config.policy.path, "plan", "policy.path=FOLDER")
    need(config.env.id, "plan", "env.id=ENVIRONMENT")
    print(run(config))


def table(words: list[str]) -> None:
    """Collect evaluated runs into a table: laminar table FOLDER… [out=STEM] [overwrite=true].

    Reads every eval.json in the folders. Of those by `laminar eval protocol=offline`, one a training seed, rows are
    data sets at one number of updates, columns are methods, entries have 95 % intervals over the training seeds; every
    seed is shown, those that failed and runs without a result are named, and interquartile means and probabilities of
    improvement go over all tasks. All other evaluations are listed one by one. Writes STEM.md, STEM.html, STEM.csv and
    STEM.json; files of these names that are no such table are replaced only with overwrite=true.
    """
    from .configs.table_command import run

    print(run(words))


def bench(words: list[str]) -> None:
    """Measure how long a policy takes for a chunk: runtimes x steps x batch, in turns, with a roofline floor.

    runtimes=[eager,onnx] steps=[1,5,null] batch=[1,16] choose the rows; null is the configured number of steps.
    candidates=50 lets the policy's critic choose, guidance= as in eval. rate_hz=200 says which rows hold that control
    rate at p99.
    """
    from .configs.compose import compose
    from .eval.guidance import acting_told
    from .eval.latency.measure import measure_latency, on_device
    from .eval.latency.report import figures, summary, write_latency_report
    from .policies import load_policy
    from .progress import bar

    config = compose("bench", words)
    need(config.policy.path, "bench", "policy.path=FOLDER")
    given = {word.partition("=")[0] for word in words}
    acting = acting_told(config, given)
    out = _folder(config, "bench")
    runtimes, steps, batch = (
        value if isinstance(value, list) else [value] for value in (config.runtimes, config.steps, config.batch)
    )
    names = None if config.runtimes is None else runtimes
    policy = on_device(load_policy(config.policy.path), config.device)
    numbers = (config.calls, config.threads, config.rate_hz, config.seed)
    found = measure_latency(policy, names, steps, batch, acting, *numbers, bar)
    print(summary(figures(found)))
    if out:
        print(f"report in {write_latency_report(out, found, config.policy.path)}")


def export(words: list[str]) -> None:
    """Write a policy's whole sampling loop as one file that runs without laminar: format=onnx or format=pt2."""
    from .configs.compose import compose
    from .eval.guidance import acting_told
    from .policies import load_policy
    from .policies.export.write import export as run
    from .policies.guided import guide
    from .policies.runtimes.pace import resolve_steps
    from .progress import bar

    config = compose("export", words)
    need(config.policy.path, "export", "policy.path=FOLDER")
    need(config.out, "export", "out=FOLDER")
    given = {word.partition("=")[0] for word in words}
    policy = guide(load_policy(config.policy.path), acting_told(config, given))
    steps = resolve_steps(policy, config.steps)
    with bar(1, "file", f"writing {config.format} and comparing it with eager"):
        folder = run(policy, config.out, config.format, config.batch, steps)
    parity = json.loads((folder / "parity.json").read_text(encoding="utf-8"))
    print(f"{config.format} in {folder}; it differs from eager by at most {parity['largest_difference']:.1e}")
    if parity["remark"]:
        print(f"  note: {parity['remark']}")


def serve(words: list[str]) -> None:
    """Serve a policy over a websocket, to laminar.PolicyClient and to clients of openpi, until Ctrl-C.

    It listens on this machine alone, unless host= says otherwise, and then asks clients for a token. Needs the extra
    "deploy": pip install 'laminar[deploy]'.
    """
    from .configs.compose import compose

    config = compose("serve", words)
    need(config.policy.path, "serve", "policy.path=FOLDER")
    from .deploy.serve import serve as run

    run(config, {word.partition("=")[0] for word in words})


def deploy(words: list[str]) -> None:
    """Run a policy on a robot over a ROS bridge, at a steady rate and within limits.

    laminar deploy policy.path=RUN robot=FILE url=ws://HOST:9090, where FILE describes the robot, docs/deploy.md.
    dry_run=true computes everything and sends nothing. Needs the extra "deploy": pip install 'laminar[deploy]'.
    """
    from .configs.compose import compose

    config = compose("deploy", words)
    need(config.policy.path, "deploy", "policy.path=FOLDER")
    from .deploy.run import deploy as run

    run(config)


def simulate(words: list[str]) -> None:
    """Put a simulated robot behind ROS topics, in real time, until Ctrl-C.

    laminar simulate robot=playroom task=open_drawer is reached like a real one, by laminar deploy and by any client of
    rosbridge. Needs the extra "deploy": pip install 'laminar[deploy]'.
    """
    from .configs.compose import compose

    config = compose("simulate", words)
    from .deploy.simulate import simulate as run

    run(config)


def collect(words: list[str]) -> None:
    """Record demonstrations of a built-in task, or free play, by scripted experts."""
    from .configs.compose import compose
    from .envs.command import run
    from .progress import bar

    config = compose("collect", words)
    print(run(config, {word.partition("=")[0] for word in words}, bar))


def language(words: list[str]) -> None:
    """Learn a text encoder from the sentences of play: laminar language data.path=PLAY out=words.safetensors."""
    from .configs.compose import compose
    from .progress import bar

    config = compose("language", words)
    if config.policy.path is None:
        from .data.sentences import run
    else:
        from .train.told import run
    print(run(config, bar))


def convert(words: list[str]) -> None:
    """Write demonstrations of one format in another: laminar convert IN OUT format=lerobot|d4rl|zarr.

    IN is a file, a folder or the name of a data set, of any format that is read. What is written reads back equal, and
    what a format cannot keep is told. format=lerobot needs the extra "lerobot": pip install 'laminar[lerobot]'.
    """
    from .configs.compose import compose, is_setting
    from .data.converting import convert as run
    from .progress import bar

    paths, settings = paths_in(words, lambda word: is_setting("convert", word))
    config = compose("convert", settings)
    if len(paths) != 2:
        raise usage_of("convert", "IN OUT format=lerobot|d4rl|zarr", words)
    print(run(paths[0], paths[1], config, {word.partition("=")[0] for word in settings}, bar))


def inspect(words: list[str]) -> None:
    """Show what is in demonstrations and what looks wrong: laminar inspect FILE [data.robot=NAME] [--json].

    Statistics of every number, time stamps, which state follows which action, pictures and episodes that are there
    twice. sheet=FILE.png writes pictures of some episodes, data.observation=[KEY,KEY] chooses what is read.

    Of a run or policy it shows what it does, learned from and scored, and what to do next; of a robot's description, a
    YAML file, what a policy sees and tells; of a world model what it knows.
    """
    from .configs.compose import compose, is_setting
    from .eval.looking import look_at

    as_json = "--json" in words
    files, settings = paths_in([word for word in words if word != "--json"], lambda word: is_setting("inspect", word))
    dashed = [word for word in settings if word[:1] == "-"]
    if len(files) != 1 or dashed:
        form = "FILE [sheet=FILE.png] [data.robot=NAME] [--json]"
        raise usage_of("inspect", form, [word for word in words if word != "--json"])
    found, text = look_at(files[0], compose("inspect", settings))
    print(json.dumps(found, indent=2) if as_json else text)


def view(words: list[str]) -> None:
    """Write a page to look at demonstrations with: laminar view DATA [out=page.html] [episodes=20].

    Pictures of all cameras with a slider, curves of states, actions and rewards beside them, and a list of the episodes
    with what looks wrong. It is one file that needs no network; megabytes=24 is how large it may become.
    """
    from .configs.compose import compose, is_setting
    from .eval.viewing.page import view as run
    from .progress import bar

    paths, settings = paths_in(words, lambda word: is_setting("view", word))
    if paths and any(word.startswith("data.path=") for word in settings):
        raise LaminarError("view takes the data as a word, view DATA, or as data.path=; not both")
    config = compose("view", settings, {"data.path": paths} if paths else {})
    need(config.data.path, "view", "data: laminar view DATA [out=page.html]")
    print(f"page in {run(config, bar)}")


def doctor(words: list[str]) -> None:
    """Show what is installed here, what is missing and how to get it: laminar doctor [--json].

    Exit code 0 when the core is complete, whatever options are missing; 2 when it is not.
    """
    from dataclasses import asdict

    from .doctor import diagnose, render, require_core

    if set(words) - {"--json"}:
        raise LaminarError(f"usage: laminar doctor [--json], got {' '.join(words)}")
    checks = diagnose()
    print(json.dumps([asdict(check) for check in checks], indent=2) if words else render(checks))
    require_core(checks)


def schedule(words: list[str]) -> None:
    """Search solver schedules for a policy: samples of few network calls that are close to those of many.

    Saves each as nfe2, nfe3, … beside the policy's weights, and compares it with the fixed solvers of as many calls on
    observations that the search did not see.
    """
    from .configs.compose import compose
    from .eval.schedules.held_out import search_schedules, write_schedule_report
    from .policies.load import save_schedule
    from .progress import bar

    config = compose("schedule", words)
    need(config.policy.path, "schedule", "policy.path=FOLDER")
    need(config.data.path, "schedule", "data.path=FILE, with observations like those of the policy's training")
    out = _folder(config, "schedule")
    found = []
    for one in search_schedules(config, bar):
        save_schedule(config.policy.path, one.name, one.schedule)
        print(one.summary(), flush=True)
        found.append(one)
    if out:
        print(f"report in {write_schedule_report(out, found, config)}")


VERBS: dict[str, Callable[[list[str]], None]] = {
    "train": train,
    "sweep": sweep,
    "eval": evaluate,
    "compare": compare,
    "replay": replay,
    "plan": plan,
    "table": table,
    "schedule": schedule,
    "bench": bench,
    "export": export,
    "serve": serve,
    "deploy": deploy,
    "simulate": simulate,
    "collect": collect,
    "language": language,
    "convert": convert,
    "inspect": inspect,
    "view": view,
    "doctor": doctor,
}


def _folder(config: Any, verb: str) -> Path | None:
    """Return the folder that a verb may write into; None without out=."""
    from .eval.outputs import WRITTEN
    from .overwriting import check_folder

    return check_folder(config.out, verb, WRITTEN[verb], config.overwrite) if config.out else None
