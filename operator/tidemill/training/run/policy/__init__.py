"""Decisions of a run: pure functions of its snapshot."""
