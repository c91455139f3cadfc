"""Policies: what the report means, and what is asked for because of it. Pure functions of a snapshot."""
