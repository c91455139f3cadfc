"""Whether webhooks take the alerts, as a condition; absent where spec names none.

Of what the monitor's pod says only names that spec has, kinds of problems and numbers are used: a message here holds no
address and no text of a receiver.
"""

from __future__ import annotations

from tidemill.core.conditions import Condition
from tidemill.monitoring.snapshot import Snapshot
from tidemill.monitoring.state import ALERTS_DELIVERED
from tidemill_contracts.counts import counted, does
from tidemill_contracts.notices import DeliveryProblem, WebhookReport

_PROBLEMS: dict[DeliveryProblem, str] = {
    "NoKey": "its Secret has no entry key that can be read",
    "AddressRefused": "its address may not be called: one in the cluster must be named by TIDEMILL_WEBHOOK_TARGETS of "
    "the operator, a public one must be https",
    "NotReachable": "nothing answers at its address in time, or not with a certificate that is trusted",
    "NotTaken": "its receiver does not take messages",
}


def delivered(snapshot: Snapshot) -> Condition | None:
    """The condition; None without webhooks, or where the monitor is one that does not report it."""
    report = snapshot.reading.report
    if snapshot.spec.notify is None or report is None or report.webhooks is None:
        return None
    found = {webhook.name: webhook for webhook in report.webhooks}
    known = [found[webhook.name] for webhook in snapshot.spec.notify.webhooks if webhook.name in found]
    failed = [_text(webhook, webhook.problem) for webhook in known if webhook.problem is not None]
    if failed:
        text = "; ".join(failed)
        return Condition(ALERTS_DELIVERED, "False", "MessagesNotTaken", text)
    if not known:
        return Condition(ALERTS_DELIVERED, "Unknown", "NothingSent", "there was no alert to send yet")
    rest = len(snapshot.spec.notify.webhooks) - len(known)
    nothing = f"; to {counted(rest, 'webhook')} there was none yet" if rest else ""
    text = f"the newest message was taken by {', '.join(webhook.name for webhook in known)}{nothing}"
    return Condition(ALERTS_DELIVERED, "True", "MessagesTaken", text)


def _text(webhook: WebhookReport, problem: DeliveryProblem) -> str:
    status = webhook.http_status
    answer = f" (HTTP status {status})" if status is not None and 100 <= status <= 999 else ""
    waits = does(webhook.waiting, "message", "waits and is sent again", "wait and are sent again")
    return f"webhook {webhook.name}: {_PROBLEMS[problem]}{answer}; {waits}"
