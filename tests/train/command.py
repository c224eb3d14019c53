"""One command line, run by `runpy.run_path` in a process of its own, which gives the `job`."""

from __future__ import annotations

import os
import sys
from contextlib import redirect_stderr, redirect_stdout
from importlib import import_module

import laminar
from laminar.cli import main

job = globals()["job"]
os.environ.update(job["environment"])
sys.argv = ["laminar", *job["words"]]
if job["suite"]:
    sys.path.insert(0, str(job["suite"].parent))
    laminar.register("suite", import_module(job["suite"].stem))
with open(job["output"], "w") as stream, redirect_stdout(stream), redirect_stderr(stream):
    code = main()
sys.exit(code)
