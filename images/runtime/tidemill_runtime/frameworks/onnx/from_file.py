"""An ONNX file that was made elsewhere: the graph, and the columns and classes that it names.

One input [rows, n] is a matrix, whose columns have no names; else every input is a column, [rows] or [rows, 1]. The
first output is the prediction. A graph of labels is taken where it says its classes: their order is that of the
probabilities, and of the values that a client may get.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from tidemill_runtime.frameworks.base import FileColumn, FileModel, FrameworkError
from tidemill_runtime.frameworks.onnx import graphs
from tidemill_runtime.model.frame import Array

if TYPE_CHECKING:
    from onnx import FunctionProto, GraphProto, ModelProto, TensorProto

_DATATYPES: dict[str, Literal["FP64", "INT64", "BOOL", "BYTES"]] = {
    "tensor(float)": "FP64",
    "tensor(double)": "FP64",
    "tensor(int64)": "INT64",
    "tensor(int32)": "INT64",
    "tensor(bool)": "BOOL",
    "tensor(string)": "BYTES",
}
_NUMBERS = ("tensor(float)", "tensor(double)")
_LABELS = ("tensor(int64)", "tensor(string)", "tensor(bool)")
_CLASSES = frozenset({"classlabels_int64s", "classlabels_ints", "classlabels_strings"})
_KNOWN_TEXTS = frozenset({"cats_strings", "keys_strings"})
_MATRIX_COLUMNS = 2000  # as many as a record holds


def read(path: Path) -> FileModel:
    """Return the graph in a file as bytes, with what it takes. Runs no node of it.

    Raises:
        FrameworkError: Unservable; it keeps tensors in other files, or has inputs or outputs that no server asks for.
        Exception: it is broken; of any type.
    """
    import onnx

    content = path.read_bytes()
    model = onnx.load_model_from_string(content)
    if any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in _tensors(model)):
        text = "the graph keeps tensors in other files: save it as one file (save_as_external_data=False)"
        raise FrameworkError("Unservable", text)
    session = graphs.session(content)
    columns, has_names = _columns(session.get_inputs(), _texts_of(model))
    return FileModel(content, columns, _classes(model, session.get_outputs()), has_names)


def _columns(inputs: list[Any], texts: dict[str, tuple[str, ...]]) -> tuple[tuple[FileColumn, ...], bool]:
    for node in inputs:
        if node.type not in _DATATYPES or len(node.shape) not in (1, 2):
            takes = f"input {node.name!r} has type {node.type} and shape {node.shape}"
            raise FrameworkError("Unservable", f"{takes}; expected [rows, columns] of {', '.join(_DATATYPES)}")
    if not inputs:
        raise FrameworkError("Unservable", "the graph takes no input")
    width = inputs[0].shape[1] if len(inputs[0].shape) == 2 else 1
    if len(inputs) == 1 and (width != 1 or inputs[0].name == graphs.MATRIX_INPUT):
        return _matrix(inputs[0], width), False
    wide = [node.name for node in inputs if len(node.shape) == 2 and node.shape[1] != 1]
    if wide:
        text = f"inputs {', '.join(wide)} hold several columns each: convert with one input a column, or one in all"
        raise FrameworkError("Unservable", text)
    return tuple(FileColumn(n.name, _DATATYPES[n.type], texts.get(n.name, ())) for n in inputs), True


def _matrix(node: Any, width: Any) -> tuple[FileColumn, ...]:
    if not isinstance(width, int) or not 0 < width <= _MATRIX_COLUMNS:
        text = f"input {node.name!r} has shape {node.shape}: how many columns it takes (1 to {_MATRIX_COLUMNS}) is open"
        raise FrameworkError("Unservable", f"{text}; convert with a fixed number of columns")
    return tuple(FileColumn(f"x{place}", _DATATYPES[node.type]) for place in range(width))


def _classes(model: ModelProto, outputs: list[Any]) -> Array | None:
    """Return a classifier's classes; None of a graph whose prediction is a number.

    Raises:
        FrameworkError: Unservable; it does not say them, or in another order than scikit-learn's.
    """
    first = outputs[0]
    if first.type in _NUMBERS:
        return None
    if first.type not in _LABELS or (len(outputs) > 1 and outputs[1].type not in _NUMBERS):
        types = ", ".join(f"{node.name} {node.type}" for node in outputs[:2])
        expected = "numbers, or labels and then probabilities [rows, classes]; convert without ZipMap"
        raise FrameworkError("Unservable", f"the outputs are {types}; expected {expected}")
    found = {values for values in _named_classes(model) if values}
    if len(found) != 1:
        said = f"{len(found)} different lists of classes" if found else "no classes"
        text = f"the graph answers with labels and names {said} (classlabels), so its answers have no meaning"
        raise FrameworkError("Unservable", text)
    classes = np.array(found.pop(), dtype=object if first.type == "tensor(string)" else None)
    if not np.array_equal(classes, np.unique(classes)):
        raise FrameworkError("Unservable", f"the graph's classes are not in order: {list(classes)[:10]}")
    return classes


def _named_classes(model: ModelProto) -> Iterator[tuple[Any, ...]]:
    for part in _parts(model):
        for node in part.node:
            for attribute in node.attribute:
                if attribute.name in _CLASSES:
                    yield (*attribute.ints, *(text.decode("utf-8") for text in attribute.strings))
        for tensor in getattr(part, "initializer", ()):
            if tensor.name.startswith("classes"):  # of skl2onnx, for classifiers that it makes of several nodes
                yield _values(tensor)


def _values(tensor: TensorProto) -> tuple[Any, ...]:
    from onnx import numpy_helper

    found = numpy_helper.to_array(tensor).ravel().tolist()
    return tuple(value.decode("utf-8") if isinstance(value, bytes) else value for value in found)


def _texts_of(model: ModelProto) -> dict[str, tuple[str, ...]]:
    """Return the texts that encoders right behind an input know, by the input's name."""
    found: dict[str, tuple[str, ...]] = {}
    for node in model.graph.node:
        texts = [text.decode("utf-8") for a in node.attribute if a.name in _KNOWN_TEXTS for text in a.strings]
        if texts and len(node.input) == 1:
            found[node.input[0]] = tuple(texts)
    return found


def _parts(model: ModelProto) -> Iterator[GraphProto | FunctionProto]:
    """Yield every graph and function, also those inside nodes; the parser has bounded how deep they are."""
    training = (graph for info in model.training_info for graph in (info.initialization, info.algorithm))
    waiting: list[GraphProto | FunctionProto] = [model.graph, *model.functions, *training]
    while waiting:
        part = waiting.pop()
        yield part
        for node in part.node:
            for attribute in node.attribute:
                waiting += [attribute.g] if attribute.HasField("g") else []
                waiting += attribute.graphs


def _tensors(model: ModelProto) -> Iterator[TensorProto]:
    """Yield every tensor that is stored in a model, wherever a graph or function may hold one."""
    for part in _parts(model):
        yield from getattr(part, "initializer", ())
        sparse = [*getattr(part, "sparse_initializer", ())]
        for node in part.node:
            for attribute in node.attribute:
                yield from [attribute.t] if attribute.HasField("t") else []
                yield from attribute.tensors
                sparse += [attribute.sparse_tensor] if attribute.HasField("sparse_tensor") else []
                sparse += attribute.sparse_tensors
        for tensor in sparse:
            yield from (tensor.values, tensor.indices)
