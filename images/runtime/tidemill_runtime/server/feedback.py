"""The truth about predictions, passed on to the monitor while the client waits.

Acknowledged only when the monitor stored it; nothing is kept here, so nothing can be lost here.
"""

import orjson
from pydantic import ValidationError

from tidemill_contracts.inference import FEEDBACK_PATH, Feedback
from tidemill_runtime.server.errors import BadRequestError, ServingError, UnavailableError
from tidemill_runtime.server.frame import shown
from tidemill_runtime.server.monitorclient import MonitorAwayError, MonitorClient

MAX_ENTRIES = 1000


def decode(body: bytes) -> list[Feedback]:
    """Return the entries of `{"id", "label"}` or of a list of them.

    Raises:
        BadRequestError: names the entry and the field.
    """
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadRequestError(f"the body is not valid JSON: {error}") from None
    entries = document if isinstance(document, list) else [document]
    if not 0 < len(entries) <= MAX_ENTRIES:
        raise BadRequestError(f"expected 1 to {MAX_ENTRIES} entries, got {len(entries)}")
    return [_entry(entry, f"[{i}]" if isinstance(document, list) else "") for i, entry in enumerate(entries)]


def _entry(entry: object, where: str) -> Feedback:
    if not isinstance(entry, dict):
        raise BadRequestError(f"{where or 'the body'}: expected an object with id and label, got {shown(entry)}")
    try:
        feedback = Feedback.model_validate(entry, strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        field = f"{where}.{first['loc'][0]}".lstrip(".")
        raise BadRequestError(f'{field}: {first["msg"]}; expected {{"id": string, "label": value}}') from None
    if not feedback.id or feedback.label is None:
        raise BadRequestError(f"{where}.{'label' if feedback.id else 'id'}: must not be empty".lstrip("."))
    return feedback


async def forward(entries: list[Feedback], client: MonitorClient | None) -> int:
    """Return how many entries the monitor stored: all of them.

    Raises:
        ServingError: what the monitor said (404 for an unknown id), 503 when it does not answer. Entries before
            the refused one are stored; sending them again changes nothing.
    """
    if client is None:
        raise UnavailableError("no monitor watches this deployment, so feedback cannot be stored", retry_after=30)
    for i, entry in enumerate(entries):
        body = orjson.dumps({"id": entry.id, "label": entry.label})
        try:
            status, answer = await client.post(FEEDBACK_PATH, body)
        except MonitorAwayError as error:
            raise UnavailableError("the monitor does not answer; nothing was stored", retry_after=5) from error
        if status >= 300:
            where = f"[{i}]: " if len(entries) > 1 else ""
            raise _refusal(status, where + _message(answer))
    return len(entries)


def _refusal(status: int, message: str) -> ServingError:
    if 400 <= status < 500 and status != 429:
        refusal = ServingError(message)
        refusal.status = status if status in (400, 404, 409) else 400
        return refusal
    return UnavailableError(f"the monitor could not store it: {message}", retry_after=5)


def _message(answer: bytes) -> str:
    try:
        document = orjson.loads(answer)
    except orjson.JSONDecodeError:
        return "no explanation given"
    error = document.get("error") if isinstance(document, dict) else None
    return error if isinstance(error, str) else "no explanation given"
