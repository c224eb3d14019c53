"""The run: one loop, its checkpoints, logs and settings."""
