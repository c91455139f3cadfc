"""Reading the configuration document of a process, wherever `tidemill_contracts.delivery` says that it is."""

import os
from collections.abc import Mapping
from pathlib import Path

from tidemill_contracts.delivery import DIGEST_SUFFIX, FILE_SUFFIX
from tidemill_contracts.digests import sha256


def read(name: str, environment: Mapping[str, str] | None = None) -> str | None:
    """Return the document that the variable `name`, or the file that `<name>_FILE` names, holds; None without either.

    Raises:
        ValueError: the file cannot be read, or has not the digest in `<name>_DIGEST`; names the variable.
    """
    variables = os.environ if environment is None else environment
    text, path = variables.get(name), variables.get(name + FILE_SUFFIX)
    if text or not path:
        return text
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise ValueError(f"{name}{FILE_SUFFIX}: cannot read {path}: {error.strerror}") from error
    expected, found = variables.get(name + DIGEST_SUFFIX), sha256(content)
    if found != expected:
        text = (
            f"{path} has digest {found}, and this pod was made for {expected}: somebody changed the ConfigMap behind it"
        )
        raise ValueError(f"{name}{FILE_SUFFIX}: {text}")
    return content.decode()
