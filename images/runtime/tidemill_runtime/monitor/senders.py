"""Who may report predictions, and of which versions: the servers of the deployment, as far as can be proven.

A token, which the operator makes, is mounted into servers and monitor. Once a monitor has seen it, it takes records,
reference profiles and passed-on labels of those alone that show it, for good: a token that is gone opens nothing. With
it goes the proof that a reference profile is the version's own: the manifest's text has the version's digest, the
profile's text has the digest that the manifest names, and the operator's file names the version as one in service.
"""

import hmac
import json
from pathlib import Path
from typing import Final

from tidemill_contracts.access import is_client_hash
from tidemill_contracts.artifact import REFERENCE_FILE, ModelManifest
from tidemill_contracts.digests import sha256
from tidemill_contracts.inference import Reference
from tidemill_contracts.reference import ReferenceProfile
from tidemill_runtime import mounted_files
from tidemill_runtime.monitor.bounds import InvalidBatchError

_SCHEME: Final = "bearer "


class UnauthenticatedError(Exception):
    """A post without the token."""


class NotServedError(Exception):
    """A version that is not in service, as far as the operator has said yet."""


class Senders:
    """Reads both files as they are at each post: the kubelet replaces them while the monitor runs."""

    def __init__(self, token_file: Path | None = None, served_file: Path | None = None) -> None:
        """None: the usual places."""
        self._token_file = token_file or mounted_files.ingest_token_file()
        self._served_file = served_file or mounted_files.served_digests_file()
        self._seen = False

    def demand(self) -> None:
        """Demand a token from now on, whether there is one or not."""
        self._seen = True

    @property
    def is_demanded(self) -> bool:
        """Whether a token is demanded: where there is one, or was one."""
        self._seen = self._seen or mounted_files.read(self._token_file) is not None
        return self._seen

    def check(self, authorization: str | None) -> None:
        """Take a post by the value of its Authorization header.

        Raises:
            UnauthenticatedError: a token is demanded, and this is not it.
        """
        if not self.is_demanded:
            return
        token = mounted_files.read(self._token_file)
        given = authorization or ""
        is_bearer = given[: len(_SCHEME)].lower() == _SCHEME
        shown = given[len(_SCHEME) :].strip() if is_bearer else ""
        if token is None or not hmac.compare_digest(token, shown.encode("utf-8", "replace")):
            raise UnauthenticatedError(
                "Authorization: expected the token of the deployment's servers, from the Secret <deployment>-ingest"
            )

    def named(self, client: str | None) -> str | None:
        """Return whom a post that was checked names as its sender; nobody is believed where no token is demanded."""
        return client or None if self.is_demanded else None

    def hashed(self, client: str | None) -> str | None:
        """Return the same of the keyed hash that such a post names; None for what has not the form of one."""
        named = self.named(client)
        return named if named is not None and is_client_hash(named) else None

    def verified(self, reference: Reference) -> Reference:
        """Return a reference whose profile is the version's own; as it is where no token is demanded.

        Raises:
            InvalidBatchError: a text is not there, or has another digest than it must have.
            NotServedError: the version is not in service.
            ValidationError: a text with the right digest that is no manifest or no profile.
        """
        if not self.is_demanded:
            return reference
        if reference.manifest is None or reference.profile_text is None:
            raise InvalidBatchError("manifest, profile_text: both must be the texts of the version's files")
        if sha256(reference.manifest.encode()) != reference.digest:
            raise InvalidBatchError("manifest: its digest is not that of the version")
        stated = ModelManifest.from_json(reference.manifest).files.get(REFERENCE_FILE)
        if sha256(reference.profile_text.encode()) != stated:
            raise InvalidBatchError(f"profile_text: its digest is not that of {REFERENCE_FILE} in the manifest")
        if reference.digest not in self._served():
            raise NotServedError(
                f"digest: {reference.digest:.80} is not in service, or the operator has not said so yet"
            )
        profile = ReferenceProfile.from_json(reference.profile_text)
        return reference.model_copy(update={"profile": profile, "manifest": None, "profile_text": None})

    def _served(self) -> frozenset[str]:
        try:
            found = json.loads(mounted_files.read(self._served_file) or b"[]")
        except ValueError:
            return frozenset()
        return frozenset(one for one in found if isinstance(one, str)) if isinstance(found, list) else frozenset()
