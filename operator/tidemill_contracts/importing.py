"""The contract between the operator and the pod of a ModelImport, which copies one model into a namespace's store.

In: one JSON document, `ImportConfig`, in the environment variable `TIDEMILL_IMPORT_CONFIG`.
Out: a `TrainingResult` as the container's termination message: a copied version has the facts that a trained one has.
"""

from pathlib import PurePosixPath
from typing import Final, Literal

from tidemill_contracts.base import Document
from tidemill_contracts.digests import digest_hex
from tidemill_contracts.formats import FORMATS, Format
from tidemill_contracts.storage import parse_uri

CONFIG_ENV: Final = "TIDEMILL_IMPORT_CONFIG"
MOST_BYTES: Final = 4 << 30
"""Bytes that all files of an imported version together, or an imported file, may have."""
SUFFIXES: Final[dict[str, Format]] = {
    PurePosixPath(row.file).suffix: name for name, row in FORMATS.items() if row.file and not row.has_code
}
"""Formats by how the name of a single file ends; a URI that ends otherwise is a folder."""
PICKLE_SUFFIXES: Final = (".pkl", ".pickle", *(end for end, name in SUFFIXES.items() if FORMATS[name].is_pickle))
"""How the names of pickles end: loading one runs code, so none is imported."""


class ImportConfig(Document):
    """What is imported, and where to."""

    schema_version: Literal[1] = 1
    namespace: str
    name: str  # of the ModelImport
    pipeline: str  # whose version it becomes, for the manifest of a single file
    uri: str  # a version's folder, a folder that holds versions by digest, or a single file
    digest: str  # of the version's manifest, or of the file
    secret: str | None = None
    store: str  # URI of the folder below which the version is written
    store_secret: str | None = None


def file_format(uri: str) -> Format | None:
    """Return the format of the single file that a URI names; None where it names a folder.

    Raises:
        ValueError: no URI of a store.
    """
    return SUFFIXES.get(PurePosixPath(parse_uri(uri).path).suffix)


def is_version_folder(uri: str, digest: str) -> bool:
    """Return whether a URI names the folder of the version with this digest, and not the folder around it.

    Raises:
        ValueError: no URI of a store, or no digest.
    """
    return parse_uri(uri).path.rpartition("/")[2] == digest_hex(digest)
