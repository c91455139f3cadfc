"""Where an import writes: a folder of its own in the namespace's store, which the runs of no pipeline remove."""

from __future__ import annotations

from tidemill.training.imports.snapshot import ImportSnapshot
from tidemill_contracts import schemes
from tidemill_contracts.storage import parse_uri

FOLDER = "imports"


def store_uri(snapshot: ImportSnapshot) -> str:
    """The folder below which versions are written, each in one named by its digest.

    A claim belongs to one namespace; a bucket may serve several, in which imports of one name must not meet.

    Raises:
        ValueError: spec.artifacts.uri is none of a store.
    """
    uri = parse_uri(snapshot.model_import.spec.artifacts.uri or f"pvc://{snapshot.config.artifact_claim_name}")
    folders = [] if schemes.BY_NAME[uri.scheme].mount == "claim" else [snapshot.namespace]
    return str(uri.child(*folders, FOLDER, snapshot.name))
