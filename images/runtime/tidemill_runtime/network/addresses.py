"""Which addresses a URI may lead to, checked on the address that is really connected to.

A URI comes from whoever may write a spec, a Secret or the answer of a server (a redirect), and the pod can reach what
they cannot: itself, its node, the cloud's metadata service. Those addresses are refused, private ones are not (stores
inside the cluster have them). Names are resolved here and the checked address is the one that is dialled, so that
neither another spelling nor a name server that changes its mind leads elsewhere. An administrator says more with
TIDEMILL_REFUSED_NETWORKS and TIDEMILL_ALLOWED_NETWORKS, of which the latter wins.
"""

import ipaddress
import os
import socket
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tidemill_contracts import storage as contract

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

REFUSED = (
    "0.0.0.0/8",  # this host
    "127.0.0.0/8",
    "169.254.0.0/16",  # link-local, and the metadata service of most clouds
    "100.100.100.200/32",  # metadata: Alibaba
    "168.63.129.16/32",  # metadata: Azure
    "192.0.0.192/32",  # metadata: Oracle
    "224.0.0.0/4",  # multicast
    "240.0.0.0/4",  # reserved, and broadcast
    "::/128",
    "::1/128",
    "fe80::/10",
    "fd00:ec2::/32",  # metadata: AWS
    "fd20:ce::/32",  # metadata: Google
    "ff00::/8",
)
"""What no URI leads to unless an administrator allows it."""
_EMBEDDING = tuple(  # translated, mapped and compatible forms: the last four bytes are an IPv4 address
    ipaddress.IPv6Network(text) for text in ("64:ff9b::/96", "64:ff9b:1::/48", "::ffff:0:0:0/96", "::/96")
)


class RefusedError(OSError):
    """The address is one that no URI may lead to. The message names the host, the address and the setting."""


@dataclass(frozen=True)
class Rules:
    """What an administrator and the default refuse and allow."""

    refused: tuple[Network, ...]
    allowed: tuple[Network, ...]

    def refuses(self, address: str) -> bool:
        """Return whether an address, or one that is written inside it, is refused."""
        for form in _forms(ipaddress.ip_address(address.partition("%")[0])):
            if _within(form, self.refused) and not _within(form, self.allowed):
                return True
        return False

    def names(self, address: str) -> bool:
        """Return whether an administrator has allowed this very address."""
        return _within(ipaddress.ip_address(address.partition("%")[0]), self.allowed)


def rules() -> Rules:
    """Return the rules of this process.

    Raises:
        ValueError: a setting holds something that is no network; the message names both.
    """
    refused = (*map(ipaddress.ip_network, REFUSED), *_networks(contract.REFUSED_NETWORKS_ENV))
    return Rules(refused, tuple(_networks(contract.ALLOWED_NETWORKS_ENV)))


def _networks(name: str) -> Iterator[Network]:
    for word in os.environ.get(name, "").replace(",", " ").split():
        try:
            yield ipaddress.ip_network(word)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error


def _within(address: Address, networks: Iterable[Network]) -> bool:
    return any(address in network for network in networks if network.version == address.version)


def _forms(address: Address) -> Iterator[Address]:
    yield address
    if isinstance(address, ipaddress.IPv6Address):
        packed = ipaddress.IPv4Address(address.packed[-4:])
        if int(address) > 1 and any(address in network for network in _EMBEDDING):
            yield packed
        yield from (form for form in (address.ipv4_mapped, address.sixtofour) if form is not None)
        yield from address.teredo or ()


def addresses(host: str, port: int) -> list[tuple[int, tuple[str, int]]]:
    """Return (family, socket address) of a host's allowed addresses, in the resolver's order.

    Raises:
        RefusedError: it has addresses, and all are refused.
        OSError: it has none.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    here = rules()
    kept = [(int(family), place) for family, _, _, _, place in found if not here.refuses(str(place[0]))]
    if not kept:
        shown = ", ".join(sorted({str(place[0]) for _, _, _, _, place in found}))
        where = host if shown == host else f"{host} ({shown})"
        raise RefusedError(
            f"{where} is an address of the pod, its node or the cloud's metadata, or one that the operator's settings "
            f"refuse; an administrator can allow it with {contract.ALLOWED_NETWORKS_ENV}"
        )
    return kept  # type: ignore[return-value]


def connect(host: str, port: int, timeout: float | None) -> socket.socket:
    """Return a connection to one of a host's allowed addresses.

    Raises: as `addresses`; OSError: none of them answers.
    """
    problem: OSError | None = None
    for family, place in addresses(host, port):
        found = socket.socket(socket.AddressFamily(family), socket.SOCK_STREAM)
        try:
            found.settimeout(timeout)
            found.connect(place)
        except OSError as error:
            found.close()
            problem = error
        else:
            found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return found
    assert problem is not None  # noqa: S101  `addresses` returns at least one
    raise problem
