"""Listening, and ceasing to listen without losing a connection.

Closing a listening socket resets every connection that the kernel has completed and the process has not
accepted yet. `refuse_new` makes the kernel ignore further handshakes first (a client's kernel tries again
a second later and is then refused cleanly); what is already in the queue can be accepted and answered.
"""

import contextlib
import socket
import struct
import sys
from typing import NamedTuple

# (level, option) of "drop packets that have passed a router" (RFC 5082); Linux, needs no privilege
_LEAST_HOPS = ((socket.IPPROTO_IP, 21), (socket.IPPROTO_IPV6, 73))
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: what is not sent is not waited for
_UNACKED = slice(24, 28)  # of struct tcp_info; of a listening socket: connections that wait to be accepted
_BYTES_RECEIVED = slice(128, 136)  # of struct tcp_info, Linux 4.1
BACKLOG = 2048


class Peer(NamedTuple):
    """A client's address; an IPv4 address has its own form in a socket for both, too."""

    host: str
    port: int


def listen(port: int, *, shared: bool = False) -> socket.socket:
    """Return a socket that listens on every address, IPv6 too where the machine has it.

    With `shared` several sockets may listen on the port; the kernel deals connections out among them.

    Raises:
        OSError: the port is taken.
    """
    if socket.has_dualstack_ipv6():
        try:
            return socket.create_server(
                ("", port), family=socket.AF_INET6, backlog=BACKLOG, dualstack_ipv6=True, reuse_port=shared
            )
        except OSError as error:
            if error.errno is not None and error.errno != 97 and error.errno != 99:  # no IPv6 address family or address
                raise
    return socket.create_server(("", port), backlog=BACKLOG, reuse_port=shared)


def listen_together(port: int, count: int) -> list[socket.socket]:
    """Return sockets that all listen on one port (0: a free one), among which the kernel deals connections out.

    Raises:
        OSError: the port is taken; by a process that shares its port, too.
    """
    if count == 1:
        return [listen(port)]
    with listen(port) as alone:  # a port that others share can be bound by sharing, but not without
        port = alone.getsockname()[1]
    return [listen(port, shared=True) for _ in range(count)]


def refuse_new(listener: socket.socket) -> None:
    """Let no further connection reach a listening socket; those in its queue stay. Linux only, elsewhere nothing.

    Packets must have 255 hops left from now on; clients send with 64 or 128. A connection whose handshake was
    half done inherits that, so `hear` belongs to whatever is accepted afterwards.
    """
    _require_hops(listener, 255)


def hear(connection: socket.socket) -> None:
    """Undo on an accepted connection what `refuse_new` did to its listener; what its client sent comes again."""
    _require_hops(connection, 0)


def _require_hops(own: socket.socket, count: int) -> None:
    if sys.platform != "linux":
        return
    for level, option in _LEAST_HOPS:
        with contextlib.suppress(OSError):  # an IPv4 socket knows nothing of IPv6, a sandbox perhaps of neither
            own.setsockopt(level, option, count)


def is_listening(own: socket.socket) -> bool:
    """Return whether a socket accepts connections, rather than being one."""
    return bool(own.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))


def waiting(listener: socket.socket) -> int:
    """Return how many connections the kernel has completed and the process has not accepted; 0 off Linux."""
    return _tcp_info(listener, _UNACKED)


def peer(connection: socket.socket) -> Peer:
    """Return who is at the other end of a TCP connection.

    Raises:
        OSError: the connection has ended.
    """
    host, port = connection.getpeername()[:2]
    return Peer(host.removeprefix("::ffff:"), port)


def received(connection: socket.socket) -> int:
    """Return how many bytes a TCP connection has received since it was made; 0 where the kernel does not count."""
    return _tcp_info(connection, _BYTES_RECEIVED)


def _tcp_info(own: socket.socket, field: slice) -> int:
    if sys.platform != "linux":
        return 0
    info = own.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, field.stop)
    return int.from_bytes(info[field], sys.byteorder)


def reset(connection: socket.socket) -> None:
    """End a TCP connection for everybody who holds it; whoever reads or writes it fails, the client too.

    Raises:
        OSError: the connection has ended.
    """
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    connection.shutdown(socket.SHUT_RDWR)
