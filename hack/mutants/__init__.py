"""Planted faults: does a unit test notice when a line of the operator's decisions is wrong? Run by `make mutants`.

One small fault at a time is planted in memory: the source on disk is never touched. Only the tests that execute the
faulty line are run, in a process forked from one that has everything imported, until one of them fails.
Why not mutmut or cosmic-ray: decision 199.
"""
