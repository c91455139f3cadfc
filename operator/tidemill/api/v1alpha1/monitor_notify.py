"""Where a ModelMonitor sends messages about its alerts."""

from typing import Annotated, Literal

from pydantic import Field

from tidemill.api.base import SET, LabelName, Model, SecretRef, list_map


class Webhook(Model):
    """An address that receives a message when an alert begins and when it ends."""

    name: LabelName
    """Name of the webhook, unique in the list."""
    url: Annotated[str, Field(max_length=1024, pattern=r"^https?://[^/@?#\s]+(/[^#\s]*)?$")]
    """Address to which alerts are posted. Addresses outside of the cluster must be https. Private addresses must be
    allowed by an administrator with the setting TIDEMILL_WEBHOOK_TARGETS of the operator. Redirects are not
    followed."""
    secret_ref: SecretRef
    """Secret with one entry named key. Each message is signed with it by HMAC-SHA256 (header X-Tidemill-Signature)."""
    severities: Annotated[list[Literal["Page", "Ticket"]], Field(min_length=1, max_length=2, json_schema_extra=SET)] = [
        "Page"
    ]
    """Which alerts are sent. Page: worse predictions or broken data. Ticket: everything else, for example drift."""
    format: Literal["Event", "Alertmanager"] = "Event"
    """Form of a message. Event: one JSON object, when an alert begins and when it ends. Alertmanager: alerts of the
    API v2 of Alertmanager, repeated every minute while the alert lasts; url ends in /api/v2/alerts."""


class Notify(Model):
    """Receivers of alerts besides Prometheus."""

    webhooks: Annotated[list[Webhook], Field(min_length=1, max_length=10, json_schema_extra=list_map("name"))]
    """Addresses to which the monitor's pod sends a message about each alert."""
