"""Decisions of a pipeline: pure functions of its snapshot."""
