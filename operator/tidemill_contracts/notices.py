"""Alerts for webhooks, on their way from the operator, which decides them, to the monitor, which sends them.

The operator lists the alerts that are true now in a mounted file; the monitor remembers what it has told whom. An alert
that is no longer listed has ended.
"""

from typing import Final, Literal

from tidemill_contracts.base import Document

ALERTS_KEY: Final = "alerts.json"  # beside the digests in service: a JSON list of Alert
WEBHOOKS_ROOT: Final = "/mnt/webhooks"
"""Where the monitor finds the key of each webhook: <root>/<name>/key."""
KEY_ENTRY: Final = "key"  # of the Secret, and the file's name
SIGNATURE_HEADER: Final = "x-tidemill-signature"
"""`t=<seconds since the epoch>,v1=<hex HMAC-SHA256 of "<t>.<body>">`."""
MAX_WEBHOOKS: Final = 10

NoticeSeverity = Literal["Page", "Ticket"]
WebhookFormat = Literal["Event", "Alertmanager"]
DeliveryProblem = Literal["NoKey", "AddressRefused", "NotReachable", "NotTaken"]
"""Why a message has not arrived: its Secret has no key, the address may not be called, nothing answers there in time or
with a certificate that is trusted, or the receiver answers that it does not take it."""


class AlertNotice(Document):
    """An alert that is true now."""

    id: str  # the same for as long as it is true, another one the next time
    alert: str  # its name, as in docs/runbooks.md
    severity: NoticeSeverity
    start: float  # seconds since the epoch
    not_before: float  # when it is told: alerts may have to last for a while
    summary: str
    message: str
    runbook: str = ""
    labels: dict[str, str]


class WebhookConfig(Document):
    """One receiver."""

    name: str
    url: str
    severities: tuple[NoticeSeverity, ...] = ("Page",)
    format: WebhookFormat = "Event"


class WebhookReport(Document):
    """What became of the newest message to one receiver. It has no text of the receiver, nor its address."""

    name: str
    problem: DeliveryProblem | None = None  # None: it was taken
    http_status: int | None = None  # of the answer, where problem is NotTaken
    waiting: int = 0  # messages that were not taken and are sent again
