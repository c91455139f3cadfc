"""`python -m tidemill_runtime.batch`: score a data set with a model version; the trainer image has it.

How it ends is in `termination`, with one more: 143 and 130 when it was stopped by SIGTERM or SIGINT.
"""

import os
import sys

from tidemill_runtime import json_logs, termination
from tidemill_runtime.batch import cli


def main() -> int:
    """Score what the arguments name; return the exit code. The termination message counts the rows."""
    json_logs.configure()
    return termination.run(lambda: termination.write_message(cli.run(sys.argv[1:])))


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # the interpreter would wait for threads that are still inside a model
