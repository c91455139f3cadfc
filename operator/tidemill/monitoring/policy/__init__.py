"""Policies: what the report means, and what is requested because of it. Pure functions of a snapshot."""
