"""The native form of a model: canonical skops, or joblib where spec allows it.

What a server would refuse to load is refused here, at training, with the type that is in the way and what would help.
"""

import io
import subprocess
import sys
import tempfile
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from tidemill_contracts.artifact import CODE_FILE
from tidemill_contracts.digests import canonical_json
from tidemill_contracts.formats import FORMATS, Format
from tidemill_runtime.frameworks import version_code
from tidemill_runtime.frameworks.base import FrameworkError, StoredModel
from tidemill_runtime.frameworks.scikit_learn import skops_archives
from tidemill_runtime.frameworks.scikit_learn.canonical_skops import canonical
from tidemill_runtime.frameworks.scikit_learn.estimators import parts

_USE = (
    "use scikit-learn's own classes, the functions that the documentation names under What is stored (with kw_args "
    "instead of functools.partial), or functions and classes at the top level of a file of the training code"
)
_OPT_IN = "or allow pickles with spec.allowPickle: true"
_FITTED_ROWS = "_BaseLibSVM__Xfit"
_TRY_PICKLE = "import sys, joblib; joblib.load(sys.argv[1])"
_TRY_CODE = (
    "import pathlib, sys; from tidemill_runtime.frameworks.scikit_learn import native_model; "
    "native_model.load_skops(pathlib.Path(sys.argv[1]), has_code=True)"
)


def store(model: Any, *, allow_pickle: bool, code: Mapping[str, str]) -> StoredModel:
    """Return the native form; skops whenever it can hold the model, with modules of `code` where it needs some.

    Raises:
        FrameworkError: UntrustedType (names the type, and the opt-in where that would help) or Unservable.
    """
    try:
        archive = canonical(_dumped(model))
        unknown, refused = skops_archives.judged(io.BytesIO(archive), code)
        own = [name for name in unknown if skops_archives.module_of(name) in code]
        why = f"the model holds types that servers do not load: {', '.join(refused)}" if refused else _nameless(own)
    except Exception as error:  # skops raises many types for what it cannot hold; each means the same here
        why = f"skops cannot hold the model: {type(error).__name__}: {error}"
    if not why:
        return _archived(archive, own, code)
    try:
        pickled = _pickle(model)
    except FrameworkError as error:
        if allow_pickle:
            raise FrameworkError(error.reason, f"{why}; {error}; {_USE}") from error
        raise FrameworkError("UntrustedType", f"{why}; {_USE}") from error
    if not allow_pickle:
        raise FrameworkError("UntrustedType", f"{why}; {_USE}, {_OPT_IN}")
    return StoredModel("joblib", FORMATS["joblib"].file, pickled)


def _archived(archive: bytes, own: Sequence[str], code: Mapping[str, str]) -> StoredModel:
    if not own:
        return StoredModel("skops", FORMATS["skops"].file, archive)
    brought = version_code.needed(map(skops_archives.module_of, own), code)
    content = canonical_json(brought.model_dump(mode="json"))
    file = FORMATS["skops-code"].file
    problem = _elsewhere(_TRY_CODE, {file: archive, CODE_FILE: content})
    if problem:
        text = f"the model does not load with {', '.join(brought.files)} alone, as in a server: {problem}"
        raise FrameworkError("Unservable", text)
    return StoredModel("skops-code", file, archive, content)


def _nameless(own: Sequence[str]) -> str:
    """Return why functions and classes of the training code cannot be found by their names, "" if they can."""
    hidden = [name for name in own if not hasattr(sys.modules.get(skops_archives.module_of(name)), name.split(".")[-1])]
    return f"the model holds {', '.join(hidden)}, which no file has under a name at its top level" if hidden else ""


def _dumped(model: Any) -> bytes:
    """Return skops' archive of a model, without what only fitting needs and an archive cannot hold."""
    from sklearn.cluster import Birch
    from skops import io as skops_io
    from skops.io._general import object_get_state
    from skops.io._utils import _get_state

    _get_state.register(Birch)(object_get_state)  # skops refuses it for its tree
    taken = [(part, name, vars(part)[name], stored) for part in parts(model) for name, stored in _stored(part).items()]
    try:
        for part, name, _, stored in taken:
            if stored is None:
                del vars(part)[name]
            else:
                vars(part)[name] = stored
        content: bytes = skops_io.dumps(model)
    finally:
        for part, name, value, _ in taken:
            vars(part)[name] = value
    return content


def _stored(part: Any) -> dict[str, Any]:
    """Return what is stored in place of some attributes of an estimator, None for one that is left out.

    BIRCH's tree, whose leaves hold one another, and a search's distributions (scipy's run code when they are loaded,
    so they become text) are for fitting only; the rows that a support vector machine with a function for a kernel
    compares with are a DataFrame where it was fitted on one, and the same as an array.
    """
    import pandas as pd
    from sklearn.cluster import Birch

    has = vars(part)
    found: dict[str, Any] = {}
    if isinstance(part, Birch):
        found |= {name: None for name in ("root_", "dummy_leaf_") if name in has}
    if "param_distributions" in has:
        found["param_distributions"] = _as_text(has["param_distributions"])
    if isinstance(has.get(_FITTED_ROWS), pd.DataFrame):
        found[_FITTED_ROWS] = has[_FITTED_ROWS].to_numpy()
    return found


def _as_text(value: Any) -> Any:
    """Return parameters to draw from with each distribution as text."""
    if isinstance(value, dict):
        return {name: _as_text(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_as_text(one) for one in value] if any(isinstance(one, dict) for one in value) else value
    if not hasattr(value, "rvs"):  # by this scikit-learn knows a distribution
        return value
    name = getattr(getattr(value, "dist", None), "name", type(value).__name__)
    given = [repr(one) for one in getattr(value, "args", ())]
    given += [f"{key}={one!r}" for key, one in getattr(value, "kwds", {}).items()]
    return f"{name}({', '.join(given)})"


def load(form: Format, content: bytes, modules: Collection[str]) -> Any:
    """Return the estimator in a skops archive, or in a pickle, which the caller has seen to be allowed.

    `modules`: of the training code, importable here; their functions and classes are allowed.

    Raises:
        FrameworkError: UntrustedType.
    """
    if form == "joblib":
        import joblib

        return joblib.load(io.BytesIO(content))
    try:
        return skops_archives.load(io.BytesIO(content), modules)
    except skops_archives.RefusedTypesError as error:
        raise FrameworkError("UntrustedType", f"the model holds types that are not loaded: {error}") from error


def _pickle(model: Any) -> bytes:
    """Return a pickle that a server could load.

    Raises:
        FrameworkError: Unservable.
    """
    import joblib

    buffer = io.BytesIO()
    try:
        joblib.dump(model, buffer, protocol=5)
    except Exception as error:  # pickling runs the classes' own code
        raise FrameworkError("Unservable", f"it cannot be pickled either: {error}") from error
    problem = _elsewhere(_TRY_PICKLE, {FORMATS["joblib"].file: buffer.getvalue()})
    if problem:
        raise FrameworkError("Unservable", f"a server could not load the pickled model: {problem}")
    return buffer.getvalue()


def _elsewhere(program: str, files: Mapping[str, bytes]) -> str:
    """Return why a program cannot load files, the first of which it is given; "" if it can.

    They name classes by import path, and a server has not the training code: the program has neither the code's folder
    nor the modules of this process.
    """
    with tempfile.TemporaryDirectory() as folder:
        for name, content in files.items():
            (Path(folder) / name).write_bytes(content)
        command = [sys.executable, "-P", "-c", program, str(Path(folder) / next(iter(files)))]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return ""
    return (done.stderr.strip().splitlines() or ["no reason given"])[-1]
