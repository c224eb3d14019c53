"""The update engine: an update is a function of tensors, run eagerly, compiled, captured, or for many seeds."""
