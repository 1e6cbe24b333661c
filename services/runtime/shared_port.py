"""Reserves a port that several processes of one service are to listen on together (SO_REUSEPORT)."""

from __future__ import annotations

import errno
import socket
from contextlib import ExitStack

ABSENT = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)  # such as ::1 of `localhost` where there is no IPv6


class PortUnavailable(Exception):
    """The address cannot be had, or cannot be shared; the message says which and why."""


def reserve_port(address: str) -> ExitStack:
    """Hold `host:port`, on every address of the host, for this process and those that it starts, until closed.

    The sockets only hold the port: they take no connections. A socket that shares a port does not notice others that
    share it too, so the port is bound alone first and opened to sharing afterwards: of two programs that come at the
    same time one is refused. Raises PortUnavailable.
    """
    if not hasattr(socket, "SO_REUSEPORT"):
        raise PortUnavailable("this system cannot share a port between processes (SO_REUSEPORT)")
    failures: list[OSError] = []
    with ExitStack() as held:
        places = _places(address)
        for family, place in places:
            try:
                held.enter_context(_hold(family, place))
            except OSError as error:
                failures.append(error)
        if len(failures) == len(places) or any(error.errno not in ABSENT for error in failures):
            raise PortUnavailable(f"cannot listen on {address}: {failures[-1].strerror}")
        return held.pop_all()


def _places(address: str) -> list[tuple[socket.AddressFamily, tuple[str, int]]]:
    host, _, port = address.rpartition(":")
    if not (host and port.isdecimal() and 0 < int(port) < 65536):
        raise PortUnavailable(f"a shared address must be host:port with a port of 1 to 65535, is {address!r}")
    try:
        found = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
    except OSError as error:
        raise PortUnavailable(f"cannot listen on {address}: {error.strerror}") from error
    return [(family, place) for family, _, _, _, place in found]  # type: ignore[misc]


def _hold(family: socket.AddressFamily, place: tuple[str, int]) -> socket.socket:
    with ExitStack() as opened:
        holder = opened.enter_context(socket.socket(family, socket.SOCK_STREAM))
        if family == socket.AF_INET6:
            holder.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections of an earlier run may linger
        holder.bind(place)
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        opened.pop_all()
        return holder
