"""kopf is an informer here and nothing else: only event handlers, and settings that write nothing."""

from __future__ import annotations

import kopf
import pytest
from kopf._cogs.structs import references

from tidemill import app, handlers
from tidemill.config import OperatorConfig
from tidemill.engine.intake import Source
from tidemill.kube.access import Access


@pytest.fixture(scope="module")
def operator() -> app.Operator:
    return app.Operator(OperatorConfig(), Access("http://127.0.0.1:1"))


@pytest.fixture(scope="module")
def registry(operator: app.Operator) -> kopf.OperatorRegistry:
    found = kopf.OperatorRegistry()
    handlers.register(found, operator._runtime)
    return found


def test_only_event_handlers_are_registered(operator: app.Operator, registry: kopf.OperatorRegistry) -> None:
    assert len(registry._watching.get_all_handlers()) == len(operator.intake.sources)
    for other in (registry._changing, registry._spawning, registry._indexing, registry._webhooks):
        assert not other.get_all_handlers(), "it would write annotations or finalizers onto users' objects"


def test_selectors_match_the_resources_they_are_meant_for(operator: app.Operator) -> None:
    """A selector that matches nothing is silently no selector (kopf 1.45.2): every object would be watched."""
    settings = kopf.OperatorSettings()
    watched = list(operator.intake.sources.values())
    handlers.configure(settings, watched)
    for source in watched:
        resource = _resource(source)
        assert list(settings.watching.label_selectors.collect(resource)) == (
            [source.selector] if source.selector else []
        )
        wanted = source.resource.field_selector
        assert list(settings.watching.field_selectors.collect(resource)) == ([wanted] if wanted else [])


def test_settings_that_keep_it_from_writing(operator: app.Operator) -> None:
    settings = kopf.OperatorSettings()
    handlers.configure(settings, [])
    assert settings.peering.standalone
    assert settings.scanning.disabled
    assert not settings.posting.enabled
    assert isinstance(settings.persistence.diffbase_storage, handlers.NoDiffBase)
    assert isinstance(settings.persistence.progress_storage, handlers.NoProgress)
    assert settings.watching.inactivity_timeout < settings.watching.server_timeout  # type: ignore[operator]


def test_all_five_kinds_are_reconciled(operator: app.Operator) -> None:
    kinds = {"TrainingPipeline", "TrainingRun", "ModelVersion", "ModelDeployment", "ModelMonitor"}
    assert set(operator.intake.queues) == kinds


def _resource(source: Source) -> references.Resource:
    r = source.resource
    return references.Resource(
        group=r.group,
        version=r.version,
        plural=r.plural,
        kind=r.kind,
        singular=r.kind.lower(),
        shortcuts=frozenset(),
        categories=frozenset(),
        namespaced=True,
        preferred=True,
        verbs=frozenset(["list", "watch", "patch"]),
    )
