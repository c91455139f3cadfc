"""The native form of a model: canonical skops, or joblib where spec allows it.

What a server would refuse to load is refused here, at training, with the type that is in the way.
"""

import io
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tidemill_contracts.formats import FORMATS, Format
from tidemill_runtime.frameworks.base import FrameworkError, StoredModel
from tidemill_runtime.frameworks.scikit_learn import skops_archives
from tidemill_runtime.frameworks.scikit_learn.canonical_skops import canonical
from tidemill_runtime.frameworks.scikit_learn.estimators import parts

_OPT_IN = (
    "use scikit-learn's own classes and the functions that the documentation names under What is stored "
    "(with kw_args instead of functools.partial), or allow pickles with spec.allowPickle: true"
)
_FITTED_ROWS = "_BaseLibSVM__Xfit"


def store(model: Any, *, allow_pickle: bool) -> StoredModel:
    """Return the native form; skops whenever it can hold the model.

    Raises:
        FrameworkError: UntrustedType (names the type and the opt-in) or Unservable.
    """
    try:
        archive = canonical(_dumped(model))
        _, refused = skops_archives.judged(io.BytesIO(archive))
        why = f"the model holds types that servers do not load: {', '.join(refused)}" if refused else ""
    except Exception as error:  # skops raises many types for what it cannot hold; each means the same here
        why = f"skops cannot hold the model: {type(error).__name__}: {error}"
    if not why:
        return StoredModel("skops", FORMATS["skops"].file, archive)
    if not allow_pickle:
        raise FrameworkError("UntrustedType", f"{why}; {_OPT_IN}")
    return StoredModel("joblib", FORMATS["joblib"].file, _pickle(model, why))


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


def load(form: Format, content: bytes) -> Any:
    """Return the estimator in a skops archive, or in a pickle, which the caller has seen to be allowed.

    Raises:
        FrameworkError: UntrustedType.
    """
    if form == "joblib":
        import joblib

        return joblib.load(io.BytesIO(content))
    try:
        return skops_archives.load(io.BytesIO(content))
    except skops_archives.RefusedTypesError as error:
        raise FrameworkError("UntrustedType", f"the model holds types that are not loaded: {error}") from error


def _pickle(model: Any, why: str) -> bytes:
    import joblib

    buffer = io.BytesIO()
    try:
        joblib.dump(model, buffer, protocol=5)
    except Exception as error:  # pickling runs the classes' own code
        raise FrameworkError("Unservable", f"{why}; it cannot be pickled either: {error}") from error
    # A pickle names classes by import path. A server has the image's packages and not the training code,
    # so the pickle is tried in a process that has neither the code's folder nor this process's modules.
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / FORMATS["joblib"].file
        path.write_bytes(buffer.getvalue())
        done = subprocess.run(
            [sys.executable, "-P", "-c", "import sys, joblib; joblib.load(sys.argv[1])", str(path)],
            cwd=folder, capture_output=True, text=True, check=False,
        )  # fmt: skip
    if done.returncode != 0:
        last = done.stderr.strip().splitlines()[-1:] or ["no reason given"]
        text = f"a server could not load the pickled model: {last[0]}; put its classes into a package of the image"
        raise FrameworkError("Unservable", text)
    return buffer.getvalue()
