"""Version v1alpha1 of the six kinds."""

from tidemill.api.v1alpha1.model_deployment import ModelDeployment
from tidemill.api.v1alpha1.model_import import ModelImport
from tidemill.api.v1alpha1.model_monitor import ModelMonitor
from tidemill.api.v1alpha1.model_version import ModelVersion
from tidemill.api.v1alpha1.training_pipeline import TrainingPipeline
from tidemill.api.v1alpha1.training_run import TrainingRun

KINDS = (TrainingPipeline, TrainingRun, ModelImport, ModelVersion, ModelDeployment, ModelMonitor)

__all__ = ["KINDS", "ModelDeployment", "ModelImport", "ModelMonitor", "ModelVersion", "TrainingPipeline", "TrainingRun"]
