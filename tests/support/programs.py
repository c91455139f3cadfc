"""What tests need and must be brought first: an S3 server, the load generator, others' clients, published data.

`python -m tests.support.programs` (`make test-programs`) does that, once a machine. No test does it on its own: no time
limit has to hold a build, and who runs one test is not surprised by one.
"""

import sys
from pathlib import Path

from hack.bench.serving import environments, generator

CLIENTS = ("kserve", "mlserver", "tritonclient")


def needed(what: str, path: Path) -> Path:
    """Return the path of a program or environment that a test needs.

    Raises:
        RuntimeError: it is not there; names the command that makes it.
    """
    if not path.exists():
        raise RuntimeError(f"{what} is not there ({path}): run `make test-programs` first")
    return path


def make() -> None:
    """Compile and install what is not there yet, and say so."""
    from tests.support import published, s3

    s3.build()
    published.fetch()
    if not generator.program().exists():
        sys.stderr.write("building the load generator (once; about 10 seconds)\n")
        generator.binary()
    for name in CLIENTS:
        is_possible = sys.version_info[:2] <= environments.NEWEST_PYTHON[name]
        if is_possible and not environments.complete(name).exists():
            sys.stderr.write(f"installing {name} in an environment of its own (once)\n")
            environments.environment(name)


if __name__ == "__main__":
    make()
