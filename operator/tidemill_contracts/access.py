"""Keys of clients: where servers find them, and how they are written in a Secret.

A Secret has one entry, `keys`: a line for each key, `<name of the client> sha256:<digest of the key, 64 hex digits>`.
Several lines may have one name, so that a client changes its key without a break. Keys themselves are stored nowhere.
"""

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


class AccessConfig(Document):
    """Which keys a server demands."""

    api_keys: bool = False  # for all requests but those about health
    feedback: bool = False  # for labels
