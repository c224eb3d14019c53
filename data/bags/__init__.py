"""Recordings of robots: what `deploy/recorder.py` writes and other people's bags hold, on its way to demonstrations.

A bag is read twice. First its commands and marks, which say when an action was told and where episodes are
(`told.py`, `actions.py`, `cutting.py`); then everything else, to see what the robot showed at these moments
(`seeing.py`). So a long recording costs the memory of its numbers, and its pictures stay on disk.

Needs the extra `deploy` (rosbags and mcap).
"""
