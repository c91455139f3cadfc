"""Resolving inputs to revisions without training: what a probe pod does while a pipeline waits for new data."""

import logging

from tidemill_contracts.training import ProbeConfig, ProbeResult
from tidemill_runtime.datasets import sources
from tidemill_runtime.datasets.errors import DataError
from tidemill_runtime.storage.base import StorageError

log = logging.getLogger(__name__)


def probe(config: ProbeConfig) -> ProbeResult:
    """Return the revision of each input, or why it has none; one bad input does not hide the others."""
    revisions: dict[str, str] = {}
    errors: dict[str, str] = {}
    for source in config.data:
        try:
            revisions[source.name] = sources.resolve(source)
            log.info("input %s: revision %s", source.name, revisions[source.name])
        except (DataError, StorageError) as error:
            errors[source.name] = f"{error.reason}: {error}"
            log.warning("input %s: %s: %s", source.name, error.reason, error)
    return ProbeResult(revisions=revisions, errors=errors)
