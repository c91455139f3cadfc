"""A training run: read data, run the user's code, judge, write a version. Runs without cluster credentials."""
