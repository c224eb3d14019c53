"""Sweeps: many runs of `laminar train`, each a process and a folder of its own, started by a launcher.

`plan.py` names the runs and remembers them, `launchers/` starts them here or elsewhere, `process.py` is what a launcher
runs for each, `state.py` reads how far a run is, `board.py` shows it, and `sweep.py` puts them together.
"""
