"""Keys of clients: which are known, what they open, and how they come and go without a restart."""

import hashlib
from pathlib import Path
from typing import Any

import pytest
from tests.support.clientkeys import BILLING, LABELS, SHOP, Mounts, line

from tidemill_contracts.access import MAX_KEYS, AccessConfig
from tidemill_runtime.model.errors import ForbiddenError, UnauthenticatedError
from tidemill_runtime.mounts import MOUNT_ROOT_ENV
from tidemill_runtime.server.host import access
from tidemill_runtime.server.host.access import Access, KeyFile

BOTH = AccessConfig(api_keys=True, feedback=True)


@pytest.fixture
def mounts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Mounts:
    monkeypatch.setenv(MOUNT_ROOT_ENV, str(tmp_path))
    return Mounts(tmp_path)


def bearer(key: str) -> list[tuple[bytes, bytes]]:
    return [(b"authorization", b"Bearer " + key.encode())]


@pytest.mark.parametrize(
    ("headers", "client"),
    [
        (bearer(SHOP), "shop"),
        ([(b"authorization", b"bearer   " + SHOP.encode() + b" ")], "shop"),
        ([(b"x-api-key", SHOP.encode())], "shop"),
        ([(b"accept", b"*/*"), (b"x-api-key", SHOP.encode())], "shop"),
        ([], None),
        (bearer("another"), None),
        (bearer(""), None),
        (bearer(LABELS), None),
        ([(b"authorization", b"Basic " + SHOP.encode())], None),
        (bearer(hashlib.sha256(SHOP.encode()).hexdigest()), None),
        (bearer("x" * 5000), None),
    ],
)
def test_a_client_is_known_by_its_key(mounts: Mounts, headers: Any, client: str | None) -> None:
    if client is not None:
        assert Access(BOTH).client(headers) == client
        return
    with pytest.raises(UnauthenticatedError, match="an API key of this deployment; send it as") as raised:
        Access(BOTH).client(headers)
    assert dict(raised.value.fields())["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("path", ["/v2/models/demo/feedback", "/v1/models/demo:feedback"])
def test_labels_need_a_key_of_their_own(mounts: Mounts, path: str) -> None:
    assert Access(BOTH).check(path, bearer(LABELS)) == "labeller"
    with pytest.raises(ForbiddenError, match="the key of shop may not send labels"):
        Access(BOTH).check(path, bearer(SHOP))
    with pytest.raises(UnauthenticatedError, match="a feedback key of this deployment"):
        Access(BOTH).check(path, [])
    only_clients = Access(AccessConfig(api_keys=True))
    assert only_clients.check(path, bearer(SHOP)) == "shop"
    assert only_clients.labeller(bearer(SHOP)) is None, "a client's key shows nobody who answers for labels"


@pytest.mark.parametrize(
    ("path", "is_free"),
    [
        ("/", True),
        ("/v2/health/live", True),
        ("/v2/health/ready", True),
        ("/v2/models/demo/ready", True),
        ("/v2/models/demo/versions/1/ready", True),
        ("/v1/models/demo", True),
        ("/v2", False),
        ("/v2/models", False),
        ("/v1/models", False),
        ("/v2/models/demo", False),
        ("/v2/models/demo/infer", False),
        ("/v1/models/demo:predict", False),
        ("/v1/models/demo:explain", False),
        ("/openapi.json", False),
        ("/v2/health/live/", False),
        ("/v2/health/live\n", False),
        ("/v2/models/demo/infer/ready", False),
    ],
)
def test_health_is_free_and_nothing_else(mounts: Mounts, path: str, is_free: bool) -> None:
    if is_free:
        assert Access(BOTH).check(path, []) is None
    else:
        with pytest.raises(UnauthenticatedError):
            Access(BOTH).check(path, [])


def test_without_keys_to_demand_nothing_is_looked_at() -> None:
    assert access.create(None) is None
    assert access.create(AccessConfig()) is None


def test_keys_come_and_go_while_the_server_runs(mounts: Mounts) -> None:
    now = [0.0]
    found = Access(BOTH, lambda: now[0])
    assert found.client(bearer(SHOP)) == "shop"
    mounts.write("api-keys", line("shop", SHOP) + "# the next one\n\n" + line("shop", BILLING))
    now[0] += access.READ_SECONDS
    assert {found.client(bearer(SHOP)), found.client(bearer(BILLING))} == {"shop"}
    mounts.write("api-keys", line("shop", BILLING))
    now[0] += access.READ_SECONDS
    assert found.client(bearer(BILLING)) == "shop"
    with pytest.raises(UnauthenticatedError):
        found.client(bearer(SHOP))


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        SHOP,
        f"shop {SHOP}",
        line("shop", SHOP).replace("sha256:", "md5:"),
        line("shop", SHOP).upper(),
        line("-shop", SHOP),
        line("s" * 64, SHOP),
        line("", SHOP),
    ],
)
def test_without_readable_keys_nobody_is_let_in(
    mounts: Mounts, text: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    file = mounts.folder / "access" / "api-keys" / "keys"
    file.unlink() if text is None else file.write_text(text)
    with pytest.raises(UnauthenticatedError):
        Access(BOTH).client(bearer(SHOP))
    assert caplog.records
    assert SHOP not in caplog.text


def test_a_line_that_is_not_read_keeps_no_other_from_being_read(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text("what is this\n" + line("shop", SHOP))
    assert KeyFile(file).client(SHOP.encode()) == "shop"


def test_the_number_of_keys_is_bounded(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text("".join(line("c", f"key-{n}") for n in range(MAX_KEYS + 1)))
    keys = KeyFile(file)
    assert (keys.client(f"key-{MAX_KEYS - 1}".encode()), keys.client(f"key-{MAX_KEYS}".encode())) == ("c", None)


def test_every_key_is_compared_whichever_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "keys"
    file.write_text("".join(line(f"c{n}", f"key-{n}") for n in range(5)))
    keys, compared = KeyFile(file), []
    compare = access.hmac.compare_digest
    monkeypatch.setattr(access.hmac, "compare_digest", lambda a, b: compared.append(b) or compare(a, b))
    for key in ("key-0", "key-4", "unknown"):
        compared.clear()
        keys.client(key.encode())
        assert len(compared) == 5
