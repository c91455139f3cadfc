"""Reads the pods of a Job and the end of their log: for the decisions on runs and imports. Decides nothing."""

from __future__ import annotations

import logging
from typing import Any

from tidemill.core import children, podfailure
from tidemill.core.podfailure import PodFailure
from tidemill.engine.contract import Deps
from tidemill.errors import ApiError
from tidemill.kube.transform import transform
from tidemill.training import constants, job_status
from tidemill_contracts.training import CONTAINER

logger = logging.getLogger(__name__)

Obj = dict[str, Any]
LOG_LINES = 40


async def pods(deps: Deps, job: Obj | None) -> list[Obj]:
    """Pods of the Job. One that ended is read live when the cache shows no end: its result decides."""
    if job is None:
        return []
    uid = job["metadata"]["uid"]
    own = deps.cache.list("Pod", owner_uid=uid)
    if job_status.job_outcome(job) is None or any(job_status.terminated(p) for p in own):
        return own
    meta = job["metadata"]
    selector = f"{constants.JOB_NAME}={meta['name']}"  # a label that anybody may give to anything
    live = await deps.client.list("v1", "Pod", meta["namespace"], selector, transform)
    return [p for p in live if children.is_controlled_by(p, uid)]


async def log(deps: Deps, job: Obj | None, own: list[Obj]) -> str | None:
    """The last lines of the newest pod of a Job that failed; None for others, and where nobody has them."""
    pod = job_status.newest(own)
    if job is None or pod is None or job_status.job_outcome(job) != "Failed":
        return None
    meta = pod["metadata"]
    try:
        text = await deps.client.pod_logs(meta["namespace"], meta["name"], CONTAINER, LOG_LINES)
    except ApiError as error:  # the node is gone, or its kubelet does not answer: the verdict must not wait for it
        logger.info("no log of pod %s: %s", meta["name"], error)
        return None
    return text or None


async def event(deps: Deps, silent: Obj | None) -> PodFailure | None:
    """What events say of a Job without pods, or a pod that does not start; not asked in the first seconds."""
    if silent is None or not podfailure.is_older(silent, deps.clock.now().replace(microsecond=0)):
        return None
    return await deps.object_events.cause(silent)
