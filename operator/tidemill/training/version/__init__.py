"""ModelVersion: the decision on its use, and where it is served."""
