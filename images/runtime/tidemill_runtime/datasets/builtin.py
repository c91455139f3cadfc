"""The data sets that scikit-learn carries, as CSV bytes: they need no network and pass the same parser as any file."""

from collections.abc import Iterator

from tidemill_contracts.schemes import BUILTIN_DATA_SETS
from tidemill_contracts.storage import Uri
from tidemill_runtime.datasets.errors import DataError


def read(uri: Uri, secret: str | None) -> Iterator[bytes]:
    """Yield a bundled data set; it needs no Secret.

    Raises: as `csv_bytes`.
    """
    del secret
    yield csv_bytes(uri.authority)


def csv_bytes(name: str) -> bytes:
    """Return a bundled data set with its label in the column `target`; equal bytes on every call.

    Raises:
        DataError: InvalidUri, no such data set; the message lists those there are.
    """
    if name not in BUILTIN_DATA_SETS:
        raise DataError("InvalidUri", f"there is no builtin://{name}: expected one of {', '.join(BUILTIN_DATA_SETS)}")
    from sklearn import datasets

    load = getattr(datasets, f"load_{name.replace('-', '_')}")
    content: str = load(as_frame=True).frame.to_csv(index=False, lineterminator="\n")
    return content.encode()
