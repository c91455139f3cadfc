"""Decisions on a version: pure functions of its snapshot."""
