"""HTTP on top of the monitor: reads bodies within limits, maps outcomes to answers, decides nothing else.

Answers: 202 committed, 200 known already, 400 {"error"} names the field, 401 no token, 409 digest unknown or label
differs, 413 body too large, 415 it is encoded, 503 with Retry-After when too much waits, the version is not in service,
or the database is a newer monitor's; nothing of a refused post is stored, except for the other labels of a list of
which some are out of bounds or differ.
"""

import asyncio
import logging
import sqlite3
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Annotated, Any, Final, TypeVar

import prometheus_client
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from pydantic import FailFast, TypeAdapter, ValidationError, model_validator
from pydantic_core import PydanticCustomError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from tidemill_contracts.access import CLIENT_HASH_HEADER, CLIENT_HEADER
from tidemill_contracts.inference import (
    BATCH_PATH,
    FEEDBACK_PATH,
    PAGE_JSON_PATH,
    PAGE_PATH,
    REFERENCE_PATH,
    REPORT_PATH,
    Feedback,
    PredictionBatch,
    Reference,
)
from tidemill_contracts.ports import PORTS
from tidemill_runtime.monitor import verdict
from tidemill_runtime.monitor.body_limits import Admission, EncodedError, TooLargeError
from tidemill_runtime.monitor.bounds import InvalidBatchError, feedback_problem
from tidemill_runtime.monitor.page import document
from tidemill_runtime.monitor.schema import NewerSchemaError
from tidemill_runtime.monitor.senders import NotServedError, UnauthenticatedError
from tidemill_runtime.monitor.service import FeedbackResult, Monitor
from tidemill_runtime.monitor.writer import BusyError, WriterStoppedError
from tidemill_runtime.monitor.writes import ReferenceConflictError, UnknownDigestError

T = TypeVar("T")

_LOG = logging.getLogger(__name__)
RETRY_AFTER_SECONDS: Final = 1
_SHOWN_CONFLICTS: Final = 20
_FAULTS: Final = (sqlite3.IntegrityError, sqlite3.DataError, sqlite3.InterfaceError, sqlite3.ProgrammingError)
_READ: Final = ["GET", "HEAD"]


class _Label(Feedback):
    """Feedback is written by people: a field that does not exist is refused, the first alone for there may be many."""

    @model_validator(mode="before")
    @classmethod
    def _check_names(cls, given: Any) -> Any:
        names = given if isinstance(given, dict) else ()
        unknown = next((name for name in names if name not in Feedback.model_fields), None)
        if unknown is not None:
            raise PydanticCustomError("unknown", "there is no field {name}", {"name": unknown[:60]})
        return given


_LABEL: Final = TypeAdapter(_Label)
_LABELS: Final = TypeAdapter(Annotated[list[_Label], FailFast()])


class Doors:
    """One application for each port of the monitor: what a connection may ask follows from the port it came in by."""

    def __init__(self, monitor: Monitor, admission: Admission | None, ports: Mapping[str, int]) -> None:
        """`ports`: the number of each port of the monitor by its name in the table of ports, as really bound."""
        self._life = FastAPI(lifespan=_life(monitor))
        apps = create_apps(monitor, admission or Admission())
        self._apps = {number: apps[name] for name, number in ports.items()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one connection's request; start and close the monitor with the server's life."""
        app = self._life if scope["type"] == "lifespan" else self._apps[scope["server"][1]]
        await app(scope, receive, send)


def create_apps(monitor: Monitor, admission: Admission) -> dict[str, FastAPI]:
    """Return what each port of the monitor answers, by the port's name. Bodies share one bound."""
    apps = {port.name: FastAPI(title=f"Tidemill monitor: {port.what}") for port in PORTS["monitor"]}
    for app in apps.values():
        _add_errors(app)
    _add_ingest(apps["http"], monitor, admission)
    _add_feedback(apps["http"], monitor, admission, of_servers=True)
    _add_feedback(apps["feedback"], monitor, admission, of_servers=False)
    _add_report(apps["report"], monitor)
    _add_admin(apps["admin"], monitor)
    return apps


def _life(monitor: Monitor) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        monitor.start()
        yield
        await asyncio.to_thread(monitor.close)

    return life


async def _admitted(admission: Admission, request: Request, handle: Callable[[bytes], "Future[T]"]) -> T:
    async with admission.body(request) as body:
        return await asyncio.wrap_future(await asyncio.to_thread(handle, body))


def _add_ingest(app: FastAPI, monitor: Monitor, admission: Admission) -> None:
    @app.post(BATCH_PATH, status_code=202, openapi_extra=_body(PredictionBatch))
    async def batches(request: Request) -> Response:
        """Count a batch of prediction records; one batch id counts once."""
        monitor.senders.check(request.headers.get("authorization"))
        new = await _admitted(admission, request, lambda body: monitor.add_batch(PredictionBatch.from_json(body)))
        return JSONResponse({"status": "counted" if new else "known"}, 202 if new else 200)

    @app.post(REFERENCE_PATH, status_code=201, openapi_extra=_body(Reference))
    async def references(request: Request) -> Response:
        """Store the reference profile of a version."""
        monitor.senders.check(request.headers.get("authorization"))
        new = await _admitted(admission, request, lambda body: monitor.add_reference(Reference.from_json(body)))
        return JSONResponse({"status": "stored" if new else "known"}, 201 if new else 200)


def _add_feedback(app: FastAPI, monitor: Monitor, admission: Admission, *, of_servers: bool) -> None:
    @app.post(FEEDBACK_PATH, status_code=202, openapi_extra=_body(Feedback))
    async def feedback(request: Request) -> Response:
        """Store one label or a list of labels; those that are out of bounds or differ are refused, others are kept."""
        sender = client = None
        if of_servers:
            monitor.senders.check(request.headers.get("authorization"))
            sender = monitor.senders.named(request.headers.get(CLIENT_HEADER))
            client = monitor.senders.hashed(request.headers.get(CLIENT_HASH_HEADER))
        monitor.check_labeller(sender)
        refused: list[str] = []

        def add(body: bytes) -> "Future[FeedbackResult]":
            labels, problems = parse_feedback(body)
            refused.extend(problems)
            return monitor.add_feedback(labels, authenticated=sender is not None, client=client)

        result = await _admitted(admission, request, add)
        counts: dict[str, Any] = {outcome: result.count(outcome) for outcome in ("joined", "pending", "repeated")}
        if refused:
            if result.conflicts:
                counts["conflicts"] = result.conflicts
            return JSONResponse({"error": "; ".join(refused[:3]), "refused": len(refused), **counts}, 400)
        if result.conflicts:
            shown = ", ".join(result.conflicts[:_SHOWN_CONFLICTS])
            error = f"id: another label is stored for {shown}; a prediction has one label"
            return JSONResponse({"error": error, "conflicts": result.conflicts, **counts}, 409)
        return JSONResponse(counts, 202 if counts["joined"] + counts["pending"] else 200)


def _add_report(app: FastAPI, monitor: Monitor) -> None:
    @app.api_route(REPORT_PATH, methods=_READ)
    def report(digest: str | None = None, brief: bool = False) -> Response:
        """Return scores, quality and performance of each version's newest windows; `brief`: what decisions need."""
        found = monitor.report(digest)
        return Response(verdict.brief(found) if brief else found.model_dump_json(), media_type="application/json")

    @app.api_route(PAGE_PATH, methods=_READ)
    def page(digest: str | None = None) -> Response:
        """Return the report of one version for people, as one HTML file."""
        headers = {"content-security-policy": document.POLICY, "x-content-type-options": "nosniff"}
        shown = document.render(monitor.page(digest), links=True)
        return Response(shown, media_type=document.MEDIA_TYPE, headers=headers)

    @app.api_route(PAGE_JSON_PATH, methods=_READ)
    def page_json(digest: str | None = None) -> Response:
        """Return the figures of that page."""
        return Response(monitor.page(digest).model_dump_json(), media_type="application/json")


def _add_admin(app: FastAPI, monitor: Monitor) -> None:
    registry = prometheus_client.CollectorRegistry()
    registry.register(monitor.collector)

    @app.api_route("/metrics", methods=_READ, include_in_schema=False)
    def metrics() -> Response:
        return Response(prometheus_client.generate_latest(registry), media_type=prometheus_client.CONTENT_TYPE_LATEST)

    @app.api_route("/healthz", methods=_READ, include_in_schema=False)
    async def healthz() -> Response:
        return PlainTextResponse("ok") if monitor.alive else PlainTextResponse(str(monitor.problem()), 500)

    @app.api_route("/readyz", methods=_READ, include_in_schema=False)
    async def readyz() -> Response:
        problem = monitor.problem()
        return PlainTextResponse(problem, 503) if problem else PlainTextResponse("ok")


def parse_feedback(body: bytes) -> tuple[list[Feedback], list[str]]:
    """Return the labels of a body, one or a list, and what is wrong with each that is out of bounds, by its place.

    Raises:
        ValidationError: not feedback.
    """
    is_list = body.lstrip().startswith(b"[")
    entries: list[Feedback] = [*_LABELS.validate_json(body)] if is_list else [_LABEL.validate_json(body)]
    good, problems = [], []
    for place, entry in enumerate(entries):
        problem = feedback_problem(entry.id, entry.label)
        if problem is None:
            good.append(entry)
        else:
            problems.append(f"{place}.{problem}" if is_list else problem)
    return good, problems


def _add_errors(app: FastAPI) -> None:
    def on(error: type[Exception], status: int, text: Callable[[Any], str], *, retry: bool = False) -> None:
        async def answer(_: Request, raised: Exception) -> Response:
            headers = {"retry-after": str(RETRY_AFTER_SECONDS)} if retry else {}
            if status == 415:
                headers["accept-encoding"] = "identity"
            if status == 401:
                headers["www-authenticate"] = "Bearer"
            return JSONResponse({"error": text(raised)}, status, headers=headers)

        app.add_exception_handler(error, answer)

    for fault in _FAULTS:
        app.add_exception_handler(fault, _fault)
    app.add_exception_handler(HTTPException, _refused)
    on(ClientDisconnect, 400, lambda _: "the connection closed")  # nobody reads it
    on(Exception, 500, lambda _: "internal error; the monitor's log says more")
    on(ValidationError, 400, describe)
    on(InvalidBatchError, 400, str)
    on(UnauthenticatedError, 401, str)
    on(NotServedError, 503, str, retry=True)
    on(UnknownDigestError, 409, lambda e: f"digest: {e.args[0]} is unknown; post its reference to {REFERENCE_PATH}")
    on(ReferenceConflictError, 409, str)
    on(TooLargeError, 413, str)
    on(EncodedError, 415, str)
    on(BusyError, 503, lambda _: "too much waits to be written; try again", retry=True)
    on(WriterStoppedError, 503, lambda _: "the monitor is shutting down", retry=True)
    on(NewerSchemaError, 503, str, retry=True)
    on(sqlite3.Error, 503, lambda e: f"database: {e}", retry=True)


async def _fault(_: Request, raised: Exception) -> Response:
    """Answer where a statement does not suit its values: that is this program's fault, and does not pass by waiting."""
    _LOG.error("a post could not be written", exc_info=raised)
    return JSONResponse({"error": "internal error; the monitor's log says more"}, 500)


async def _refused(request: Request, raised: Any) -> Response:
    """Answer for a path or a method that there is none of."""
    error = f"{request.method} {request.url.path[:200]}: {raised.detail.lower()}"
    return JSONResponse({"error": error}, raised.status_code, headers=raised.headers)


def describe(error: ValidationError) -> str:
    """Return the first three problems, each with its field."""
    problems = error.errors(include_url=False, include_context=False, include_input=False)[:3]
    return "; ".join(f"{'.'.join(str(part) for part in p['loc']) or 'body'}: {p['msg']}" for p in problems)


def _body(model: Any) -> dict[str, Any]:
    content = {"application/json": {"schema": model.model_json_schema()}}
    return {"requestBody": {"required": True, "content": content}}
