"""Everything that one decision about records of versions is based on. Frozen, and free of I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from tidemill.api.base import SecretRef
from tidemill.api.v1alpha1.pod_settings import PodSettings
from tidemill.api.v1alpha1.rejected_content import RejectedContent
from tidemill.api.v1alpha1.store_records import Records
from tidemill.config import OperatorConfig
from tidemill.core import names
from tidemill.core.snapshot import ObjectSnapshot
from tidemill.training.records import VersionRecord
from tidemill_contracts import schemes
from tidemill_contracts.storage import parse_uri


@dataclass(frozen=True, slots=True)
class RecordsJob:
    """A Job of this object that reads or writes records of versions in the artifact store."""

    name: str
    uid: str
    created: datetime
    mode: str
    """read or write."""
    digest: str
    """Of the records that it writes."""
    finished: bool
    message: str | None
    """Termination message of its pod, else how the Job ended; None while there is neither."""
    log: str = ""
    """The log of one that has read."""
    versions: int | None = None
    """Number of versions that the records name which it writes."""
    problem: str | None = None
    """Why it does not start."""
    is_silent: bool = False
    """As of a probe."""


@dataclass(frozen=True, slots=True)
class RecordsState:
    """What is known of records beside the object's status."""

    jobs: tuple[RecordsJob, ...] = ()
    wanted: str | None = None
    """Digest of what the store should say of the versions; None: there is nothing to be recorded."""
    count: int = 0
    """Number of versions that it should name: those that retention is about to remove are left out."""
    versions: tuple[dict[str, Any], ...] = ()
    """The ModelVersions to be recorded, whole; only read where the store says something else."""
    store_exists: bool = True
    """False: the namespace's default claim, on which the store lies, does not exist yet."""
    unsettled: tuple[str, ...] = ()
    """Versions that this object has restored and that are not registered yet."""
    usable: bool = True
    """False: spec.artifacts.uri names no store."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordsSnapshot(ObjectSnapshot):
    """A pipeline or an import as a keeper of records: where they lie, of which versions, and what is known of them."""

    config: OperatorConfig
    known: Records | None
    """What its status says of them."""
    folder: str
    """URI of the folder that they lie in."""
    secret_ref: SecretRef | None
    """Credentials of that store."""
    settings: PodSettings
    """Of the pods that read and write them."""
    labels: Mapping[str, str]
    """What its Jobs are known by."""
    pipeline: str
    """spec.pipeline of its versions."""
    is_read_wanted: bool
    """The store has still to be searched."""
    numbers_used: int
    """The highest number that is known to have been given to one of its versions."""
    waiting: str
    """What does not happen before the store was searched, as the beginning of a sentence."""
    versions: tuple[VersionRecord, ...] = ()
    """All versions of that pipeline that are registered now, by number. Of an import that is not about to register one
    its own are enough."""
    rejected: tuple[RejectedContent, ...] = ()
    """Content that people have rejected, also of versions that are gone."""
    import_name: str | None = None
    """Set of an import: its records are those of its own versions."""
    single: str | None = None
    """Name of its only version, with as.name."""
    advice: str = ""
    """What can be done where the store cannot be read."""
    records: RecordsState = field(default_factory=RecordsState)

    @property
    def kept_by(self) -> str:
        """What keeps the records, in one word."""
        return "pipeline" if self.import_name is None else "import"

    def version_name(self, number: int) -> str:
        """Name of the version with that number."""
        return self.single or names.child_name(self.pipeline, number)


IMPORTS = "imports"
"""Folder of all imports in that of the namespace, each in one of its name; the others are those of pipelines."""


def namespace_folder(uri: str | None, config: OperatorConfig, namespace: str, *below: str) -> str:
    """URI of a folder below that of a namespace in an artifact store; `uri`: spec.artifacts.uri.

    A claim belongs to one namespace; a bucket may serve several.

    Raises:
        ValueError: the URI is none of a store.
    """
    store = parse_uri(uri or f"pvc://{config.artifact_claim_name}")
    folders = [] if schemes.BY_NAME[store.scheme].mount == "claim" else [namespace]
    return str(store.child(*folders, *below))


def has_store(uri: str | None) -> bool:
    """Whether spec.artifacts.uri can be read; what is wrong with it is a problem of its own."""
    try:
        return uri is None or parse_uri(uri).scheme in schemes.ARTIFACT_SCHEMES
    except ValueError:
        return False
