"""A training run from data to a published version."""
