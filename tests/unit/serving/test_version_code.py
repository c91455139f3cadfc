"""Functions and classes of the training code inside a model run in servers only with spec.server.allowCode."""

from dataclasses import replace
from typing import Any

import pytest
from tests.unit.serving.make import candidate, decide, snapshot, stable, version, workload
from tests.unit.serving.test_builders import config_of

from tidemill.serving import plan
from tidemill.serving.builders import server
from tidemill.serving.snapshot import Snapshot
from tidemill.serving.status import REASONS

CODE = version(2, formats=("skops-code",))
ALLOWED = {"server": {"allowCode": True}}


def deployed(spec: dict[str, Any] | None = None, **status: Any) -> Snapshot:
    workloads = (workload(1), replace(workload(2), version=CODE))
    return snapshot(spec, status, versions=(version(1), CODE), workloads=workloads)


def stalled(found: Snapshot) -> tuple[str, str]:
    status = plan.plan(found).status
    assert status is not None
    return next(((c["reason"], c["message"]) for c in status["conditions"] if c["type"] == "Stalled"), ("", ""))


def test_without_the_field_it_stalls_and_names_it_while_the_stable_one_serves_on() -> None:
    found = deployed(stable=stable(1))
    reason, message = stalled(found)
    assert reason == "CodeNotAllowed"
    assert reason in REASONS
    assert "spec.server.allowCode: true" in message
    assert "churn-2 (forms: skops-code)" in message
    assert decide(found)[1] == []


def test_a_pickle_opt_in_does_not_allow_code() -> None:
    assert stalled(deployed({"server": {"allowPickle": True}}, stable=stable(1)))[0] == "CodeNotAllowed"


def test_with_the_field_it_rolls_out() -> None:
    assert decide(deployed(ALLOWED, stable=stable(1)))[1] == ["RolloutStarted", "Promoted"]


def test_a_candidate_goes_when_the_field_is_taken_back_and_is_not_held_to_be_bad() -> None:
    state, events = decide(deployed(stable=stable(1), candidate=candidate(2, 0, step_started=5)))
    assert (state.candidate, state.failed, events) == (None, (), ["CodeNotAllowed"])


@pytest.mark.parametrize(("formats", "allowed"), [(("skops-code",), True), (("skops",), False)])
def test_servers_are_told_only_where_the_version_has_code(formats: tuple[str, ...], allowed: bool) -> None:
    """A field that other versions do not need restarts none of their pods."""
    found = snapshot(ALLOWED)
    config = config_of(server.pod_spec(found, version(1, formats=formats)))
    assert config.allow_code is allowed
    assert not config_of(server.pod_spec(snapshot({}), version(1, formats=formats))).allow_code


def test_servers_are_told_what_to_do_with_extra_columns() -> None:
    assert config_of(server.pod_spec(snapshot({}), version(1))).extra_columns == "Refuse"
    ignoring = snapshot({"server": {"extraColumns": "Ignore"}})
    assert config_of(server.pod_spec(ignoring, version(1))).extra_columns == "Ignore"
