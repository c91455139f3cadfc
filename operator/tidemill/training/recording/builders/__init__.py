"""Objects that the records of versions need."""
