"""Version v1alpha1 of the five kinds."""

from tidemill.api.v1alpha1.model_deployment import ModelDeployment
from tidemill.api.v1alpha1.model_monitor import ModelMonitor
from tidemill.api.v1alpha1.model_version import ModelVersion
from tidemill.api.v1alpha1.training_pipeline import TrainingPipeline
from tidemill.api.v1alpha1.training_run import TrainingRun

KINDS = (TrainingPipeline, TrainingRun, ModelVersion, ModelDeployment, ModelMonitor)

__all__ = ["KINDS", "ModelDeployment", "ModelMonitor", "ModelVersion", "TrainingPipeline", "TrainingRun"]
