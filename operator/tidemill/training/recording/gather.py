"""Gathers what a decision about records of versions needs. All reads are here."""

from __future__ import annotations

import logging
from collections.abc import Collection
from typing import Any

from tidemill.core import conditions
from tidemill.core.children import is_controlled_by
from tidemill.core.plan import ObjectRef
from tidemill.engine.contract import Deps
from tidemill.errors import ApiError
from tidemill.kube.transform import is_truncated
from tidemill.training import artifact_claim, job_pods, job_status, records
from tidemill.training.recording import observe, policy
from tidemill.training.recording.snapshot import RecordsJob, RecordsSnapshot, RecordsState
from tidemill_contracts.records import LOG_LIMIT, MOST_RECORDS
from tidemill_contracts.training import CONTAINER

logger = logging.getLogger(__name__)

Obj = dict[str, Any]


async def state(deps: Deps, keeper: RecordsSnapshot, going: Collection[str] = ()) -> RecordsState:
    """What is known of the records of its versions in the artifact store.

    `going`: names of versions that this pass may remove: the store does not name them any more when that is done.
    """
    cache, uid, namespace = deps.cache, keeper.object["metadata"]["uid"], keeper.namespace
    known = [cache.get("ModelVersion", namespace, v.name) for v in keeper.versions if v.name not in going]
    versions = [v for v in known if v is not None and policy.is_recordable(v, keeper.folder, keeper.import_name)]
    last = keeper.known.written if keeper.known is not None else None
    listed = last.versions if last is not None else None
    wanted = policy.digest_of(versions, keeper.numbers_used, listed, keeper.rejected)
    is_same = last is not None and last.digest == wanted
    jobs = [j for j in cache.list("Job", owner_uid=uid) if not j["metadata"].get("deletionTimestamp")]
    return RecordsState(
        jobs=tuple([await _job(deps, keeper, job) for job in jobs if observe.records_mode(job)]),
        wanted=wanted,
        count=len(versions),
        versions=() if is_same else tuple([await _whole(deps, v) for v in versions]),
        store_exists=not keeper.is_read_wanted or await _store_exists(deps, keeper),
        unsettled=tuple(
            v["metadata"]["name"]
            for v in records.unregistered_versions(cache, namespace, keeper.pipeline, keeper.import_name)
            if is_controlled_by(v, uid) and conditions.has_default_status(v) and observe.is_restored(v)
        ),
    )


async def _job(deps: Deps, keeper: RecordsSnapshot, job: Obj) -> RecordsJob:
    """The Job; with the log of the pod that has read the store, while the object's status does not know of it."""
    pods = deps.cache.list("Pod", owner_uid=job["metadata"]["uid"])
    newest = job_status.newest(pods)
    if job_status.job_outcome(job) is None:
        return observe.records_job(job, pods, "", await job_pods.event(deps, job_status.silent(job, pods)))
    if newest is None or not keeper.is_read_wanted:
        return observe.records_job(job, pods, "")
    name, lines = newest["metadata"]["name"], MOST_RECORDS * 3 + 100  # with room for what else a pod may print
    try:
        log = await deps.client.pod_logs(keeper.namespace, name, CONTAINER, lines, LOG_LIMIT + (64 << 10))
    except ApiError as error:  # the node is gone, or its kubelet does not answer: it is read again by another Job
        logger.info("no log of pod %s: %s", name, error)
        log = ""
    return observe.records_job(job, pods, log)


async def _whole(deps: Deps, version: Obj) -> Obj:
    """The version as it is: the cache holds a part only of a very large one."""
    if not is_truncated(version):
        return version
    return await deps.client.get(ObjectRef.of(version)) or version


async def _store_exists(deps: Deps, keeper: RecordsSnapshot) -> bool:
    """Whether there can be anything in the store: the namespace's default claim is made by its first run or import."""
    if not artifact_claim.is_default(keeper.folder, deps.config):
        return True
    ref = ObjectRef("v1", "PersistentVolumeClaim", keeper.namespace, deps.config.artifact_claim_name)
    return await deps.client.get(ref) is not None
