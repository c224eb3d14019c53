"""The command `laminar` with all members of this folder: python examples/own VERB key=value …

A policy of one's own process and network, in one's own environment:

    python examples/own collect env.id=own/Reach-v0 episodes=100 out=reach.hdf5
    python examples/own train policy=trigonometric network=gated data.path=reach.hdf5 out=runs/reach
    python examples/own eval policy.path=runs/reach env.id=own/Reach-v0
"""

import sys

# This folder is where Python looks first when it runs it.
import format as own_format
import method
import network
import policy
import process
import runtime
import suite

import laminar
from laminar.cli import main

if __name__ == "__main__":
    laminar.register("process", process)
    laminar.register("network", network)
    laminar.register("method", method)
    laminar.register("suite", suite)
    laminar.register("format", own_format)
    laminar.register("runtime", runtime)
    laminar.register("policy", policy)
    sys.exit(main(sys.argv[1:]))
