"""Decisions of an import: pure functions of its snapshot."""
