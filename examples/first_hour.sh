#!/usr/bin/env bash
# The first hour of a newcomer, on a fresh clone: install, the demo, then all of docs/your_robot.md: a file of one's own,
# a policy, replay, an environment of one's own, reports, a control loop, latency and export.
#
#     examples/first_hour.sh [FOLDER]            ten minutes or so on two cores
#     examples/first_hour.sh --short [FOLDER]    the same commands with small numbers; the tests run it
#
# BIN=FOLDER takes `python` and `laminar` from there and installs nothing.
set -euo pipefail

short=()
if [ "${1:-}" = --short ]; then short=(--short) && shift; fi
out=$(realpath -m "${1:-outputs/first_hour}")
cd "$(dirname "$0")/.."

demo=(DEMO="$out/demo")
if [ ${#short[@]} -gt 0 ]; then demo+=(EPISODES=2 STEPS=60 EVALUATED=2); fi
if [ -n "${BIN:-}" ]; then demo+=(BIN="$BIN" READY=); else make setup && BIN=.venv/bin; fi
BIN=$(realpath "$BIN")

began=$SECONDS
make demo "${demo[@]}"
PATH="$BIN:$PATH" "$BIN/python" examples/page.py "${short[@]}" docs/your_robot.md "$out/your_robot"
echo "the first hour took $((SECONDS - began)) s; its pages:"
find "$out" -name '*.html' -o -name report.md | sort
