"""Requests and where the labels are, for each protocol: every V2 server gets the very same bytes."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from hack.bench.serving.generator import Form
from hack.bench.serving.models import FittedModel

if TYPE_CHECKING:
    import pandas as pd

V2_ANSWER = ("outputs", 0, "data")
V1_ANSWER = ("predictions",)


def v2(model: FittedModel, rows: int) -> Form:
    """Open Inference Protocol: one matrix; for mixed columns one tensor each, with the hints of MLServer and KServe."""
    return _form(f"/v2/models/{model.name}/infer", model, rows, _v2_body, V2_ANSWER)


def v1(model: FittedModel, rows: int) -> Form:
    """KServe's V1: rows as lists; for mixed columns one object of columns, of which KServe makes one DataFrame."""
    return _form(f"/v1/models/{model.name}:predict", model, rows, _v1_body, V1_ANSWER)


def bentoml(model: FittedModel, rows: int) -> Form:
    """The API of programs/bentoml_service.py: an array, or for mixed columns a DataFrame as records."""
    return _form("/predict", model, rows, _bentoml_body, ())


def constant(model: FittedModel, rows: int) -> Form:
    """A V2 request whose answer is always the same label."""
    form = v2(model, rows)
    return Form(form.target, form.bodies, [[1]] * len(form.bodies), V2_ANSWER, form.headers)


def echo(model: FittedModel, rows: int) -> Form:
    """A V2 request that comes back as it was sent."""
    form = v2(model, rows)
    sent = [[float(value) for value in json.loads(body)["inputs"][0]["data"]] for body in form.bodies]
    return Form(form.target, form.bodies, sent, ("inputs", 0, "data"), form.headers)


def _form(
    target: str,
    model: FittedModel,
    rows: int,
    body: Callable[[FittedModel, pd.DataFrame], Any],
    answer: tuple[str | int, ...],
) -> Form:
    requests = model.requests(rows)
    bodies = [json.dumps(body(model, frame), separators=(",", ":")) for frame, _ in requests]
    return Form(target, bodies, [labels for _, labels in requests], answer)


def _is_text(frame: pd.DataFrame, name: str) -> bool:
    from pandas.api.types import is_numeric_dtype  # only who makes requests needs pandas

    return not is_numeric_dtype(frame[name])


def _v2_body(model: FittedModel, frame: pd.DataFrame) -> dict[str, Any]:
    if model.name != "mixed":
        data = frame.to_numpy().ravel().tolist()
        return {"inputs": [{"name": "input-0", "shape": list(frame.shape), "datatype": "FP64", "data": data}]}
    tensors: list[dict[str, Any]] = []
    for name in frame.columns:
        tensor: dict[str, Any] = {
            "name": name,
            "shape": [len(frame), 1],
            "datatype": "FP64",
            "data": frame[name].tolist(),
        }
        if _is_text(frame, name):
            tensor |= {"datatype": "BYTES", "parameters": {"content_type": "str"}}
        tensors.append(tensor)
    return {"parameters": {"content_type": "pd"}, "inputs": tensors}


def _v1_body(model: FittedModel, frame: pd.DataFrame) -> dict[str, Any]:
    if model.name != "mixed":
        return {"instances": frame.to_numpy().tolist()}
    return {"instances": [{name: frame[name].tolist() for name in frame.columns}]}


def _bentoml_body(model: FittedModel, frame: pd.DataFrame) -> dict[str, Any]:
    return {"rows": frame.to_dict("records") if model.name == "mixed" else frame.to_numpy().tolist()}
