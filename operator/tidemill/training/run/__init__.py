"""TrainingRun: one Job, its outcome, the verdict of the gates, and the version that comes of it."""
