"""Benchmarks: figures beside a floor or a peer that is measured in the same run, printed as ratios.

`python -m hack.bench [operator|loop|serving|monitoring …]`. Never part of a timed test: machines differ too much.
"""
