"""The floor of a web server: uvicorn with httptools and uvloop around an application that answers a constant.

It reads the body and parses nothing. `/v1/batches` is answered as the monitor does, so that it can be the sink of a
prediction log.
"""

import sys
from typing import Any

import uvicorn

_BODY = (
    b'{"model_name":"iris","model_version":"1","outputs":[{"name":"label","shape":[1],"datatype":"INT64","data":[1]}]}'
)
_HEAD = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(_BODY))]


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Answer."""
    while (await receive()).get("more_body"):
        pass
    status = 202 if scope["path"] == "/v1/batches" else 200
    await send({"type": "http.response.start", "status": status, "headers": _HEAD})
    await send({"type": "http.response.body", "body": _BODY})


if __name__ == "__main__":
    uvicorn.run(
        app,
        port=int(sys.argv[1]),
        http="httptools",
        loop="uvloop",
        lifespan="off",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
    )
