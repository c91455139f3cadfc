"""Which form of a version is served, and why: the one rule that servers follow and the operator reports in status.

Pure, so that both planes can call it. What it cannot foresee is a form that fails in the server itself: with `Auto` a
server whose ONNX form does not repeat the recorded answers at warm-up goes on to the next of `formats`.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from tidemill_contracts.formats import FORMATS, Format, Runtime, loadable

RequestedRuntime = Literal["Auto", "ONNX", "Native"]

VERIFIED = "verified"  # what a version's record says of an ONNX form that passed the parity check
PARITY_CHECK = 2
"""Version of the parity check; 1 looked at held-out rows only. A server looks again at what a lower one verified."""
FallbackReason = Literal["ParityOutdated", "FormFailed"]
"""What makes a server leave a verified ONNX form for the native one."""
OUTDATED: FallbackReason = "ParityOutdated"  # verified by an older check, and it differs or cannot be compared
FAILED: FallbackReason = "FormFailed"  # it does not load, or does not repeat the recorded answers at warm-up
BATCH_DEPENDENT = (
    "its prediction for a row depends on the other rows of a batch"  # why requests are not answered together
)


@dataclass(frozen=True)
class Choice:
    """Forms to try, best first; none where the requested runtime can load none. `reason`: half a sentence."""

    formats: tuple[Format, ...]
    reason: str

    @property
    def runtime(self) -> Runtime | None:
        """What serves, as long as the first form does not fail at warm-up."""
        return FORMATS[self.formats[0]].runtime if self.formats else None


def choose(
    requested: RequestedRuntime,
    formats: Collection[str],
    *,
    parity: bool | None,
    note: str = "",
    allow_pickle: bool = False,
    allow_code: bool = False,
) -> Choice:
    """Return what serves a version that has `formats`.

    `parity`: whether its ONNX form passed the check against the native one, None where nobody looked: then it is as
    good as the only form, and not good enough beside a native one. `note`: why there is no verified ONNX form.
    """
    native = loadable("Native", formats, allow_pickle=allow_pickle, allow_code=allow_code)[:1]
    onnx = loadable("ONNX", formats, allow_pickle=allow_pickle, allow_code=allow_code)
    if requested == "ONNX":
        return Choice(onnx, "spec.server.runtime is ONNX" if onnx else _no_onnx(note))
    if requested == "Native":
        return Choice(native, "spec.server.runtime is Native" if native else "the version has no native form")
    proven = onnx if (parity if parity is not None else not native) else ()
    if proven:
        why = "its ONNX form gives the same answers as its native form" if native else "the version has no native form"
        return Choice(proven + native, why)
    return Choice(native, _no_onnx(note))


def _no_onnx(note: str) -> str:
    return f"no verified ONNX form: {note}" if note and note != VERIFIED else "the version has no verified ONNX form"
