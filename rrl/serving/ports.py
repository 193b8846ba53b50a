"""Listening ports on Linux: who listens on one."""

from __future__ import annotations

import ipaddress
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

_LISTENS = "0A"  # a state in /proc/net/tcp


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


def wait_until(condition: Callable[[], bool], timeout_s: float) -> bool:
    """Wait for a condition; return False if it does not come true in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True
