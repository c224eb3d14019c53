"""Diffusion Policy's replay buffer, whatever it is stored in: `data/<key>` over all steps and `meta/episode_ends`.

Layout after Chi et al. 2023 (arXiv:2303.04137). `layout.py` makes episodes of its arrays, `store.py` opens zarr,
`pictures.py` tells pictures of any type and puts them on disk, `writer.py` writes zarr.
"""
