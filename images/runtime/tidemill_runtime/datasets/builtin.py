"""The data sets that scikit-learn carries, as CSV bytes: they need no network and pass the same parser as any file."""

from tidemill_runtime.datasets.errors import DataError

NAMES = ("breast-cancer", "diabetes", "digits", "iris", "wine")


def csv_bytes(name: str) -> bytes:
    """Return a bundled data set with its label in the column `target`; equal bytes on every call.

    Raises:
        DataError: InvalidUri, no such data set; the message lists those there are.
    """
    if name not in NAMES:
        raise DataError("InvalidUri", f"there is no builtin://{name}: expected one of {', '.join(NAMES)}")
    from sklearn import datasets

    load = getattr(datasets, f"load_{name.replace('-', '_')}")
    content: str = load(as_frame=True).frame.to_csv(index=False, lineterminator="\n")
    return content.encode()
