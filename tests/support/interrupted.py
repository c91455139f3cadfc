"""A process that gets SIGTERM while it reads its configuration, inside of something that changes exceptions."""

WHAT_FOLLOWS = ("pass", "raise ImportError('initialization failed')")
"""As in an import: a callback of importlib loses exceptions, and pybind11 makes an ImportError of each."""


def program(imports: str, call: str, what_follows: str) -> str:
    """Return a program that ends with 7 when it survives; `imports` makes `server_config` known, `call` reads it."""
    return f"""
import os, signal, sys
{imports}

def read():
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        sum(range(1000))
    except BaseException:
        {what_follows}
    sys.exit(7)

server_config.read = read
{call}
"""
