"""The simulated robot and a policy, each in a process of its own, with a ROS bridge between them.

    python examples/robot_demo.py POLICY OUT_FOLDER [EPISODES]

Nothing of ROS is needed: `laminar simulate` brings a bridge, and `laminar deploy` reaches it like a real robot's.
"""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from pathlib import Path

from laminar.deploy.report import write_report

LAMINAR = [sys.executable, "-m", "laminar.cli"]
SEED = 1000  # of the first start: those of `make demo`'s evaluation


def main(policy: str, out: str, episodes: str = "20") -> int:
    """Run both, and return the exit code of the second."""
    Path(out).mkdir(parents=True, exist_ok=True)
    robot = ["simulate", "robot=playroom", "task=open_drawer", "transport=rosbridge", "port=0"]
    film = [f"video={out}/video.mp4", "video_episodes=5"]
    simulated = subprocess.Popen([*LAMINAR, *robot, *film], stderr=subprocess.PIPE, text=True)
    try:
        url = wait_for_url(simulated)
        words = [f"policy.path={policy}", "robot=playroom", "transport=rosbridge", f"url={url}", f"episodes={episodes}"]
        words += [f"seed={SEED}", "seconds=8", f"out={out}", "overwrite=true"]
        return subprocess.run([*LAMINAR, "deploy", *words]).returncode
    finally:
        simulated.send_signal(signal.SIGINT)
        simulated.wait(60)
        record = Path(out, "deploy.json")
        if record.exists():  # the film is there now
            print("with its film:", write_report(json.loads(record.read_text()), Path(out)))


def wait_for_url(simulated: subprocess.Popen[str]) -> str:
    """Return where the simulated robot says that it is."""
    assert simulated.stderr is not None
    for line in simulated.stderr:
        print(line, end="", file=sys.stderr)
        found = re.search(r"ws://[\w.:]+", line)
        if found:
            return found.group(0).rstrip(";")
    sys.exit("the simulated robot did not start")


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:]))
