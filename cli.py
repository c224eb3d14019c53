"""The command `laminar VERB key=value …`.

    laminar collect task=pointmaze episodes=200 out=demos.hdf5
    laminar collect task=playroom/play steps=100000 out=play
    laminar inspect demos.hdf5
    laminar view demos.hdf5 out=demos.html
    laminar train method=bc policy=meanflow data.path=demos.hdf5 out=runs/maze
    laminar train -m method=bc,dql seed=0,1 data.path=demos.hdf5 launcher=ray out=runs/sweep
    laminar sweep sweep.yaml
    laminar eval policy.path=runs/maze env.id=laminar/PointMaze-v0 out=runs/maze/eval
    laminar eval policy.path=runs/room task=calvin-chain out=runs/room/chains
    laminar eval policy.path=runs/hopper env.id=hopper-medium-v2 protocol=offline out=runs/hopper/eval
    laminar compare runs/maze runs/other env.id=laminar/PointMaze-v0
    laminar replay policy.path=runs/maze data.path=others.hdf5 out=runs/maze/replay
    laminar table runs out=scores
    laminar schedule policy.path=runs/maze data.path=demos.hdf5 calls=[2,3]
    laminar bench policy.path=runs/maze runtimes=[eager,onnx] rate_hz=200 out=runs/maze/bench
    laminar export policy.path=runs/maze format=onnx out=maze_onnx
    laminar serve policy.path=runs/maze port=8000

Exit codes: 0 done, 2 a mistake in the input (one line on standard error), 1 a bug (a traceback), 130 interrupted by
Ctrl-C (143 by SIGTERM): what was complete is kept, and a second Ctrl-C quits at once; 141 nobody reads on.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import traceback
from io import TextIOWrapper

from .errors import LaminarError, Stopped, nearest
from .verbs import VERBS
from .version import __version__


def main(argv: list[str] | None = None) -> int:
    """Run one verb and return the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    if isinstance(sys.stdout, TextIOWrapper):  # as standard error does with what the terminal has no letters for
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        code = _run(words)
        sys.stdout.flush()  # here a reader that has gone is noticed, not when Python ends
        return code
    except LaminarError as error:
        print(f"laminar: {error}", file=sys.stderr)
        return 2
    except OSError as error:  # a full disk, missing rights: what went wrong and where is all there is to say
        if _leave_readers_that_went():
            return 128 + signal.SIGPIPE
        print(f"laminar: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as stop:
        told = str(stop) if isinstance(stop, Stopped) else "interrupted"
        if told:
            print(f"laminar: {told}", file=sys.stderr)
        return 128 + getattr(stop, "number", signal.SIGINT)
    except Exception:
        traceback.print_exc()
        print("laminar: this is a bug; please report it with the lines above", file=sys.stderr)
        return 1


def _run(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        print(_usage())
        return 0 if words else 2
    verb, rest = words[0], words[1:]
    if verb in ("-V", "--version", "version"):
        print(f"laminar {__version__}")
    elif verb not in VERBS:
        raise LaminarError(f"no verb is called '{verb}' (known: {', '.join(VERBS)}){nearest(verb, VERBS)}")
    elif verb != "train" and "-m" in rest and not os.path.lexists("-m"):
        raise LaminarError(f"-m is for laminar train, which trains a run for each combination; laminar {verb} has none")
    elif "-h" in rest or "--help" in rest:
        print(_help("sweep" if "-m" in rest else verb, [word for word in rest if "=" in word]))
    else:
        VERBS[verb](rest)
    return 0


def _leave_readers_that_went() -> bool:
    """Tell whether who read our output has gone, as of `| head -1`; what is left in buffers then goes nowhere."""
    poll = select.poll()
    for number in (1, 2):
        poll.register(number, 0)
    gone = [number for number, event in poll.poll(0) if event & select.POLLERR]
    for number in gone:
        os.dup2(os.open(os.devnull, os.O_WRONLY), number)
    return bool(gone)


def _usage() -> str:
    lines = [f"  {verb:10}{(function.__doc__ or '').splitlines()[0]}" for verb, function in VERBS.items()]
    return "\n".join(
        [
            "laminar VERB key=value …",
            "",
            *lines,
            "",
            "laminar VERB --help explains the verb's settings; laminar --version.",
        ]
    )


def _help(verb: str, words: list[str]) -> str:
    text = (VERBS[verb].__doc__ or "").strip()
    if verb in ("inspect", "doctor", "table"):
        return text
    from .configs.description import choices, describe, shown

    listed = [part for line in choices(verb, words) for part in shown(line)]
    given = [word for word in words if not word.endswith("/")]
    heading = "Settings of these choices, with their defaults:" if listed else "Settings and defaults:"
    return "\n".join([text, "", *(["Choices:", *listed, ""] if listed else []), heading, describe(verb, given)])


if __name__ == "__main__":
    sys.exit(main())
