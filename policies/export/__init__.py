"""Export: a policy's sampling loop as one file that runs without this package, and what opens it again."""
