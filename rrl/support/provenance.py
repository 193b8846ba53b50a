"""What a result depends on besides the code: the data that were read, and the versions."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from functools import cache, lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGE = Path(__file__).parent.parent
NUMERICAL = ("numpy", "scipy", "numba", "scikit-learn", "scikit-optimize")
"""Packages whose version can change a simulated number."""
DRAWING = ("matplotlib", "seaborn", "pandas")
"""Packages whose version can change how a number is shown."""


def digest(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, as 64 hexadecimal digits."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def locked(packages: Iterable[str]) -> dict[str, list[str]]:
    """Return the versions in requirements.lock by name, each with the Pythons that it is for.

    All are returned, whatever Python this is. The result is empty without a lock.

    Examples
    --------
    >>> list(locked(["numba", "no-such-package"]))
    ['numba']
    """
    lock = PACKAGE.parent / "requirements.lock"
    pins = _pins(lock, lock.stat().st_mtime_ns) if lock.is_file() else {}
    return {name: pins[name] for name in packages if name in pins}


@lru_cache(maxsize=1)
def _pins(lock: Path, changed: int) -> dict[str, list[str]]:
    text = lock.read_text(encoding="utf-8")
    found: dict[str, list[str]] = {}
    for name, pin in re.findall(r"^([\w.-]+)==([^\\\n]+?)\s*\\?$", text, re.MULTILINE):
        found.setdefault(name, []).append(pin)
    return found


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Return the installed versions by name; a package that is not installed is left out.

    Examples
    --------
    >>> list(versions(["numpy", "no-such-package"]))
    ['numpy']
    """
    found = ((package, _installed(package)) for package in packages)
    return {package: number for package, number in found if number}


@cache
def _installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
