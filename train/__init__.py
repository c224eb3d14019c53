"""Training: one loop, one file an improver, checkpoints that survive a kill."""
