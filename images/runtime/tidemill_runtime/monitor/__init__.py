"""The monitor: exact counters on reference bins, drift and quality scores, performance from labels that arrive later.

It computes and reports; it decides nothing and holds no cluster credentials. numpy and the standard library only.
"""
