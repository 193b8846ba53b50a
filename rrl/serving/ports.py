"""Listening ports on Linux: who listens on one, and how to pass it on without a refused connection.

Several sockets may listen on one port if all of them set SO_REUSEPORT. The kernel then chooses one
of them for each new connection. If a socket closes, the kernel resets the connections that wait
in its queue, and those clients fail. Therefore the new connections must go to the other socket
before.
"""

from __future__ import annotations

import ctypes
import ipaddress
import os
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

_LISTENS = "0A"  # a state in /proc/net/tcp
_LOOPBACK = ipaddress.ip_address("127.0.0.1")

_SETTLE_S = 0.5  # in this time, a connection that has begun is accepted
_SO_ATTACH_REUSEPORT_CBPF = 51  # missing in Python's socket module
_BPF_RETURN = 0x06


def listening(
    port: int,
) -> Iterator[tuple[ipaddress.IPv4Address | ipaddress.IPv6Address, str]]:
    """Yield address and number of each TCP socket of this machine that listens on a port.

    A socket may come twice while connections come and go.
    """
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        for line in table.read_text().splitlines()[1:] if table.exists() else ():
            row = line.split()
            where, _, number = row[1].partition(":")
            if row[3] != _LISTENS or int(number, 16) != port:
                continue
            # The kernel prints each group of four bytes as a number of its own byte order.
            groups = (where[i : i + 8] for i in range(0, len(where), 8))
            ip = ipaddress.ip_address(
                b"".join(int(group, 16).to_bytes(4, sys.byteorder) for group in groups)
            )
            mapped = getattr(ip, "ipv4_mapped", None)
            yield mapped or ip, row[9]


def listeners(port: int, *, all_addresses: bool = True) -> int:
    """Return how many sockets of this machine listen on a port of 127.0.0.1.

    Parameters
    ----------
    port : int
        The port.
    all_addresses : bool
        Whether sockets count that listen on all addresses of the machine.
    """
    found = {
        number
        for ip, number in listening(port)
        if ip == _LOOPBACK or (all_addresses and ip.is_unspecified)
    }
    return len(found)


def own_sockets(port: int, *, listening: bool) -> list[socket.socket]:
    """Return this process's sockets on a local port: the listening ones, or the connections.

    gRPC does not give its sockets away, so they are found among the open files. The results are
    duplicates, and the caller closes them.
    """
    found: dict[str, socket.socket] = {}  # by the name of the socket, because copies are files, too
    for number in os.listdir("/proc/self/fd"):
        try:
            name = os.readlink(f"/proc/self/fd/{number}")
            if name in found or not name.startswith("socket:"):
                continue
            copy = socket.socket(fileno=os.dup(int(number)))
        except OSError:  # it is closed by now
            continue
        try:
            wanted = copy.getsockname()[1] == port
            if listening:
                wanted &= bool(copy.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
            else:
                copy.getpeername()
        except (OSError, IndexError, TypeError):  # it has no port, or it is not connected
            wanted = False
        if wanted:
            found[name] = copy
        else:
            copy.close()
    return [*found.values()]


def _steer(listener: socket.socket, number: int) -> bool:
    """Send new connections to one of the sockets that share an address and a port.

    It returns False if the kernel cannot do this.

    Parameters
    ----------
    listener : socket
        One of these sockets.
    number : int
        The socket that gets the connections. They are counted from 0, in the order in which they
        began to listen. If there is no such socket, the kernel chooses as before.
    """
    program = ctypes.create_string_buffer(struct.pack("HBBI", _BPF_RETURN, 0, 0, number))
    pointer = struct.pack("HP", 1, ctypes.addressof(program))
    try:
        listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_REUSEPORT_CBPF, pointer)
    except OSError:
        return False
    return True


def leave_new_connections(port: int) -> None:
    """Give all new connections to the other server that listens on a port with this process.

    The connections that are there stay. A server on the same address takes over without a gap. A
    server that listens on all addresses gets connections only when this process listens no longer;
    a client that connects in that very moment is refused.
    """
    with ExitStack() as stack:
        own = [stack.enter_context(one) for one in own_sockets(port, listening=True)]
        steered = all([_steer(listener, number=len(own)) for listener in own])
        time.sleep(_SETTLE_S)
        if not steered or listeners(port, all_addresses=False) <= len(own):
            for listener in own:
                listener.shutdown(socket.SHUT_RDWR)


def nobody_is_connected(port: int) -> bool:
    """Return whether no client has a connection to a port of this process."""
    connections = own_sockets(port, listening=False)
    for connection in connections:
        connection.close()
    return not connections


def wait_until(condition: Callable[[], bool], timeout_s: float) -> bool:
    """Wait for a condition; return False if it does not come true in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True
