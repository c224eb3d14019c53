"""Planners: policies that write a plan first, and act by it."""
