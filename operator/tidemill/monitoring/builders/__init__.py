"""Builders: desired children as dicts, from a snapshot. Pure; they decide nothing."""
