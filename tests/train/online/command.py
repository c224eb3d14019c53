"""`laminar WORDS…` with the toy method and its environment: what a user's own script looks like."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import identity
import toy

import laminar
from laminar.cli import main

laminar.register("suite", identity)
laminar.register("method", toy)

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
