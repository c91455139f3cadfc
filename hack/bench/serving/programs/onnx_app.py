"""The floor of a model server: the bare application that parses with orjson and runs the ONNX model, nothing else.

No validation, no metrics, no log, no limits, one model, one path. Usage: `onnx_app.py PORT MODEL.onnx`. It takes the
V2 bodies of this benchmark: one matrix, or one tensor for each input of the graph.
"""

import sys
from typing import Any

import numpy as np
import onnxruntime as ort
import orjson
import uvicorn

_TYPES: dict[str, Any] = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(int64)": np.int64,
    "tensor(string)": np.object_,
}


def application(path: str) -> Any:
    """Return the ASGI application around the model in a file."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    run, inputs = session.run, session.get_inputs()
    outputs = [output.name for output in session.get_outputs()][:2]
    types = {node.name: _TYPES[node.type] for node in inputs}
    matrix = inputs[0].name if len(inputs) == 1 else None

    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
        del scope
        message = await receive()
        body = message["body"]
        while message.get("more_body"):
            message = await receive()
            body += message["body"]
        tensors = orjson.loads(body)["inputs"]
        if matrix is not None:
            feed = {matrix: np.array(tensors[0]["data"], dtype=types[matrix]).reshape(tensors[0]["shape"])}
        else:
            feed = {t["name"]: np.array(t["data"], dtype=types[t["name"]]).reshape(-1, 1) for t in tensors}
        label, probabilities = run(outputs, feed)
        reply = orjson.dumps(
            {
                "model_name": "model",
                "outputs": [
                    {"name": "label", "shape": label.shape, "datatype": "INT64", "data": label.tolist()},
                    {
                        "name": "probabilities",
                        "shape": probabilities.shape,
                        "datatype": "FP32",
                        "data": probabilities.ravel().tolist(),
                    },
                ],
            }
        )
        head = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(reply))]
        await send({"type": "http.response.start", "status": 200, "headers": head})
        await send({"type": "http.response.body", "body": reply})

    return app


if __name__ == "__main__":
    uvicorn.run(
        application(sys.argv[2]),
        port=int(sys.argv[1]),
        http="httptools",
        loop="uvloop",
        lifespan="off",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
    )
