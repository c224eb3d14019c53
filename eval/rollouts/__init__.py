"""Roll-outs: a policy in its environments, on recorded seeds."""
