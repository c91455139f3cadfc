"""Service level objectives: from counters of the router to error budgets, burn rates and the condition SLOBreached.

Each reading adds what was counted since the one before to a history of a bounded number of spans, five minutes long
where they are new and a day where they are old. All of it is in the status, so that a restart loses nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from tidemill.api.v1alpha1.model_deployment import ModelDeploymentSpec, ModelDeploymentStatus
from tidemill.api.v1alpha1.objectives import (
    MAX_COUNTERS,
    BurnRate,
    Objectives,
    ObjectivesStatus,
    ObjectiveStatus,
    RequestCounters,
    RequestHistory,
)
from tidemill.core.conditions import Condition
from tidemill.serving.router_stats import ClusterStats, Scrape, edge_of
from tidemill.serving.snapshot import Snapshot
from tidemill_contracts.burn_rates import BUDGET_SPENT, MIN_BAD, RULES, WINDOWS, BurnRateRule
from tidemill_contracts.counts import counted

SLO_BREACHED = "SLOBreached"
NO_REQUESTS = "NoRequests"
NOT_MEASURED = "NotMeasured"
WITHIN = "WithinObjectives"
REASONS = frozenset({NO_REQUESTS, NOT_MEASURED, WITHIN, BUDGET_SPENT, *(rule.reason for rule in RULES)})

READ_SECONDS = 60.0
"""How often the counters are read, and the status written at most for that."""
SILENT_SECONDS = 900.0
"""After so long without an answer of the router nothing is known of the present."""
RETRY_SECONDS = 15.0
"""When they are read again after no router pod answered."""
SLOT_SECONDS = 300
TIERS = ((9_000, SLOT_SECONDS), (28_800, 1_800), (345_600, 7_200))
"""Up to which age, in seconds, spans have which length; beyond that a day. The beginnings of windows lie in finer
spans: 2h and less in those of five minutes, 6h in half hours, 1d and 3d in two hours. A window begins with a whole
span, so it is longer by up to one: a twelfth at most, but for 5m and 30m, and a day for the budget's."""
DAY_SECONDS = 86_400
MAX_SPREAD = 864
"""Spans over which requests are spread that came while nobody read: three days."""
LARGEST = 2**53
_SLACK = 1 - 1e-9  # 0.999 has no exact form, and a rate that is the factor counts


@dataclass(frozen=True, slots=True)
class Slot:
    """Requests of one span of time."""

    start: int
    seconds: int
    requests: int = 0
    errors: int = 0
    timed: int = 0
    slow: int = 0

    @property
    def end(self) -> int:
        """The end of the span, exclusive."""
        return self.start + self.seconds

    def plus(self, other: Slot) -> Slot:
        """The same span with the requests of both."""
        return replace(
            self,
            requests=min(self.requests + other.requests, LARGEST),
            errors=min(self.errors + other.errors, LARGEST),
            timed=min(self.timed + other.timed, LARGEST),
            slow=min(self.slow + other.slow, LARGEST),
        )


def is_due(spec: ModelDeploymentSpec, status: ModelDeploymentStatus, now: datetime) -> bool:
    """Whether the router's counters are to be read for the objectives."""
    if spec.slo is None or spec.suspend or status.stable is None:
        return False
    return status.slo is None or not timedelta(0) <= now - status.slo.time < timedelta(seconds=READ_SECONDS)


def due_in(snapshot: Snapshot) -> float | None:
    """Seconds until the counters are to be read after this look; None where they are not."""
    spec, status = snapshot.spec, snapshot.status
    if spec.slo is None or spec.suspend or status.stable is None:
        return None
    if is_due(spec, status, snapshot.now):
        return READ_SECONDS if snapshot.router.scrapes else RETRY_SECONDS
    assert status.slo is not None  # noqa: S101  else it is due
    return max(READ_SECONDS - (snapshot.now - status.slo.time).total_seconds(), 1.0)


def measured(snapshot: Snapshot) -> ObjectivesStatus | None:
    """What the status says of the objectives as of now; None without objectives, or before the first reading."""
    wanted, known = snapshot.spec.slo, snapshot.status.slo
    if wanted is None:
        return None
    scrapes = snapshot.router.scrapes
    edge = wanted.latency.milliseconds if wanted.latency else None
    if not scrapes or not is_due(snapshot.spec, snapshot.status, snapshot.now):
        return None if known is None else _judged(wanted, known, _slots(known, edge), known.time)
    before = {(c.pod, c.service): c for c in known.counters} if known is not None else {}
    if known is not None and known.latency_milliseconds != edge:
        before = {key: c.model_copy(update={"timed": None, "slow": None}) for key, c in before.items()}
    now = _counters(scrapes, edge)
    born = {pod.name: pod.created for pod in snapshot.router.pods}
    slots = _slots(known, edge)
    if known is not None:
        fresh = {pod for pod, created in born.items() if created is not None and created >= known.time}
        added = Slot(0, 0)
        for key, counters in now.items():
            added = added.plus(_since(counters, before.get(key), is_new=key[0] in fresh or _has_pod(before, key[0])))
        slots = [*slots, *spread(added, known.time, snapshot.now)]
    # A pod that did not answer now is counted from its last answer; one that is gone is forgotten.
    kept = {key: c for key, c in before.items() if key[0] in born and key[0] not in scrapes}
    found = ObjectivesStatus(
        since=known.since if known is not None else snapshot.now,
        time=snapshot.now,
        latency_milliseconds=edge,
        counters=[c for _, c in sorted((kept | now).items())][:MAX_COUNTERS],
    )
    return _judged(wanted, found, compacted(slots, snapshot.now, wanted.window_days), snapshot.now)


def _has_pod(before: Mapping[tuple[str, str], RequestCounters], pod: str) -> bool:
    """Whether a router pod was read before: a version that it had not then has counted from zero."""
    return any(name == pod for name, _ in before)


def _counters(scrapes: Mapping[str, Scrape], edge: int | None) -> dict[tuple[str, str], RequestCounters]:
    return {
        (pod, service): _read(pod, service, stats, edge)
        for pod, scrape in scrapes.items()
        for service, stats in scrape.clusters.items()
    }


def _read(pod: str, service: str, stats: ClusterStats, edge: int | None) -> RequestCounters:
    timed = slow = None
    total = int(stats.buckets.get(math.inf, 0))
    if edge is not None and (not stats.buckets or edge_of(edge) in stats.buckets):
        timed, slow = total, max(total - int(stats.buckets.get(edge_of(edge), 0)), 0)
    return RequestCounters(
        pod=pod, service=service, requests=int(stats.requests), errors=int(stats.errors), timed=timed, slow=slow
    )


def _since(now: RequestCounters, before: RequestCounters | None, *, is_new: bool) -> Slot:
    """What was counted between two readings. `is_new`: without one before, all of it is new; else none is."""
    if before is None:
        return Slot(0, 0, now.requests, now.errors, now.timed or 0, now.slow or 0) if is_new else Slot(0, 0)
    counts = (now.requests, now.errors, now.timed or 0, now.slow or 0)
    earlier = (before.requests, before.errors, before.timed or 0, before.slow or 0)
    is_timed = now.timed is not None and before.timed is not None
    if any(n < e for n, e in zip(counts[:2], earlier[:2], strict=True)):
        return Slot(0, 0, *counts)  # the router pod was restarted: it counts from zero
    requests, errors, timed, slow = (n - e for n, e in zip(counts, earlier, strict=True))
    if not is_timed:
        timed = slow = 0
    elif timed < 0 or slow < 0:
        timed, slow = counts[2:]
    return Slot(0, 0, requests, min(errors, requests), timed, min(slow, timed))


def spread(added: Slot, since: datetime, now: datetime) -> list[Slot]:
    """The requests that came between two readings, in spans of five minutes: evenly, when nobody read for longer."""
    last = int(now.timestamp()) // SLOT_SECONDS
    first = max(int(since.timestamp()) // SLOT_SECONDS + 1, last - MAX_SPREAD + 1)
    places = range(min(first, last), last + 1)
    count = len(places)

    def part(total: int, place: int) -> int:
        return total * (place + 1) // count - total * place // count

    return [
        Slot(
            place * SLOT_SECONDS,
            SLOT_SECONDS,
            *(part(n, i) for n in (added.requests, added.errors, added.timed, added.slow)),
        )
        for i, place in enumerate(places)
    ]


def compacted(slots: Iterable[Slot], now: datetime, window_days: int) -> list[Slot]:
    """The slots with those joined that are old enough for longer spans, without those beyond the budget's window."""
    at = int(now.timestamp())
    oldest = at - window_days * DAY_SECONDS
    joined: dict[int, Slot] = {}
    for slot in slots:
        age = at - slot.end
        seconds = max(slot.seconds, next((length for limit, length in TIERS if age < limit), DAY_SECONDS))
        start = slot.start // seconds * seconds
        if start + seconds <= oldest or not (slot.requests or slot.timed) or slot.start > at:
            continue
        wider = replace(slot, start=start, seconds=seconds)
        known = joined.get(start)
        joined[start] = wider if known is None else replace(wider, seconds=max(seconds, known.seconds)).plus(known)
    return [joined[start] for start in sorted(joined)]


def window(slots: Sequence[Slot], seconds: int, now: datetime) -> Slot:
    """The requests of the spans that end after the beginning of a window."""
    begin = now.timestamp() - seconds
    total = Slot(0, 0)
    for slot in slots:
        if slot.end > begin:
            total = total.plus(slot)
    return total


def _slots(known: ObjectivesStatus | None, edge: int | None) -> list[Slot]:
    """The recorded history; its response times are dropped where they were counted by another objective."""
    if known is None:
        return []
    of = known.history
    rows = zip(of.starts, of.seconds, of.requests, of.errors, of.timed, of.slow, strict=False)
    slots = [Slot(*row) for row in rows if row[1] > 0]
    if known.latency_milliseconds == edge:
        return slots
    return [replace(slot, timed=0, slow=0) for slot in slots]


def _judged(wanted: Objectives, found: ObjectivesStatus, slots: Sequence[Slot], now: datetime) -> ObjectivesStatus:
    history = RequestHistory(
        starts=[s.start for s in slots],
        seconds=[s.seconds for s in slots],
        requests=[s.requests for s in slots],
        errors=[s.errors for s in slots],
        timed=[s.timed for s in slots],
        slow=[s.slow for s in slots],
    )
    parts = {"availability": None, "latency": None} | {
        name: _objective(name, objective, slots, wanted.window_days, now) for name, objective in shares(wanted).items()
    }
    left = [part.budget_left for part in parts.values() if part is not None and part.budget_left is not None]
    edge = wanted.latency.milliseconds if wanted.latency else None
    return found.model_copy(
        update={"history": history, "budget_left": min(left, default=None), "latency_milliseconds": edge, **parts}
    )


def shares(wanted: Objectives) -> dict[str, float]:
    """The share of good requests that each objective asks for, by its name in spec and status."""
    found = {} if wanted.availability is None else {"availability": wanted.availability}
    return found | ({} if wanted.latency is None else {"latency": wanted.latency.quantile})


def _of(name: str, slot: Slot) -> tuple[int, int]:
    """Requests and bad ones of a span, as an objective counts them."""
    return (slot.requests, slot.errors) if name == "availability" else (slot.timed, slot.slow)


def _objective(name: str, objective: float, slots: Sequence[Slot], days: int, now: datetime) -> ObjectiveStatus:
    requests, bad = _of(name, window(slots, days * DAY_SECONDS, now))
    rates = []
    for text, seconds in WINDOWS.items():
        total, wrong = _of(name, window(slots, seconds, now))
        if total:
            rates.append(BurnRate(window=text, rate=round(burn(total, wrong, objective), 3)))
    left = round(1 - burn(requests, bad, objective), 4) if requests else None
    return ObjectiveStatus(objective=objective, requests=requests, bad=bad, budget_left=left, burn_rates=rates)


def burn(requests: int, bad: int, objective: float) -> float:
    """The share of bad requests, divided by the share that the objective allows."""
    return bad / requests / (1 - objective)


def condition(snapshot: Snapshot, found: ObjectivesStatus | None) -> Condition | None:
    """Whether a budget is used too fast or used up; only with objectives."""
    wanted = snapshot.spec.slo
    if wanted is None:
        return None
    parts = [] if found is None else [(name, getattr(found, name)) for name in shares(wanted)]
    if found is None or not any(part.requests for _, part in parts):
        return Condition(SLO_BREACHED, "Unknown", NO_REQUESTS, "the router has counted no request for the objectives")
    silent = (snapshot.now - found.time).total_seconds()
    if silent > SILENT_SECONDS and not snapshot.spec.suspend:
        text = f"no pod of the router has answered for {silent:.0f} s; {_left(found, wanted)}"
        return Condition(SLO_BREACHED, "Unknown", NOT_MEASURED, text)
    slots = _slots(found, found.latency_milliseconds)
    for rule in RULES:
        for name, objective in shares(wanted).items():
            burning = _burning(rule, name, objective, slots, found.time)
            if burning is not None:
                return Condition(SLO_BREACHED, "True", rule.reason, f"{burning}; {_left(found, wanted)}")
    for name, part in parts:
        if part.budget_left is not None and part.budget_left <= 0 and part.bad >= MIN_BAD:
            text = f"the error budget of {name} is used up: {counted(part.bad, 'request')} of {part.requests} were bad"
            return Condition(SLO_BREACHED, "True", BUDGET_SPENT, f"{text}; {_left(found, wanted)}")
    return Condition(SLO_BREACHED, "False", WITHIN, _left(found, wanted))


def _burning(rule: BurnRateRule, name: str, objective: float, slots: Sequence[Slot], now: datetime) -> str | None:
    rates = []
    for text in rule.windows:
        requests, bad = _of(name, window(slots, WINDOWS[text], now))
        if not requests or burn(requests, bad, objective) < rule.factor * _SLACK:
            return None
        if text == rule.long and bad < MIN_BAD:
            return None
        rates.append(f"{burn(requests, bad, objective):.3g} in {text}")
    return f"the error budget of {name} burns at {' and '.join(rates)}, limit {rule.factor:g}"


def _left(found: ObjectivesStatus, wanted: Objectives) -> str:
    parts = []
    for name in shares(wanted):
        part: ObjectiveStatus | None = getattr(found, name)
        if part is not None and part.budget_left is not None:
            parts.append(f"{name} {100 * part.budget_left:.3g}%")
    since = max(found.since, found.time - timedelta(days=wanted.window_days)).astimezone(UTC)
    return f"budget left since {since:%Y-%m-%d %H:%MZ}: {', '.join(parts) or 'not known'}"
