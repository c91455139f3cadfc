"""Builds the images of `images/Containerfile` with what the machine has and brings them into the cluster that is up.

`python -m hack.images`.
"""
