"""Demonstration files -> `Episodes` -> normalized, device-resident batches.

Light on import: torch and numpy only; readers import h5py and the like when they open a file.
"""
