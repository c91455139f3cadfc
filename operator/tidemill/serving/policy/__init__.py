"""Policies: which version is wanted, whether a candidate is good, what happens next. Pure functions of a snapshot."""
