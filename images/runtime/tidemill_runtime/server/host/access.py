"""Who may call: keys of clients, of which the server knows the digests only.

The files are read again every few seconds, so that a key is added or taken away without a restart. A given key is
compared with every stored digest in constant time. Without readable keys nobody is let in.
"""

import hashlib
import hmac
import logging
import re
import time
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from pathlib import Path
from typing import Final

from tidemill_contracts.access import (
    API_KEY_HEADER,
    API_KEYS_ROOT,
    CLIENTS_KEY,
    CLIENTS_ROOT,
    FEEDBACK_KEYS_ROOT,
    KEYS_ENTRY,
    MAX_CLIENT_NAME,
    MAX_KEYS,
    AccessConfig,
    client_hash,
)
from tidemill_runtime import mounted_files
from tidemill_runtime.model.errors import ForbiddenError, UnauthenticatedError
from tidemill_runtime.mounts import mounted

READ_SECONDS: Final = 2.0
_LINE: Final = re.compile(rb"([A-Za-z0-9](?:[A-Za-z0-9_.-]{0,%d}))[ \t]+sha256:([0-9a-f]{64})" % (MAX_CLIENT_NAME - 1))
_BEARER: Final = b"bearer "
_MAX_KEY: Final = 4096
_HEALTH: Final = re.compile(
    r"/|/v2/health/(?:live|ready)|/v2/models/[^/]+(?:/versions/[^/]+)?/ready|/v1/models/[^/:]+", re.ASCII
)
_FEEDBACK: Final = re.compile(r".*[/:]feedback", re.DOTALL)
_log = logging.getLogger(__name__)

CLIENT: Final = "tidemill.client"
"""Of an ASGI scope: the name of the client, as its key has shown it; None without keys."""

CLIENT_HASH: Final = "tidemill.client_hash"
"""The same as its keyed hash, which records hold."""
CALLER: Final[ContextVar[str | None]] = ContextVar("caller", default=None)
"""Of a gRPC call: the keyed hash of its client."""

Headers = Iterable[tuple[bytes, bytes]]  # names in lower case


class KeyFile:
    """The keys of one Secret."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        """`path`: the file with a line for each key."""
        self._path = path
        self._clock = clock
        self._next = float("-inf")
        self._content: bytes | None = None
        self._keys: tuple[tuple[bytes, str], ...] = ()

    def client(self, key: bytes) -> str | None:
        """Return the name of the client whose key it is; None for a key that is not known. Never stops early."""
        given, found = hashlib.sha256(key).digest(), None
        for digest, name in self._read():
            if hmac.compare_digest(given, digest):
                found = name
        return found

    def _read(self) -> tuple[tuple[bytes, str], ...]:
        now = self._clock()
        if now >= self._next:
            self._next = now + READ_SECONDS
            content = mounted_files.read(self._path)
            if content != self._content or content is None:
                self._content, self._keys = content, self._parsed(content)
        return self._keys

    def _parsed(self, content: bytes | None) -> tuple[tuple[bytes, str], ...]:
        if content is None:
            _log.error("%s: there is no such file, or it is empty: nobody is let in", self._path)
            return ()
        keys: list[tuple[bytes, str]] = []
        for number, line in enumerate(content.splitlines(), start=1):
            text = line.strip()
            if not text or text.startswith(b"#"):
                continue
            match = _LINE.fullmatch(text)
            if match is None or len(keys) >= MAX_KEYS:
                why = f"more than {MAX_KEYS} keys" if match else "expected <client> sha256:<64 hex digits>"
                _log.error("%s: line %d is not read: %s", self._path, number, why)
                continue
            keys.append((bytes.fromhex(match[2].decode()), match[1].decode()))
        return tuple(keys)


class ClientHashes:
    """What stands for clients in records; nothing does while there is no key."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        """`path`: the file with the key."""
        self._path = path
        self._clock = clock
        self._next = float("-inf")
        self._key: bytes | None = None
        self._known: dict[str, str] = {}  # by name; there are no more names than keys

    def of(self, client: str | None) -> str | None:
        """Return the hash of a client's name; None without a name or a key."""
        now = self._clock()
        if now >= self._next:
            self._next = now + READ_SECONDS
            key = mounted_files.read(self._path)
            if key != self._key or len(self._known) > 2 * MAX_KEYS:
                self._key, self._known = key, {}
        if client is None or self._key is None:
            return None
        found = self._known.get(client)
        if found is None:
            found = self._known[client] = client_hash(self._key, client)
        return found


class Access:
    """What a configuration demands of each request."""

    def __init__(self, config: AccessConfig, clock: Callable[[], float] = time.monotonic) -> None:
        """Read nothing yet."""
        self._clients = KeyFile(mounted(API_KEYS_ROOT) / KEYS_ENTRY, clock) if config.api_keys else None
        self._labellers = KeyFile(mounted(FEEDBACK_KEYS_ROOT) / KEYS_ENTRY, clock) if config.feedback else None
        self._hashes = ClientHashes(mounted(CLIENTS_ROOT) / CLIENTS_KEY, clock)

    def check(self, path: str, headers: Headers) -> str | None:
        """Return the name of the client that requests a path; None where nobody has to say who they are.

        Raises:
            UnauthenticatedError: no key, or one that is not known.
            ForbiddenError: a client's key, where labels need a feedback key.
        """
        if _FEEDBACK.fullmatch(path):
            return self.labeller(headers) if self._labellers is not None else self.client(headers)
        return None if _HEALTH.fullmatch(path) else self.client(headers)

    def client(self, headers: Headers) -> str | None:
        """Return who sends a request that is no label; errors as `check`."""
        return None if self._clients is None else _named(self._clients, headers, "an API key of this deployment")

    def hashed(self, client: str | None) -> str | None:
        """Return what stands for a client in records; None where there is none, or no key to hash it by."""
        return self._hashes.of(client)

    def labeller(self, headers: Headers) -> str | None:
        """Return who sends labels, as shown by a feedback key; None where none is demanded. Errors as `check`."""
        if self._labellers is None:
            return None
        key = _key(headers)
        if key is not None and self._clients is not None and self._labellers.client(key) is None:
            client = self._clients.client(key)
            if client is not None:
                raise ForbiddenError(f"the key of {client} may not send labels: a feedback key is needed")
        return _named(self._labellers, headers, "a feedback key of this deployment")


def create(config: AccessConfig | None) -> Access | None:
    """Return what checks requests; None where everybody may call."""
    return Access(config) if config is not None and (config.api_keys or config.feedback) else None


def _named(keys: KeyFile, headers: Headers, wanted: str) -> str:
    key = _key(headers)
    how = f"send it as 'Authorization: Bearer <key>' or '{API_KEY_HEADER}: <key>'"
    if key is None:
        raise UnauthenticatedError(f"this address needs {wanted}; {how}")
    client = keys.client(key)
    if client is None:
        raise UnauthenticatedError(f"the key is not {wanted}; {how}")
    return client


def _key(headers: Headers) -> bytes | None:
    """Return the key that a request shows: of the first header that has one."""
    for name, value in headers:
        if name == API_KEY_HEADER.encode():
            key = value.strip()
        elif name == b"authorization" and value[: len(_BEARER)].lower() == _BEARER:
            key = value[len(_BEARER) :].strip()
        else:
            continue
        return key if 0 < len(key) <= _MAX_KEY else None
    return None
