"""How content becomes a revision, where both planes must come to the same answer.

The operator digests a ConfigMap before a run, the trainer digests the files that Kubernetes mounted for it; a run whose
code differs from what was decided on is refused. Only content counts: never a resourceVersion, a time or a mode.
"""

from collections.abc import Mapping

from tidemill_contracts.digests import canonical_json, sha256


def code_digest(files: Mapping[str, bytes]) -> str:
    """Return the digest of a code ConfigMap: of the canonical JSON of {file name: digest of its bytes}.

    A mounted ConfigMap shows each key as one file at the top of the folder;
    names that start with `..` are Kubernetes' own.
    """
    return sha256(canonical_json({name: sha256(content) for name, content in files.items()}))


def image_code_digest(image: str) -> str:
    """Return what stands for the code's digest where the image carries the code: the digest of the image reference."""
    return sha256(f"image:{image}".encode())


def value_revision(content: bytes) -> str:
    """Return the revision of `configmap://name/key`: the digest of the key's bytes."""
    return sha256(content)
