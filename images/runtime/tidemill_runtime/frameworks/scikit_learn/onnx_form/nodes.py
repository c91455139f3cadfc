"""What converters of ours share: nodes of a graph that skl2onnx builds, added for one estimator."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tidemill_runtime.model.frame import Array

Converter = Callable[[Any, Any, Any], None]
"""What skl2onnx calls for one estimator: with scope, operator and container."""


class NoExactFormError(Exception):
    """A model that this module does not write; it may still have the form that skl2onnx gives it."""


class NoFormError(NoExactFormError):
    """A model that skl2onnx does not refuse and writes wrongly: it has no ONNX form."""


class Graph:
    """Adds nodes for one estimator to skl2onnx's container."""

    def __init__(self, scope: Any, operator: Any, container: Any) -> None:
        self.model = operator.raw_operator
        self.given = [variable.full_name for variable in operator.inputs]
        self.outputs = operator.outputs
        self.is_single = not isinstance(operator.inputs[0].type, _double_type())
        self.raw_scores = _options(self.model, container)
        self._scope = scope
        self._container = container

    def node(self, kind: str, inputs: Sequence[str], output: str | None = None, **attributes: Any) -> str:
        """Add a node of one output and return the output's name."""
        name = output or self.name(kind.lower())
        self.add(kind, inputs, [name], attributes)
        return name

    def constant(self, values: Array) -> str:
        """Add a constant tensor (single or double precision, 64 bit integers, text) and return its name."""
        from onnx import TensorProto

        kinds = {"float32": TensorProto.FLOAT, "float64": TensorProto.DOUBLE, "int64": TensorProto.INT64}
        kind = kinds.get(values.dtype.name, TensorProto.STRING)
        name = self.name("constant")
        self._container.add_initializer(name, kind, list(values.shape), values.ravel().tolist())
        return name

    def name(self, kind: str) -> str:
        """Return a name that no other value has."""
        return str(self._scope.get_unique_variable_name(kind))

    def add(self, kind: str, inputs: Sequence[str], outputs: list[str], attributes: dict[str, Any]) -> None:
        """Add a node."""
        name = self._scope.get_unique_operator_name(kind)
        domain = "ai.onnx.ml" if kind.startswith("Tree") or kind == "OneHotEncoder" else ""
        self._container.add_node(kind, list(inputs), outputs, op_domain=domain, name=name, **attributes)

    def labels(self, winner: str) -> None:
        """Give the classes with the numbers in `winner` [rows] as the first output."""
        classes = self.model.classes_
        names = self.constant(classes.astype(object if classes.dtype.kind in "OU" else np.int64))
        self.node("Gather", [names, winner], self.outputs[0].full_name, axis=0)

    def result(self, values: str, output: int) -> None:
        """Give values as an output, in the type that was declared; ONNX's tree operators give sums in single."""
        from skl2onnx.common.data_types import guess_proto_type

        wanted = self.outputs[output]
        self.node("Cast", [values], wanted.full_name, to=guess_proto_type(wanted.type))


def tensor(values: Array) -> Any:
    """Return values as a tensor of doubles for an attribute."""
    from onnx import numpy_helper

    return numpy_helper.from_array(values.astype(np.float64))


def double() -> int:
    """Return ONNX's number of double precision."""
    from onnx import TensorProto

    return int(TensorProto.DOUBLE)


def _double_type() -> Any:
    from skl2onnx.common.data_types import DoubleTensorType

    return DoubleTensorType


def _options(model: Any, container: Any) -> bool:
    """Return whether the outer model wants the decision function; of a forest, which has none, it takes probabilities.

    Raises:
        NoExactFormError: another option is set, which this module does not know.
    """
    options = {name: value for name, value in container.get_options(model).items() if value}
    raw_scores = bool(options.pop("raw_scores", False))
    options.pop("zipmap", None)  # a node of its own behind the model
    if options:
        raise NoExactFormError(f"option {', '.join(sorted(options))}")
    return raw_scores


def integer() -> int:
    """Return ONNX's number of 64 bit integers."""
    from onnx import TensorProto

    return int(TensorProto.INT64)
