"""Label and annotation keys: part of the public API (docs/operator.md lists them with their meaning).

This module holds names only. Nothing here is ever written onto an object that a user owns.
"""

from __future__ import annotations

from typing import Final

from tidemill.api.base import GROUP

FIELD_MANAGER: Final = "tidemill"
"""Server-side apply field manager, and reportingController prefix of events."""

# Recommended labels of Kubernetes, on every child.
NAME: Final = "app.kubernetes.io/name"
INSTANCE: Final = "app.kubernetes.io/instance"
COMPONENT: Final = "app.kubernetes.io/component"
PART_OF: Final = "app.kubernetes.io/part-of"
MANAGED_BY: Final = "app.kubernetes.io/managed-by"
MANAGED_BY_VALUE: Final = "tidemill"
MANAGED_SELECTOR: Final = f"{MANAGED_BY}={MANAGED_BY_VALUE}"

# Which object of ours a child or record belongs to (values are object names).
PIPELINE: Final = f"{GROUP}/pipeline"
RUN: Final = f"{GROUP}/run"
IMPORT: Final = f"{GROUP}/import"
VERSION: Final = f"{GROUP}/version"
DEPLOYMENT: Final = f"{GROUP}/deployment"
MONITOR: Final = f"{GROUP}/monitor"
DIGEST: Final = f"{GROUP}/digest"
"""The first characters of a content digest; never the whole (a label value holds 63 characters)."""

BATCH_PREDICTION: Final = f"{GROUP}/batch-prediction"
"""On the pods of people's own batch predictions, with any value: their monitor takes records from them."""

OUTBOUND: Final = f"{GROUP}/outbound"
"""On the pods of monitors that write rows to a bucket or send alerts: NetworkPolicies let these alone out."""

# Requests of people, as annotations with a value; consumed once and remembered in status.
RUN_REQUESTED_AT: Final = f"{GROUP}/run-requested-at"
PROMOTE: Final = f"{GROUP}/promote"
ABORT: Final = f"{GROUP}/abort"
RETRY: Final = f"{GROUP}/retry"
ACCEPT_ROLLBACK: Final = f"{GROUP}/accept-rollback"
"""On a ModelDeployment, the id of a monitor's request: it is carried out although spec lets monitors only propose."""
RECONCILE_REQUESTED_AT: Final = f"{GROUP}/reconcile-requested-at"

ACTIONS: Final = f"{GROUP}/actions"
"""Label of a Namespace. `disabled`: no monitor in it requests anything."""
ACTIONS_DISABLED: Final = "disabled"

# Written by the operator on its own children.
APPLIED: Final = f"{GROUP}/applied"
"""Digest of the manifest that was applied last: lets a restarted operator skip writes that would change nothing."""
REFRESHED_AT: Final = f"{GROUP}/refreshed-at"
"""Pod annotation that makes the kubelet renew mounted ConfigMaps at once."""
