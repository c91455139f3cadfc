"""What Kubernetes says when it does not run a pod: texts as controllers and kubelets write them (1.34)."""

from __future__ import annotations

from typing import Any

QUOTA_TEXT = "exceeded quota: team, requested: limits.memory=1Gi, used: limits.memory=2Gi, limited: limits.memory=2Gi"
QUOTA = f'Error creating: pods "churn-3f2a-x7k2p" is forbidden: {QUOTA_TEXT}'
LIMIT_RANGE_TEXT = "maximum memory usage per Container is 512Mi, but limit is 1Gi"
LIMIT_RANGE = f'Error creating: pods "churn-3f2a-x7k2p" is forbidden: {LIMIT_RANGE_TEXT}'
CONFIG_MAP = 'MountVolume.SetUp failed for volume "code" : configmap "churn-code" not found'
SANDBOX = 'Failed to create pod sandbox: plugin type="calico" failed: no address is left'
GATED: dict[str, Any] = {
    "status": {
        "phase": "Pending",
        "conditions": [
            {
                "type": "PodScheduled",
                "status": "False",
                "reason": "SchedulingGated",
                "message": "Scheduling is blocked due to non-empty gates",
            }
        ],
    }
}
