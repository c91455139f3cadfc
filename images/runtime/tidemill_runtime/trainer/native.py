"""The native form of a model: canonical skops, or joblib where spec allows it.

What a server would refuse to load is refused here, at training, with the type that is in the way.
"""

import io
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tidemill_contracts.artifact import PICKLE_FILE, SKOPS_FILE, Format
from tidemill_runtime import archives
from tidemill_runtime.artifacts import Version
from tidemill_runtime.estimators import parts
from tidemill_runtime.trainer.canonical import canonical
from tidemill_runtime.trainer.failures import RunError

_OPT_IN = "use scikit-learn's own classes and numpy functions, or allow pickles with spec.allowPickle: true"


@dataclass(frozen=True)
class Native:
    """A model as bytes, in its one native form."""

    form: Format
    file: str
    content: bytes


def dump(model: Any, *, allow_pickle: bool) -> Native:
    """Return the native form; skops whenever it can hold the model.

    Raises:
        RunError: UserError, UntrustedType (names the type and the opt-in) or Unservable.
    """
    try:
        archive = canonical(_dumped(model))
        _, refused = archives.judged(io.BytesIO(archive))
        why = f"the model holds types that servers do not load: {', '.join(refused)}" if refused else ""
    except Exception as error:  # skops raises many types for what it cannot hold; each means the same here
        why = f"skops cannot hold the model: {type(error).__name__}: {error}"
    if not why:
        return Native("skops", SKOPS_FILE, archive)
    if not allow_pickle:
        raise RunError("UserError", "UntrustedType", f"{why}; {_OPT_IN}")
    return Native("joblib", PICKLE_FILE, _pickle(model, why))


def _dumped(model: Any) -> bytes:
    """Return skops' archive of a model.

    skops refuses BIRCH for its tree, whose leaves hold one another. Only fitting on needs that; answers come from the
    centres, so the tree is left out.
    """
    from sklearn.cluster import Birch
    from skops import io as skops_io
    from skops.io._general import object_get_state
    from skops.io._utils import _get_state

    _get_state.register(Birch)(object_get_state)
    taken = [(part, name, vars(part).pop(name)) for part in parts(model) for name in _trees_of(part)]
    try:
        content: bytes = skops_io.dumps(model)
    finally:
        for part, name, value in taken:
            setattr(part, name, value)
    return content


def _trees_of(part: Any) -> list[str]:
    from sklearn.cluster import Birch

    return [name for name in ("root_", "dummy_leaf_") if isinstance(part, Birch) and name in vars(part)]


def load_skops(archive: bytes) -> Any:
    """Return the estimator of a skops archive.

    Raises:
        RunError: UserError, UntrustedType.
    """
    from skops import io as skops_io

    unknown, refused = archives.judged(io.BytesIO(archive))
    if refused:
        raise RunError("UserError", "UntrustedType", f"the model holds types that are not loaded: {', '.join(refused)}")
    return skops_io.loads(archive, trusted=unknown)


def load_version(version: Version, *, allow_pickle: bool) -> Any | None:
    """Return the estimator of a verified version, None when it has no form that may be loaded here."""
    if "skops" in version.manifest.formats:
        return load_skops(version.path(SKOPS_FILE).read_bytes())
    if "joblib" in version.manifest.formats and allow_pickle:
        import joblib

        return joblib.load(version.path(PICKLE_FILE))
    return None


def _pickle(model: Any, why: str) -> bytes:
    import joblib

    buffer = io.BytesIO()
    try:
        joblib.dump(model, buffer, protocol=5)
    except Exception as error:  # pickling runs the classes' own code
        raise RunError("UserError", "Unservable", f"{why}; it cannot be pickled either: {error}") from error
    # A pickle names classes by import path. A server has the image's packages and not the training code,
    # so the pickle is tried in a process that has neither the code's folder nor this process's modules.
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / PICKLE_FILE
        path.write_bytes(buffer.getvalue())
        done = subprocess.run(
            [sys.executable, "-P", "-c", "import sys, joblib; joblib.load(sys.argv[1])", str(path)],
            cwd=folder, capture_output=True, text=True, check=False,
        )  # fmt: skip
    if done.returncode != 0:
        last = done.stderr.strip().splitlines()[-1:] or ["no reason given"]
        text = f"a server could not load the pickled model: {last[0]}; put its classes into a package of the image"
        raise RunError("UserError", "Unservable", text)
    return buffer.getvalue()
