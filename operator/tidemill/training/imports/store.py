"""Where an import writes: a folder of its own in the namespace's store, which the runs of no pipeline remove."""

from __future__ import annotations

from tidemill.training.imports.snapshot import ImportSnapshot
from tidemill.training.recording.snapshot import IMPORTS, namespace_folder


def store_uri(snapshot: ImportSnapshot) -> str:
    """The folder below which versions are written, each in one named by its digest.

    Raises:
        ValueError: spec.artifacts.uri is none of a store.
    """
    uri = snapshot.model_import.spec.artifacts.uri
    return namespace_folder(uri, snapshot.config, snapshot.namespace, IMPORTS, snapshot.name)
