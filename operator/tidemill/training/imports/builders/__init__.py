"""Objects that an import makes."""
