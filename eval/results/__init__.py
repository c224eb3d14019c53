"""Results: the record of an evaluation, and the intervals of its figures."""
