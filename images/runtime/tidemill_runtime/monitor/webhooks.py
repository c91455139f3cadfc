"""Sends alerts to webhooks: signed, to addresses that are checked when they are dialled, without redirects.

Public addresses are reached by HTTPS only. Private ones, so those of the cluster, only where an administrator has named
host and port. Addresses of the pod, its node and the cloud's metadata are never dialled.
"""

import hashlib
import hmac
import http.client
import ipaddress
import json
import socket
import ssl
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final
from urllib.parse import urlsplit

from tidemill_contracts.notices import SIGNATURE_HEADER, AlertNotice, DeliveryProblem, WebhookConfig
from tidemill_runtime.network import addresses

TIMEOUT_SECONDS: Final = 10.0
LASTS_SECONDS: Final = 300.0
"""For how long Alertmanager believes one message; it is repeated sooner."""
_MAX_ANSWER: Final = 64 * 1024


class DeliveryError(Exception):
    """A message that was not taken. Its text names no address and no content of the answer."""

    def __init__(self, text: str, problem: DeliveryProblem, http_status: int | None = None) -> None:
        """`problem`: the same as the text, as it is reported; `http_status`: of an answer."""
        super().__init__(text)
        self.problem = problem
        self.http_status = http_status


def body(webhook: WebhookConfig, alert: AlertNotice, ended: float | None, now: float) -> bytes:
    """Return the message that an alert began, or ended."""
    if webhook.format == "Alertmanager":
        labels = {"alertname": alert.alert, "severity": alert.severity.lower(), **alert.labels}
        annotations = {"summary": alert.summary, "description": alert.message, "runbook_url": alert.runbook}
        ends = now + LASTS_SECONDS if ended is None else ended
        entry = {
            "labels": labels,
            "annotations": {name: text for name, text in annotations.items() if text},
            "startsAt": _time(alert.start),
            "endsAt": _time(ends),
        }
        return json.dumps([entry]).encode()
    document = {
        "version": 1,
        "id": alert.id,
        "status": "Firing" if ended is None else "Ended",
        "alert": alert.alert,
        "severity": alert.severity,
        "start": _time(alert.start),
        "end": None if ended is None else _time(ended),
        "summary": alert.summary,
        "message": alert.message,
        "runbook": alert.runbook,
        "labels": alert.labels,
    }
    return json.dumps(document).encode()


def signature(key: bytes, message: bytes, now: float) -> str:
    """Return the value of the header that proves who sent a message, and when."""
    at = int(now)
    return f"t={at},v1={hmac.new(key, b'%d.' % at + message, hashlib.sha256).hexdigest()}"


def deliver(webhook: WebhookConfig, message: bytes, key: bytes, now: float, targets: Sequence[str] = ()) -> None:
    """Post a message once.

    Raises:
        DeliveryError: it was not taken; another try may help.
    """
    url = urlsplit(webhook.url)
    host = url.hostname or ""
    secure = url.scheme == "https"
    try:
        port = url.port or (443 if secure else 80)
        sock = _connect(host, port, secure=secure, targets=targets)
        connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT_SECONDS)
        connection.sock = sock
        headers = {
            "content-type": "application/json",
            "user-agent": "tidemill-monitor",
            SIGNATURE_HEADER: signature(key, message, now),
        }
        try:
            connection.request("POST", (url.path or "/") + (f"?{url.query}" if url.query else ""), message, headers)
            answer = connection.getresponse()
            answer.read(_MAX_ANSWER)
        finally:
            connection.close()
    except addresses.RefusedError as error:
        raise DeliveryError(
            "it is an address of the pod, its node or the cloud's metadata", "AddressRefused"
        ) from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise DeliveryError(type(error).__name__, "NotReachable") from error
    if not 200 <= answer.status < 300:
        raise DeliveryError(f"it answered {answer.status}", "NotTaken", answer.status)


def _connect(host: str, port: int, *, secure: bool, targets: Sequence[str]) -> socket.socket:
    is_named = f"{host}:{port}" in targets
    problem: Exception = DeliveryError("its name has no address", "NotReachable")
    for family, place in addresses.addresses(host, port):
        address = ipaddress.ip_address(str(place[0]).partition("%")[0])
        if not is_named and not address.is_global:
            text = "it has a private address that TIDEMILL_WEBHOOK_TARGETS does not name"
            problem = DeliveryError(text, "AddressRefused")
            continue
        if not is_named and not secure:
            problem = DeliveryError("a public address must be https", "AddressRefused")
            continue
        found = socket.socket(socket.AddressFamily(family), socket.SOCK_STREAM)
        found.settimeout(TIMEOUT_SECONDS)
        try:
            found.connect(place)
            return ssl.create_default_context().wrap_socket(found, server_hostname=host) if secure else found
        except OSError as error:
            found.close()
            problem = error
    raise problem


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
