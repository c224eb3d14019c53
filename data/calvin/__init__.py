"""CALVIN's data layout on disk (Mees et al. 2022, arXiv:2112.03227): one npz file a frame, and files that index them.

The layout was taken down from its published tools; `formats/calvin.py` reads it, `writer.py` writes it.
"""
