"""Keys of clients: where servers find them, and how they are written in a Secret.

A Secret has one entry, `keys`: a line for each key, `<name of the client> sha256:<digest of the key, 64 hex digits>`.
Several lines may have one name, so that a client changes its key without a break. Keys themselves are stored nowhere.
"""

import hmac
import re
from typing import Final

from tidemill_contracts.base import Document

KEYS_ENTRY: Final = "keys"  # of the Secret, and the file's name
API_KEYS_ROOT: Final = "/mnt/access/api-keys"
FEEDBACK_KEYS_ROOT: Final = "/mnt/access/feedback-keys"
MAX_KEYS: Final = 256
"""Keys of one Secret that are read; the first count."""
MAX_CLIENT_NAME: Final = 63

API_KEY_HEADER: Final = "x-api-key"
"""Where a client sends its key, or as `Authorization: Bearer <key>`."""
CLIENT_HEADER: Final = "x-tidemill-client"
"""From server to monitor: who sent labels, where a feedback key has shown it."""
CLIENT_HASH_HEADER: Final = "x-tidemill-client-hash"
"""From server to monitor: the same as `client_hash` has it, where any key has shown it."""

CLIENTS_ROOT: Final = "/mnt/access/clients"
CLIENTS_KEY: Final = "key"  # of the Secret, and the file's name
_HASH: Final = re.compile("[0-9a-f]{16}")


def client_hash(key: bytes, client: str) -> str:
    """Return what stands for a client in records: HMAC-SHA256 of its name (RFC 2104), the first 64 bits in hex.

    Whoever has not the deployment's key cannot find the name, not by trying names either. Of 512 clients two have one
    hash with a chance of 7e-15.
    """
    return hmac.digest(key, client.encode(), "sha256").hex()[:16]


def is_client_hash(text: str) -> bool:
    """Return whether a text has the form of a `client_hash`."""
    return _HASH.fullmatch(text) is not None


class AccessConfig(Document):
    """Which keys a server demands."""

    api_keys: bool = False  # for all requests but those about health
    feedback: bool = False  # for labels
