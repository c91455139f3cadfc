"""`down` removes sockets that nobody listens on, and nothing that another containerd uses."""

import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hack.localcluster.local.host import dead_sockets


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a short name: a socket's path has at most 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="s") as name:
        yield Path(name)


def bound(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    return listener


def test_only_a_socket_that_refuses_is_dead(folder: Path) -> None:
    (folder / "file").write_text("no socket")
    with bound(folder / "dead"):
        pass
    with bound(folder / "alive") as listener:
        listener.listen()
        assert dead_sockets(folder) == [folder / "dead"]
    assert dead_sockets(folder) == [folder / "alive", folder / "dead"]


def test_a_busy_socket_and_one_of_another_type_are_left(folder: Path) -> None:
    with bound(folder / "busy") as listener, socket.socket(socket.AF_UNIX) as waiting:
        listener.listen(0)
        waiting.connect(str(folder / "busy"))
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as datagrams:
            datagrams.bind(str(folder / "datagrams"))
            assert dead_sockets(folder) == []


def test_a_folder_that_is_not_there_has_none(folder: Path) -> None:
    assert dead_sockets(folder / "absent") == []
