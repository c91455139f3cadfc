"""Objects that a run makes."""
