"""Keys of clients as the kubelet mounts them, for tests of servers."""

import hashlib
from pathlib import Path

SHOP, BILLING, LABELS = "shop-key-of-32-random-bytes", "billing-key", "labels-key"


def line(client: str, key: str) -> str:
    """Return the line of a key."""
    return f"{client} sha256:{hashlib.sha256(key.encode()).hexdigest()}\n"


class Mounts:
    """The Secrets as the kubelet mounts them: a key for the client `shop`, one for the sender of labels."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.write("api-keys", line("shop", SHOP))
        self.write("feedback-keys", line("labeller", LABELS))

    def write(self, name: str, text: str) -> None:
        """Replace the entry of a Secret."""
        file = self.folder / "access" / name / "keys"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
