"""Which release of Tidemill this is."""

from importlib import metadata as packages


def server_version() -> str:
    """Return the installed distribution's version; images copy the packages without its metadata."""
    try:
        return packages.version("tidemill")
    except packages.PackageNotFoundError:
        return "unpackaged"
