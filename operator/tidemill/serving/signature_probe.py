"""Asks server pods for the signature of their model, where no record says whole what two versions are compared by.

A server answers with what the manifest of its version says, which it has checked by digest. A false pod can at most
have its own version held back, or rolled out as if nothing were compared; where the record has a digest, it can do so
by columns alone that the model knows and does not use, which the digest leaves out.

Answers are kept as compressed text, a thirtieth of the objects that it makes: a candidate may be held for days.
"""

from __future__ import annotations

import zlib
from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from tidemill.api.v1alpha1.model_deployment import ModelDeploymentSpec, ModelDeploymentStatus
from tidemill.core.plan import Key
from tidemill.engine.contract import Deps
from tidemill.kube.ownership import PodOwners
from tidemill.kube.scraper import Limits
from tidemill.serving.pod_answers import PodAnswers
from tidemill.serving.snapshot import Version, Workload
from tidemill_contracts import signatures
from tidemill_contracts.artifact import Signature
from tidemill_contracts.signatures import MOST_INPUTS, MOST_OUTPUTS, SIGNATURE_PATH, ServedSignature

Obj = dict[str, Any]
Workloads = tuple[Workload, ...]

LIMITS = Limits(seconds=2.0, bytes=1 << 18)
"""What asking the servers of a deployment may take; a column is about 50 bytes."""
PODS = 2
"""Pods of one version that are asked: they have the same manifest."""


class SignatureProbe:
    """See the module."""

    def __init__(self, deps: Deps, owners: PodOwners) -> None:
        """Asks nobody yet."""
        self._answers = PodAnswers(deps, owners, path=SIGNATURE_PATH, limits=LIMITS, most=PODS, read=_read)

    def forget(self, key: Key) -> None:
        """Drops what is known of the pods of a deployment."""
        self._answers.forget(key)

    async def observed(
        self, key: Key, obj: Obj, spec: ModelDeploymentSpec, status: ModelDeploymentStatus, workloads: Workloads
    ) -> Workloads:
        """The workloads with the signature of their pods, where two versions may be compared in this pass."""
        has_begun = status.candidate is not None and status.candidate.step >= 0
        is_compared = len(workloads) > 1 and not has_begun and spec.rollout.signature_changes == "Hold"
        asked = [w for w in workloads if w.version.columns is None] if is_compared else []
        said = await self._answers.of(key, obj, asked)
        return tuple(replace(w, signature=_one(w.version, said[w.name])) if w.name in said else w for w in workloads)


def _read(body: bytearray) -> bytes | None:
    """What a pod said, compressed; None where that is nothing a server says, as of an image from before."""
    try:
        said = ServedSignature.from_json(bytes(body))
    except ValidationError:
        return None
    if len(said.signature.inputs) > MOST_INPUTS or len(said.signature.outputs) > MOST_OUTPUTS:
        return None
    brief = said.model_copy(update={"signature": signatures.brief(said.signature)})
    return zlib.compress(brief.to_json().encode(), 1)


def _one(version: Version, said: list[bytes]) -> Signature | None:
    """What all pods say alike of this version; what the digest of its record disproves, nobody has said."""
    answers = [ServedSignature.from_json(zlib.decompress(answer)) for answer in dict.fromkeys(said)]
    if version.signature_digest is not None:
        proven = version.digest, version.signature_digest
        answers = [a for a in answers if (a.digest, signatures.digest(a.signature)) == proven]
    return answers[0].signature if len(answers) == 1 and answers[0].digest == version.digest else None
