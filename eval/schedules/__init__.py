"""Solver schedules: searched for a policy, and measured where the search did not look."""
