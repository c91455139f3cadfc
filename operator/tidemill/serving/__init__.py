"""The slice of ModelDeployment: a version on an address, rolled out step by step and rolled back when bad.

Knows nothing of training and monitoring: ModelVersion, TrainingPipeline and ModelMonitor are read as data.
"""
