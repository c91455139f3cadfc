"""Entry point of a training pod: `python -m tidemill_runtime.trainer [probe | import | records]`.

Reads one JSON document from the environment, always leaves one as the termination message, and ends
with 0 (succeeded), 42 (failed for good) or 1 (another try may help).
"""

import os
import sys

from tidemill_contracts.training import EXIT_NOT_RETRIABLE

_HASH_SEED = "PYTHONHASHSEED"


def main(arguments: list[str]) -> int:
    """Run what the arguments ask for and return the exit code."""
    if os.environ.get(_HASH_SEED) is None:
        # The order of sets of strings goes into models and converted graphs; it can only be fixed before Python starts.
        environment = {**os.environ, _HASH_SEED: "0"}
        os.execve(sys.executable, [sys.executable, "-m", "tidemill_runtime.trainer", *arguments], environment)  # noqa: S606
    if arguments not in ([], ["probe"], ["import"], ["records"]):
        sys.stderr.write(f"unknown arguments {' '.join(arguments)!r}: expected none, probe, import or records\n")
        return EXIT_NOT_RETRIABLE
    from tidemill_runtime.trainer import entry

    programs = {"probe": entry.probe, "import": entry.import_model, "records": entry.records}
    return programs[arguments[0]]() if arguments else entry.train()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
