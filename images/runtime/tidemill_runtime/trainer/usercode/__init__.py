"""Calling the Python functions that users write."""
