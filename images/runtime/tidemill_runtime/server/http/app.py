"""The FastAPI application: health, metadata, feedback and the interactive documentation.

Inference is answered in `connection` and `asgi`, ahead of this; all of it is described in `openapi`. Every
error has the protocol's one form, `{"error": "..."}`; no reply holds a null field.
"""

from typing import Any, Literal

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from tidemill_contracts.runtimes import BATCH_DEPENDENT
from tidemill_runtime.model.errors import ServingError, UnavailableError
from tidemill_runtime.predictionlog.client import MonitorClient
from tidemill_runtime.redaction import redact
from tidemill_runtime.release import server_version
from tidemill_runtime.server.dataplane.dataplane import DataPlane
from tidemill_runtime.server.dataplane.metadata import SERVER, Description
from tidemill_runtime.server.host.access import CLIENT, CLIENT_HASH
from tidemill_runtime.server.host.state import State
from tidemill_runtime.server.http import feedback, openapi
from tidemill_runtime.server.http.body_limits import BodyReader, ClientGoneError
from tidemill_runtime.server.http.explain import ENCODING, Explanations
from tidemill_runtime.server.http.inference import fields_of
from tidemill_runtime.server.protocol import content_encoding


class Endpoints:
    """The handlers, over one data plane."""

    def __init__(self, plane: DataPlane, state: State, reader: BodyReader, monitor: MonitorClient | None) -> None:
        self._plane = plane
        self._state = state
        self._reader = reader
        self._monitor = monitor
        self._description = Description(plane)
        self._explanations = Explanations(plane)

    def metadata(self, model: str, version: str | None = None) -> dict[str, Any]:
        """Return the model's metadata as the protocol shapes it."""
        self._description.check(model, version)
        warm = self._plane.warm
        more: dict[str, Any] = {"runtime": warm.runtime, "reason": warm.reason}
        if not warm.batching:
            more["batching"] = f"off: {BATCH_DEPENDENT}"
        if warm.manifest.classes is not None:
            more["classes"] = list(warm.manifest.classes)
        if warm.schema.known.unused:
            more["unused_inputs"] = list(warm.schema.known.unused)
        return {**self._description.model(), "parameters": more}

    def ready(self, model: str, version: str | None = None) -> Response:
        """Return `{"name", "ready"}`, with 503 while not ready."""
        self._description.check(model, version)
        return self._readiness({"name": model})

    def server_ready(self) -> Response:
        """Return `{"ready"}`, with 503 while not ready."""
        return self._readiness({})

    def _readiness(self, head: dict[str, Any]) -> Response:
        if self._state.is_ready:
            return JSONResponse({**head, "ready": True})
        body = {**head, "ready": False, "error": f"the server is {self._state.phase}"}
        return JSONResponse(body, 503, {"retry-after": "1"})

    def infer(self, model: str, version: str | None = None) -> None:
        """Refuse what the inference path did not take: an unknown model or version."""
        self._description.check(model, version)
        raise UnavailableError("inference is not available")

    async def explain(
        self, request: Request, protocol: Literal["v1", "v2"], model: str, version: str | None = None
    ) -> Response:
        """Return the contributions of one row's columns."""
        self._description.check(model, version)
        headers = request.scope["headers"]
        body = await self._reader.read(headers, request.receive)
        return Response(
            await self._explanations.answer(protocol, fields_of(headers), body), media_type="application/json"
        )

    async def feedback(self, request: Request, model: str) -> Response:
        """Pass labels on to the monitor and its answer back."""
        self._description.check(model)
        headers = request.scope["headers"]
        body = await self._reader.read(headers, request.receive)
        if (encoding := fields_of(headers).get(ENCODING)) is not None:
            limit = self._plane.config.max_body_bytes
            body = await self._plane.in_thread(
                lambda: content_encoding.inflate(body, encoding.decode("latin-1"), limit)
            )
        access = self._plane.config.access
        sender = request.scope.get(CLIENT) if access is not None and access.feedback else None
        status, answer = await feedback.forward(body, self._monitor, sender, request.scope.get(CLIENT_HASH))
        return JSONResponse(answer, status)


def create_application(plane: DataPlane, state: State, reader: BodyReader, monitor: MonitorClient | None) -> FastAPI:
    """Return the application with its routes and error handlers."""
    app = FastAPI(title=f"Model {plane.config.deployment}", version=plane.config.number, redirect_slashes=False)
    endpoints = Endpoints(plane, state, reader, monitor)
    name = plane.config.deployment
    _add_server_routes(app, endpoints, name)
    _add_model_routes(app, endpoints)
    _add_error_handlers(app)
    document = openapi.describe(app.title, name, plane.config.number, plane.warm.manifest, server_version())
    app.openapi = lambda: document  # type: ignore[method-assign]  # the way that FastAPI documents
    return app


def _add_server_routes(app: FastAPI, endpoints: Endpoints, name: str) -> None:
    async def alive() -> dict[str, str]:
        return {"status": "alive"}

    async def live() -> dict[str, bool]:
        return {"live": True}

    async def ready() -> Response:
        return endpoints.server_ready()

    async def server() -> dict[str, Any]:
        return {"name": SERVER, "version": server_version(), "extensions": ["binary_tensor_data"]}

    async def models() -> dict[str, list[str]]:
        return {"models": [name]}

    for path, handler in {
        "/": alive,
        "/v2": server,
        "/v2/health/live": live,
        "/v2/health/ready": ready,
        "/v2/models": models,
        "/v1/models": models,
    }.items():
        _get(app, path, handler)


def _get(app: FastAPI, path: str, handler: Any) -> None:
    """Add a route that answers GET, and HEAD as GET without a body, which uvicorn leaves out."""
    app.api_route(path, methods=["GET", "HEAD"], response_model=None)(handler)


def _add_model_routes(app: FastAPI, endpoints: Endpoints) -> None:
    async def metadata(model: str) -> dict[str, Any]:
        return endpoints.metadata(model)

    async def version_metadata(model: str, version: str) -> dict[str, Any]:
        return endpoints.metadata(model, version)

    async def ready(model: str) -> Response:
        return endpoints.ready(model)

    async def version_ready(model: str, version: str) -> Response:
        return endpoints.ready(model, version)

    async def infer(model: str) -> None:
        endpoints.infer(model)

    async def version_infer(model: str, version: str) -> None:
        endpoints.infer(model, version)

    async def feed_back(request: Request, model: str) -> Response:
        return await endpoints.feedback(request, model)

    async def explain_v1(request: Request, model: str) -> Response:
        return await endpoints.explain(request, "v1", model)

    async def explain_v2(request: Request, model: str) -> Response:
        return await endpoints.explain(request, "v2", model)

    async def version_explain(request: Request, model: str, version: str) -> Response:
        return await endpoints.explain(request, "v2", model, version)

    v1, v2 = "/v1/models/{model}", "/v2/models/{model}"
    gets: dict[str, Any] = {
        v2: metadata,
        f"{v2}/ready": ready,
        f"{v2}/versions/{{version}}": version_metadata,
        f"{v2}/versions/{{version}}/ready": version_ready,
    }
    for path, handler in gets.items():
        _get(app, path, handler)
    posts: dict[str, Any] = {
        f"{v2}/infer": infer,
        f"{v2}/versions/{{version}}/infer": version_infer,
        f"{v1}:predict": infer,
        f"{v1}:explain": explain_v1,
        f"{v2}/explain": explain_v2,
        f"{v2}/versions/{{version}}/explain": version_explain,
        f"{v2}/feedback": feed_back,
        f"{v1}:feedback": feed_back,
    }
    for path, handler in posts.items():
        app.post(path, response_model=None)(handler)
    _get(app, v1, ready)  # last: it also matches `name:predict`


def _add_error_handlers(app: FastAPI) -> None:
    async def refused(_: Request, error: Exception) -> Response:
        assert isinstance(error, ServingError)  # noqa: S101  registered for this type
        return JSONResponse({"error": error.message}, error.status, dict(error.fields()))

    async def routed(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101
        path = request.url.path[:200]
        text = {404: f"there is nothing at {path!r}", 405: f"{request.method} is not allowed on {path!r}"}
        return JSONResponse({"error": text.get(error.status_code, str(error.detail))}, error.status_code, error.headers)

    async def invalid(_: Request, error: Exception) -> Response:
        return JSONResponse({"error": redact(f"the request is not valid: {error}")}, 400)

    async def gone(*_: object) -> Response:
        return Response(status_code=400)  # nobody reads it; without a handler the log would have a fault

    async def failed(*_: object) -> Response:
        return JSONResponse({"error": "internal error; the server's log says more"}, 500)

    app.add_exception_handler(ServingError, refused)
    app.add_exception_handler(HTTPException, routed)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(ClientGoneError, gone)
    app.add_exception_handler(Exception, failed)
