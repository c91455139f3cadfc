"""How a configuration document reaches a pod: in one environment variable, or as a file where it is too long for one.

The kernel gives an environment variable (and an argument) 128 KiB. A longer document lies in a ConfigMap, mounted at
`CONFIG_ROOT`; the variables `<NAME>_FILE` and `<NAME>_DIGEST` say where and what. Whoever may edit ConfigMaps can put
other content there, so the reader refuses a file that has not the digest in its variable.
"""

from tidemill_contracts.digests import sha256

MAX_VARIABLE_BYTES = 131_072  # of NAME=value and the zero byte behind it
CONFIG_ROOT = "/mnt/config"
FILE_NAME = "config.json"
FILE_SUFFIX = "_FILE"
DIGEST_SUFFIX = "_DIGEST"


def fits(name: str, text: str) -> bool:
    """Return whether an environment variable of that name can hold the text."""
    return len(f"{name}={text}".encode()) + 1 <= MAX_VARIABLE_BYTES


def variables(name: str, text: str) -> dict[str, str]:
    """Return the environment that leads to the document: the document itself where it fits, else file and digest."""
    if fits(name, text):
        return {name: text}
    return {name + FILE_SUFFIX: f"{CONFIG_ROOT}/{FILE_NAME}", name + DIGEST_SUFFIX: sha256(text.encode())}
