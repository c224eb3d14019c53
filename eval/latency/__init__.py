"""Latency: how long a control loop waits for a chunk."""
