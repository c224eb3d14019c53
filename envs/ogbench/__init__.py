"""OGBench (Park et al. 2025, arXiv:2410.20092): names of its worlds and data, its simulators, and recording play."""
