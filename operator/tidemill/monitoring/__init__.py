"""The slice of ModelMonitor: runs a deployment's monitor, judges its report, requests retraining or a rollback.

The monitor computes, this slice decides. It asks by writing its own status: TrainingPipeline and ModelDeployment read
it.
"""
