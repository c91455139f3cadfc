"""Explanations over HTTP: the bodies of both protocols in, contributions out.

The request bodies are those of predict and infer, so the same decoders read them; how contributions are found is
`explain`'s matter. Nothing here is on the way of a prediction.
"""

from typing import Any, Literal

import orjson

from tidemill_runtime.model.frame import Frame
from tidemill_runtime.server.dataplane.dataplane import DataPlane
from tidemill_runtime.server.dataplane.shapley import Explainer, Explanation
from tidemill_runtime.server.http.inference import decoded_v2
from tidemill_runtime.server.protocol import content_encoding, v1
from tidemill_runtime.server.protocol.ids import Fields, given_id
from tidemill_runtime.server.protocol.parameters import Parameters

ENCODING = b"content-encoding"


class Explanations:
    """Answers explain requests of one model."""

    def __init__(self, plane: DataPlane) -> None:
        self._plane = plane
        self._explainer = Explainer(plane.warm, plane.answer, plane.config.request_timeout_seconds)
        plane.on_close(self._explainer.close)

    async def answer(self, protocol: Literal["v1", "v2"], fields: Fields, body: bytes) -> bytes:
        """Return the response body.

        Raises:
            ServingError: as `Explainer.explain` does; BadRequestError: names the field and what it takes.
            UnavailableError: all places in flight are taken, or out of time; a body has one until it is decoded.
        """
        self._plane.admit()
        try:
            request_id, frame, parameters = await self._plane.decoded(lambda: self._decode(protocol, fields, body))
        finally:
            self._plane.release()
        found = await self._explainer.explain(frame, parameters)
        return self._v1(found) if protocol == "v1" else self._v2(request_id, found)

    def _decode(self, protocol: str, fields: Fields, body: bytes) -> tuple[str, Frame, Parameters]:
        plane = self._plane
        if ENCODING in fields:
            body = content_encoding.inflate(body, fields[ENCODING].decode("latin-1"), plane.config.max_body_bytes)
        if protocol == "v1":
            first = v1.decode(body, plane.schema)
            return "", first.frame, first.parameters
        request = decoded_v2(plane, fields, body)
        return request.id or given_id(fields) or plane.new_id(), request.frame, request.parameters

    def _v1(self, found: Explanation) -> bytes:
        contributions = dict(zip(self._plane.schema.names, found.contributions.tolist(), strict=True))
        entry = {
            "base": found.base, "contributions": contributions, "prediction": found.prediction, **_about(found),
        }  # fmt: skip
        return orjson.dumps({"explanations": [entry]})

    def _v2(self, request_id: str, found: Explanation) -> bytes:
        config, width = self._plane.config, self._plane.schema.width
        tensors = [
            ("contributions", [1, width], found.contributions.tolist()),
            ("base", [1], [found.base]),
            ("prediction", [1], [found.prediction]),
        ]
        outputs = [{"name": n, "shape": shape, "datatype": "FP64", "data": data} for n, shape, data in tensors]
        head = {"model_name": config.deployment, "model_version": config.number, "id": request_id}
        return orjson.dumps({**head, "parameters": _about(found), "outputs": outputs})


def _about(found: Explanation) -> dict[str, Any]:
    label = {} if found.label is None else {"class": found.label}
    return {"output": found.output, **label, "method": found.method, "background_rows": found.background_rows}
