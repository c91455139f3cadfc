"""Objects that a pipeline makes."""
