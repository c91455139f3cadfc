"""What is said of clients that may game the system: a condition with kind and evidence, and no names.

The monitor's pod has found it; here it becomes words. It causes no action.
"""

from __future__ import annotations

from tidemill.core.conditions import Condition
from tidemill.monitoring.snapshot import Snapshot
from tidemill.monitoring.state import GAMING
from tidemill_contracts.access import is_client_hash
from tidemill_contracts.counts import counted, does
from tidemill_contracts.gaming import REPORTED_CLIENTS, ClientReport, GamingFinding, Kind
from tidemill_contracts.rounding import exact, percent, rounded

_SHOWN = 5
_SHARES: dict[Kind, str] = {
    "NearDuplicates": "of {of} nearly equal an earlier one (maxNearDuplicateShare {limit})",
    "LabelShare": "of {of} came from it (maxLabelShareOfClient {limit})",
    "ForeignLabels": "of {of} are for predictions of others (maxForeignLabelShare {limit})",
}


def conditions(snapshot: Snapshot) -> list[Condition]:
    """The condition; nothing where spec does not ask."""
    if snapshot.spec.gaming is None:
        return []
    if snapshot.served is not None and not snapshot.served.has_keys:
        text = f"ModelDeployment {snapshot.spec.deployment} has no spec.access, so no client is known"
        return [Condition(GAMING, "Unknown", "ClientsNotKnown", text)]
    report = snapshot.reading.report
    found = report.gaming if report is not None else None
    if found is None or found.known == 0:
        text = "no prediction and no label of a client with a key has arrived yet"
        return [Condition(GAMING, "Unknown", "ClientsNotKnown", text)]
    suspected = suspects(snapshot)
    if not suspected:
        return [Condition(GAMING, "False", "NobodySuspected", f"nobody of {counted(found.known, 'client')}")]
    more = max(found.suspected - _SHOWN, 0)
    texts = [_client(client) for client in suspected[:_SHOWN]] + ([f"{more} more"] if more else [])
    of = f"{does(found.suspected, 'client', 'is', 'are')} suspected, of {found.known}"
    return [Condition(GAMING, "True", "ClientsSuspected", f"{of}: {'; '.join(texts)}")]


def suspects(snapshot: Snapshot) -> list[ClientReport]:
    """The clients that the monitor suspects, as far as it may have reported them; none where spec does not ask."""
    report = snapshot.reading.report if is_judged(snapshot) else None
    found = report.gaming.clients if report is not None and report.gaming is not None else ()
    return [client for client in found if client.findings and is_client_hash(client.client)][:REPORTED_CLIENTS]


def remembered(snapshot: Snapshot) -> list[str]:
    """Hashes of the suspects; without a report those of the last one: pipelines leave their rows out meanwhile, too."""
    if is_judged(snapshot) and snapshot.reading.report is None:
        return list(snapshot.status.suspected_clients)
    return [client.client for client in suspects(snapshot)]


def is_judged(snapshot: Snapshot) -> bool:
    """Whether spec asks, and clients are known by their keys."""
    return snapshot.spec.gaming is not None and (snapshot.served is None or snapshot.served.has_keys)


def _client(client: ClientReport) -> str:
    return f"{client.client}: {', '.join(_evidence(finding) for finding in client.findings)}"


def _evidence(finding: GamingFinding) -> str:
    value, limit, kind = finding.value, finding.limit, finding.kind
    if kind == "PredictionRate":
        rate = rounded(value, 3, limit)
        return f"PredictionRate, {rate} predictions in a minute (maxPredictionsPerMinute {exact(limit)})"
    if kind == "LabelMix":
        expected = finding.expected or 0.0
        labels = counted(finding.of, "label")
        text = f"{value:.0%} of {labels} agree with the predictions, {expected:.0%} of those of others"
        return f"LabelMix, {text} at the same scores (maxLabelDifference {exact(limit)})"
    of = counted(finding.of, "row" if kind == "NearDuplicates" else "label")
    return f"{kind}, {percent(value, limit)} " + _SHARES[kind].format(of=of, limit=exact(limit))
