"""Builders: desired children as dicts, from a snapshot and the decided state. Pure; they decide nothing."""
