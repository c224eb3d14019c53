"""One command line, run by `runpy.run_path` in a process of its own, which gives the `job`."""

from __future__ import annotations

import os
import sys
from contextlib import redirect_stderr, redirect_stdout

from laminar.cli import main

job = globals()["job"]
os.environ.update(job["environment"])
sys.argv = ["laminar", *job["words"]]
with open(job["output"], "w") as stream, redirect_stdout(stream), redirect_stderr(stream):
    code = main()
sys.exit(code)
