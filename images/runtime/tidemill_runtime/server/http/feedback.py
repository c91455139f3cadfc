"""The truth about predictions, passed on to the monitor while the client waits.

The monitor's answer is the client's answer: acknowledged only when stored. Nothing is kept or checked
here, so nothing can be lost here and both sides cannot disagree on what feedback is.
"""

from typing import Any

import orjson

from tidemill_contracts.access import CLIENT_HASH_HEADER, CLIENT_HEADER
from tidemill_contracts.inference import FEEDBACK_PATH
from tidemill_runtime.model.errors import UnavailableError
from tidemill_runtime.predictionlog.client import MonitorClient, MonitorUnavailableError

REFUSALS = frozenset(
    {400, 409, 413}
)  # what the monitor itself finds wrong with a body; all else is about the way to it


async def forward(
    body: bytes, client: MonitorClient | None, sender: str | None = None, sender_hash: str | None = None
) -> tuple[int, dict[str, Any]]:
    """Return status and body of the monitor's answer: 202 stored, 200 known already, 400, 409, 413 with a reason.

    `sender`: who sent it, as a feedback key has shown; `sender_hash`: the same, or whom an API key has shown, as the
    keyed hash that records hold.

    Raises:
        UnavailableError: there is no monitor, or it cannot store anything now.
    """
    if client is None:
        raise UnavailableError("no monitor watches this deployment, so feedback cannot be stored", retry_after=30)
    named = ((CLIENT_HEADER, sender), (CLIENT_HASH_HEADER, sender_hash))
    try:
        headers = {name: value for name, value in named if value}
        status, content = await client.post(FEEDBACK_PATH, body, headers or None)
    except MonitorUnavailableError as error:
        raise UnavailableError("the monitor does not answer; nothing was stored", retry_after=5) from error
    document = _object(content)
    if status < 300:
        return status, document
    if status not in REFUSALS:
        why = _reason(document, f"its address answers {status}")
        raise UnavailableError(f"the monitor cannot store it now: {why}", retry_after=5)
    return status, {**document, "error": _reason(document, "no reason given")}


def _object(content: bytes) -> dict[str, Any]:
    try:
        document = orjson.loads(content)
    except orjson.JSONDecodeError:
        return {}
    return document if isinstance(document, dict) else {}


def _reason(document: dict[str, Any], otherwise: str) -> str:
    error = document.get("error")
    return error if isinstance(error, str) else otherwise
