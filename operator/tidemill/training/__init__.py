"""Training: pipelines decide when to run, runs make candidates, versions record what passed.

This slice never imports serving or monitoring: it reads their objects as data in its snapshots.
"""
