"""Hydra configuration: one folder an axis. Defaults live in dataclasses, YAML files select and override."""
