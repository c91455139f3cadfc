"""Training: pipelines decide when to run, runs make candidates, imports bring models in, versions record both.

This slice never imports serving or monitoring: it reads their objects as data in its snapshots.
"""
