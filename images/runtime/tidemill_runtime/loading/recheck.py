"""What a server looks at again when it loads a version that an older check looked at, or none.

There are no training rows any more: rows are made of the recorded sample, the signature and the native model. The two
forms are compared in a process of its own, which ends: a server of ONNX forms keeps no scikit-learn.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, cast

from tidemill_contracts.artifact import MANIFEST_FILE, SAMPLE_FILE, ModelManifest
from tidemill_contracts.runtimes import PARITY_CHECK
from tidemill_runtime import termination

if TYPE_CHECKING:
    from tidemill_contracts.formats import Format
    from tidemill_runtime.artifacts import Version
    from tidemill_runtime.model.frame import Array, Schema
    from tidemill_runtime.model.prediction import Predictor
    from tidemill_runtime.parity.check import Check

_log = logging.getLogger(__name__)
ROWS = 1000
SECONDS = 4.0  # of the processor's time
_TIMEOUT_SECONDS = 40.0  # seconds until a process that hangs is given up
_FEW_ROWS, _FEW_SECONDS = 200, 0.5
_LAST = 2000  # bytes of what a failed process wrote that are logged
_MODULE = "tidemill_runtime.loading.recheck"


def difference(version: Version, native: Format) -> str:
    """Return why a version's ONNX form is not served: how it differs from its `native` form, or that this is not known.

    "" where the newest check verified it, or where no row that was compared differs.
    """
    report = version.manifest.onnx_parity
    if report is None or (report.check or 1) >= PARITY_CHECK:
        return ""
    command = [sys.executable, "-m", _MODULE, str(version.folder), native, str(os.getpid())]
    try:
        done = subprocess.run(command, capture_output=True, timeout=_TIMEOUT_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return _not_compared(f"the comparison took longer than {_TIMEOUT_SECONDS:g} s")
    except OSError as error:
        return _not_compared(f"no process for it: {error.strerror}")
    if done.returncode != 0:
        _log.warning("comparing the forms again: %s", done.stderr[-_LAST:].decode(errors="replace").strip())
        how = f"signal {-done.returncode}" if done.returncode < 0 else f"exit code {done.returncode}"
        return _not_compared(f"the comparison ended with {how}")
    try:
        found = json.loads(done.stdout)
    except ValueError:
        found = None
    return found if isinstance(found, str) else _not_compared("the comparison gave no answer")


def _not_compared(why: str) -> str:
    return f"an older check verified the ONNX form, and it could not be compared again: {why}"


def batching(model: Predictor, schema: Schema, version: Version) -> bool:
    """Return whether a form gives a row the same answer alone and in a batch, as far as that is known or seen here."""
    known = version.manifest.batching
    if known is not None:
        return known
    try:
        found = _check(model, schema, version, [], _FEW_ROWS, _FEW_SECONDS).batch_difference()
    except Exception as error:  # a model's own code
        found = f"whether a batch changes an answer is not known: {type(error).__name__}: {error}"
    if found:
        _log.warning("requests are not answered together: %s", found)
    return not found


def _check(model: Predictor, schema: Schema, version: Version, steps: list[Array], rows: int, seconds: float) -> Check:
    import numpy as np

    from tidemill_runtime.model.frame import array_of
    from tidemill_runtime.parity import rows as making
    from tidemill_runtime.parity.check import Check

    sample = version.sample()
    known = [array_of(sample.columns[column.name], column, SAMPLE_FILE) for column in schema.columns]
    blocks = making.blocks(schema, known, steps or [np.empty(0)] * schema.width, rows)
    return Check(model, schema, blocks, seconds=seconds, alone=0.5)


def compared(version: Version, native: Format) -> str:
    """Return how the ONNX form differs, here and now; "" where it does not or the time is up.

    Raises:
        StartError: a form does not load.
    """
    from tidemill_runtime import frameworks
    from tidemill_runtime.loading.forms import load_form
    from tidemill_runtime.model.frame import Schema

    schema = Schema(version.manifest.signature)
    graph = load_form("onnx", version, schema, 1)
    form = load_form(native, version, schema, 1)
    steps = frameworks.of_format(native).thresholds(getattr(form, "estimator", None), schema.known.names)
    verdict = _check(form, schema, version, schema.known.of_used(steps), ROWS, SECONDS).compared(graph)
    return "" if verdict.is_late else verdict.reason


def main(folder: str, native: Format, parent: int) -> None:
    """Compare the forms of a verified copy of a version and write what differs, as JSON; ends with its parent."""
    termination.die_with(parent)  # a server that is stopped while it loads ends at once and waits for nothing
    from tidemill_runtime.artifacts import Version

    manifest = ModelManifest.from_json((Path(folder) / MANIFEST_FILE).read_bytes())
    sys.stdout.write(json.dumps(compared(Version(Path(folder), manifest, manifest.digest()), native)))


if __name__ == "__main__":
    main(sys.argv[1], cast("Format", sys.argv[2]), int(sys.argv[3]))
