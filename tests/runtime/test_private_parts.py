"""What we use of libraries that they do not promise to keep: each part is there in the version that is installed.

A failure names the library, its version, the part and who uses it; those libraries are pinned to a minor version, so
that an upgrade is a decision, taken with this test at hand.
"""

from __future__ import annotations

import ast
import contextlib
import inspect
import pkgutil
import textwrap
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
from packaging.requirements import Requirement
from packaging.version import Version
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    IsolationForest,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import LocalOutlierFactor
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, PolynomialFeatures
from sklearn.svm import SVC
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ("operator", "images/runtime", "hack")
OWN = ("__future__", "tidemill", "tidemill_contracts", "tidemill_runtime", "hack")
BEHAVIOUR_ONLY = ("grpcio", "obstore", "skl2onnx")
"""Pinned for what they do, not for a name of theirs: gRPC's sockets are looked up among the process's descriptors,
obstore's errors are told apart by their text, and converters of skl2onnx are called without being documented.
"""

ROWS = np.array([[0.0, 1.0], [1.0, 0.0], [2.0, 1.0], [3.0, 0.5]] * 10)
CLASSES = np.array([0, 1, 1, 0] * 10)


@cache
def histogram() -> Any:
    return HistGradientBoostingClassifier(max_iter=1).fit(ROWS, CLASSES)


@cache
def boosted() -> Any:
    return GradientBoostingClassifier(n_estimators=1).fit(ROWS, CLASSES)


@cache
def outliers() -> Any:
    return IsolationForest(n_estimators=2).fit(ROWS)


@cache
def machine() -> Any:
    return SVC(kernel=lambda a, b: a @ b.T).fit(ROWS, CLASSES)


@dataclass(frozen=True)
class Parts:
    """Names of one object; `of` is a dotted name, or what people call the object that `make` returns."""

    library: str
    of: str
    names: str
    used_by: str
    make: Callable[[], object] | None = None

    def find(self) -> object:
        """Return the object: what `make` returns, or the module or class that `of` names."""
        if self.make is not None:
            return self.make()
        return pkgutil.resolve_name(self.of)


def _sklearn(of: str, names: str, used_by: str, make: Callable[[], object] | None = None) -> Parts:
    return Parts("scikit-learn", of, names, f"frameworks/scikit_learn/{used_by}", make)


PARTS = (
    Parts(
        "uvicorn",
        "a connection (uvicorn.protocols.http.httptools_impl.HttpToolsProtocol)",
        "_unset_keepalive_if_required parser url headers expect_100_continue cycle pipeline transport loop server "
        "server_state tasks flow timeout_keep_alive timeout_keep_alive_task timeout_keep_alive_handler scope "
        "send_400_response on_message_begin on_header on_headers_complete on_body on_message_complete "
        "on_response_complete connection_made connection_lost data_received shutdown pause_writing resume_writing",
        "network/http_heads.py, monitor/connection.py and server/http/connection.py",
        lambda: _assigned(HttpToolsProtocol),
    ),
    Parts(
        "uvicorn",
        "a connection's flow control (uvicorn.protocols.http.flow_control.FlowControl)",
        "pause_reading resume_reading write_paused",
        "server/http/connection.py",
        lambda: _assigned(FlowControl),
    ),
    Parts(
        "uvicorn",
        "uvicorn.server.ServerState",
        "total_requests default_headers connections tasks",
        "server/http/connection.py",
        ServerState,
    ),
    Parts("uvicorn", "uvicorn.Server", "startup capture_signals serve", "server/process/listeners.py"),
    Parts(
        "uvicorn",
        "a request cycle (uvicorn.protocols.http.httptools_impl.RequestResponseCycle)",
        "keep_alive response_complete response_started disconnected message_event",
        "server/http/connection.py, whose own cycle stands in for it",
        lambda: _assigned(RequestResponseCycle),
    ),
    _sklearn("a forest", "_validate_X_predict", "forests.py", lambda: RandomForestClassifier),
    _sklearn("a forest of regression", "_validate_X_predict", "forests.py", lambda: RandomForestRegressor),
    _sklearn("polynomial features", "_combinations", "onnx_form/steps.py", lambda: PolynomialFeatures),
    _sklearn(
        "fitted polynomial features",
        "_min_degree _max_degree",
        "onnx_form/steps.py",
        lambda: PolynomialFeatures(2).fit(ROWS),
    ),
    _sklearn("a fitted encoder", "_infrequent_enabled", "onnx_form/steps.py", lambda: OneHotEncoder().fit(ROWS)),
    _sklearn(
        "a fitted encoder with rare categories",
        "_default_to_infrequent_mappings",
        "onnx_form/steps.py",
        lambda: OrdinalEncoder(max_categories=2).fit(ROWS),
    ),
    _sklearn(
        "fitted histogram boosting",
        "_predictors _preprocessor _baseline_prediction _loss",
        "onnx_form/tree_ensembles.py and thresholds.py",
        lambda: histogram(),
    ),
    _sklearn("fitted boosting", "_loss _raw_predict_init", "onnx_form/tree_ensembles.py", lambda: boosted()),
    _sklearn("sklearn.ensemble._iforest", "_average_path_length", "onnx_form/tree_ensembles.py"),
    _sklearn(
        "a fitted isolation forest",
        "_max_samples _decision_path_lengths _average_path_length_per_tree",
        "onnx_form/tree_ensembles.py",
        lambda: outliers(),
    ),
    _sklearn("a fitted support vector machine", "_BaseLibSVM__Xfit", "storing.py", lambda: machine()),
    Parts("skops", "skops.io._audit", "get_tree", "frameworks/scikit_learn/skops_archives.py"),
    Parts("skops", "skops.io._utils", "read_schema _get_state", "skops_archives.py and storing.py"),
    Parts("skops", "skops.io._utils._get_state", "register", "frameworks/scikit_learn/storing.py"),
    Parts("skops", "skops.io._general", "object_get_state", "frameworks/scikit_learn/storing.py"),
    Parts("skops", "skops.io._general", "PartialNode FunctionNode", "frameworks/scikit_learn/skops_archives.py"),
    Parts("skops", "skops.io._audit.Node", "get_unsafe_set", "frameworks/scikit_learn/skops_archives.py"),
    Parts(
        "skops",
        "a node (skops.io._audit.Node)",
        "children module_name class_name",
        "frameworks/scikit_learn/skops_archives.py",
        lambda: _assigned(pkgutil.resolve_name("skops.io._audit.Node")),
    ),
    Parts(
        "skops",
        "a reference to a node (skops.io._audit.CachedNode)",
        "cached",
        "frameworks/scikit_learn/skops_archives.py",
        lambda: _assigned(pkgutil.resolve_name("skops.io._audit.CachedNode")),
    ),
)
CALLS: tuple[tuple[str, str, tuple[Any, ...], dict[str, Any]], ...] = (
    ("uvicorn", "uvicorn.protocols.http.httptools_impl.HttpToolsProtocol", (0, 0, 0, 0), {}),
    ("scikit-learn", "sklearn.ensemble.RandomForestClassifier._validate_X_predict", (0, 0), {}),
    ("scikit-learn", "sklearn.ensemble.GradientBoostingClassifier._raw_predict_init", (0, 0), {}),
    ("scikit-learn", "sklearn.ensemble._iforest._average_path_length", (0,), {}),
    (
        "scikit-learn",
        "sklearn.preprocessing.PolynomialFeatures._combinations",
        (),
        dict.fromkeys(("n_features", "min_degree", "max_degree", "interaction_only", "include_bias"), 0),
    ),
    ("skops", "skops.io._audit.get_tree", (0,), {"load_context": 0, "trusted": None}),
    ("skops", "skops.io._utils.read_schema", (0,), {}),
    ("skops", "skops.io._general.object_get_state", (0, 0), {}),
)
"""Functions that we call with these arguments, by position and by name."""

HOMES = {
    "sklearn.ensemble._forest": (
        RandomForestClassifier, RandomForestRegressor, ExtraTreesClassifier, ExtraTreesRegressor
    ),
    "sklearn.ensemble._iforest": (IsolationForest,),
    "sklearn.neighbors._lof": (LocalOutlierFactor,),
}  # fmt: skip
"""Modules by which frameworks/scikit_learn/forests.py and native_model.py know classes."""


def _assigned(kind: type) -> object:
    """Return an object with the attributes that methods of a class, and of its bases, set on `self` or declare."""
    found: set[str] = set()
    for one in kind.__mro__[:-1]:
        found |= set(vars(one))
        with contextlib.suppress(OSError, TypeError):  # of a built-in class
            tree = ast.parse(textwrap.dedent(inspect.getsource(one)))
            found |= {n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute) and isinstance(n.ctx, ast.Store)}
    return Mock(spec_set=sorted(found))


def lost(library: str, part: str, used_by: str) -> str:
    return f"{library} {metadata.version(library)} has no {part} any more: {used_by} uses it"


@pytest.mark.parametrize("parts", PARTS, ids=lambda parts: parts.of)
def test_parts_are_there(parts: Parts) -> None:
    try:
        found = parts.find()
    except (ImportError, AttributeError):
        pytest.fail(lost(parts.library, parts.of, parts.used_by))
    missing = [name for name in parts.names.split() if not hasattr(found, name)]
    assert not missing, lost(parts.library, f"{', '.join(missing)} of {parts.of}", parts.used_by)


@pytest.mark.parametrize(("library", "name", "arguments", "named"), CALLS, ids=lambda value: str(value)[:60])
def test_functions_take_what_they_are_given(
    library: str, name: str, arguments: tuple[Any, ...], named: dict[str, Any]
) -> None:
    function = Parts(library, name, "", "").find()
    signature = inspect.signature(function)  # type: ignore[arg-type]  # each is a function or a class
    try:
        signature.bind(*arguments, **named)
    except TypeError as error:
        pytest.fail(f"{library} {metadata.version(library)}: {name}{signature} does not take our call: {error}")


@pytest.mark.parametrize(("module", "kind"), [(m, k) for m, kinds in HOMES.items() for k in kinds])
def test_classes_live_where_they_are_looked_for(module: str, kind: type) -> None:
    assert kind.__module__ == module, lost("scikit-learn", f"{module}.{kind.__name__}", "frameworks/scikit_learn")


def test_a_calibrated_model_keeps_its_parts_in_classes_of_that_name() -> None:
    fitted = CalibratedClassifierCV(GaussianNB(), cv=2).fit(ROWS, CLASSES)
    names = {type(one).__name__ for one in fitted.calibrated_classifiers_}
    part = "_CalibratedClassifier in calibrated_classifiers_"
    assert names == {"_CalibratedClassifier"}, lost("scikit-learn", part, "frameworks/scikit_learn/thresholds.py")


def test_what_is_not_there_is_found_and_told() -> None:
    with pytest.raises(pytest.fail.Exception, match=r"^uvicorn [\d.]+ has no uvicorn.nothing any more: x.py uses it$"):
        test_parts_are_there(Parts("uvicorn", "uvicorn.nothing", "a", "x.py"))
    with pytest.raises(AssertionError, match=r"^skops [\d.]+ has no gone of skops.io any more: x.py uses it"):
        test_parts_are_there(Parts("skops", "skops.io", "load gone", "x.py"))


def private_parts(tree: ast.Module, bases: Mapping[str, Class]) -> Iterator[str]:
    """Yield what a module uses of others under a private name: imports, attributes, names in texts.

    An attribute is ours only on `self` or `cls`, and only where the class, or a base of it in `bases`, has it.
    """
    opened: set[str] = set()  # names of private modules and objects: what is taken from them is private, too
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (a.name for a in node.names if not is_own(a.name) and any(map(is_private, a.name.split("."))))
            opened |= {a.asname for a in node.names if a.asname and is_private(a.name.rpartition(".")[2])}
        elif isinstance(node, ast.ImportFrom) and node.module and not is_own(node.module):
            is_hidden = any(map(is_private, node.module.split(".")))
            yield from (a.name for a in node.names if is_hidden or is_private(a.name))
            opened |= {a.asname or a.name for a in node.names if is_private(a.name)}
    modules = {a.name.split(".")[0] for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
    for node, owner in with_classes(tree, None):
        if isinstance(node, ast.Attribute):
            value = node.value
            name = getattr(value, "id", None)
            is_ours = name in ("self", "cls") and has(owner, node.attr, bases)
            is_inside = name in opened or (isinstance(value, ast.Attribute) and is_of_module(value, modules))
            if is_inside or (is_private(node.attr) and not is_ours):
                yield node.attr
        elif isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in BY_TEXT:
            texts = [n.value for n in node.args if isinstance(n, ast.Constant) and isinstance(n.value, str)]
            yield from (text for text in texts if any(map(is_private, text.split("."))))


BY_TEXT = ("getattr", "hasattr", "setattr", "delattr", "attrgetter", "methodcaller", "import_module", "resolve_name")


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__") and name != "_"


def is_own(module: str) -> bool:
    return module.split(".")[0] in OWN


def is_of_module(node: ast.Attribute, modules: set[str]) -> bool:
    """Tell whether `a._b` or `a.b._c` is a private part of an imported module, by the names that are imported."""
    return is_private(node.attr) and ast.unparse(node).split(".")[0] in modules


@dataclass(frozen=True)
class Class:
    """What a class of ours declares, and the last names of its bases."""

    names: frozenset[str]
    bases: tuple[str, ...]

    @classmethod
    def of(cls, node: ast.ClassDef) -> Class:
        found: set[str] = set()
        for inner in ast.walk(node):
            if isinstance(inner, ast.Attribute) and isinstance(inner.ctx, ast.Store):
                found |= {inner.attr} if ast.unparse(inner.value) in ("self", "cls") else set()
        for inner in node.body:
            if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                found.add(inner.name)
            elif isinstance(inner, ast.AnnAssign | ast.Assign):
                targets = [inner.target] if isinstance(inner, ast.AnnAssign) else inner.targets
                found |= {n.id for target in targets for n in ast.walk(target) if isinstance(n, ast.Name)}
        bases = (ast.unparse(b.value if isinstance(b, ast.Subscript) else b) for b in node.bases)
        return cls(frozenset(found), tuple(base.rpartition(".")[2] for base in bases))


def has(owner: str | None, name: str, classes: Mapping[str, Class]) -> bool:
    """Tell whether a class of ours, or a base of it that is ours, declares an attribute."""
    found = classes.get(owner or "")
    return found is not None and (name in found.names or any(has(base, name, classes) for base in found.bases))


def with_classes(node: ast.AST, owner: str | None) -> Iterator[tuple[ast.AST, str | None]]:
    """Yield each node below another with the name of the class that it stands in."""
    for child in ast.iter_child_nodes(node):
        inside = child.name if isinstance(child, ast.ClassDef) else owner
        yield child, inside
        yield from with_classes(child, inside)


def classes_of(trees: Iterable[ast.Module]) -> dict[str, Class]:
    """Return the classes of modules by name; those of one name have what any of them has."""
    found: dict[str, Class] = {}
    for tree in trees:
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                one, before = Class.of(node), found.get(node.name, Class(frozenset(), ()))
                found[node.name] = Class(one.names | before.names, (*one.bases, *before.bases))
    return found


def test_every_private_part_that_the_code_uses_is_listed() -> None:
    paths = [path for folder in SOURCES for path in (ROOT / folder).rglob("*.py") if not path.stem.endswith("_pb2")]
    trees = {str(path.relative_to(ROOT)): ast.parse(path.read_text()) for path in paths}
    classes = classes_of(trees.values())
    used = {name: path for path, tree in trees.items() for name in private_parts(tree, classes)}
    listed = {name for parts in PARTS for name in (*parts.names.split(), parts.of)} | set(HOMES)
    listed |= {"_exit"}  # of os, documented
    assert {name: path for name, path in used.items() if name not in listed} == {}
    assert used.keys() >= {"_validate_X_predict", "get_tree", "_unset_keepalive_if_required", "_predictors"}


@pytest.mark.parametrize(
    ("code", "parts"),
    [
        ("from skops.io._general import PartialNode, SomethingNew", ["PartialNode", "SomethingNew"]),
        ("from sklearn.ensemble import _forest as f, Tree\nf.helper(1)", ["_forest", "helper"]),
        ("import sklearn.ensemble._forest", ["sklearn.ensemble._forest"]),
        ("import sklearn.ensemble._forest as f\nf.helper(1)", ["sklearn.ensemble._forest", "helper"]),
        ("import sklearn\nsklearn.ensemble._forest.helper(1)", ["helper", "_forest"]),
        ("from tidemill.core._a import b", []),
        ("def f(model): return model._model", ["_model"]),
        ("class A:\n def f(self, model):\n  self._model = 1\n  return model._model", ["_model"]),
        ("class A:\n def f(self): self._model = 1\nclass B(A):\n def g(self): return self._model", []),
        ("class A:\n def f(self): self._model = 1\nclass B(C):\n def g(self): return self._model", ["_model"]),
        ("class A:\n _n: int = 1\n @classmethod\n def _f(cls): return cls._n\n def g(self): self._f()", []),
        ("getattr(model, '_loss', None)\nattrgetter('_loss.x')\nimport_module('a._b')", ["_loss", "_loss.x", "a._b"]),
        ("setattr(model, 'loss_', None)\nmodel.__dict__\nlogging.getLogger('_x')", []),
    ],
)
def test_private_parts_are_seen(code: str, parts: list[str]) -> None:
    tree = ast.parse(code)
    assert list(private_parts(tree, classes_of([tree]))) == parts


def test_such_libraries_are_pinned_to_the_minor_version_that_is_installed() -> None:
    libraries = {parts.library for parts in PARTS} | set(BEHAVIOUR_ONLY)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    given = [Requirement(text) for extra in project["optional-dependencies"].values() for text in extra]
    for requirement in given:
        if requirement.name in libraries:
            now = Version(metadata.version(requirement.name))
            pin = f">={now.major}.{now.minor},<{now.major}.{now.minor + 1}"
            assert requirement.specifier == Requirement(f"x{pin}").specifier, f"{requirement}: expected {pin}"
    assert libraries <= {requirement.name for requirement in given}
