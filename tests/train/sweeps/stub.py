"""What a run of a sweep starts in these tests in the place of laminar: a command that does what its words say, at once.

The words of each start are a line of starts.txt in the run's folder; `fails` and `x=fails` say the same.
"""

from __future__ import annotations

import os
import signal
import sys
import types
from pathlib import Path

from laminar.train.sweeps import followed

folder = Path(sys.argv[1])
asked = {part for word in sys.argv for part in word.split("=")}
if "impatient" in asked:
    followed._PATIENCE = 0.0


def main() -> int:
    words = sys.argv[1:]
    with (folder / "starts.txt").open("a") as starts:
        starts.write(" ".join(words) + "\n")
    started = len((folder / "starts.txt").read_text().splitlines())
    if ("killed" in asked and started == 1) or "always-killed" in asked:
        os.kill(os.getpid(), signal.SIGKILL)
    if "waits" in asked and started == 1:
        signal.signal(signal.SIGTERM, stopped)
        (folder / "waits").touch()
        while True:
            signal.pause()
    if "fails" in asked:
        print("a line before\nlaminar: no data in x.hdf5", file=sys.stderr)
        return 2
    if "breaks" in asked:
        print("Traceback …\nValueError: of a bug\nlaminar: this is a bug", file=sys.stderr)
        return 1
    if "train" in words:
        (folder / "run.json").write_text('{"steps": 1}')
        (folder / "checkpoints/step_00000001").mkdir(parents=True, exist_ok=True)
    return 0


def stopped(*_: object) -> None:
    (folder / "saved").touch()
    sys.exit(143)


sys.modules["laminar.cli"] = types.ModuleType("laminar.cli")
sys.modules["laminar.cli"].main = main
sys.exit(followed.main(sys.argv[1], sys.argv[2:]))
