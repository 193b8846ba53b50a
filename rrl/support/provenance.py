"""What a result depends on: the data that were read, and the versions.

`rrl/versions.json` gives each agent, problem, load and judge a number, and the digest of its
behaviour under that number (:mod:`rrl.studies.behaviour` makes the digests). A stored result and a
journal name the numbers. A change of behaviour needs a new number, and a change of words does not.
Packages have versions, too: those that are installed, and those of requirements.lock.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from functools import cache, lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

from rrl.support.errors import DataError
from rrl.support.files import read_json

PACKAGE = Path(__file__).parent.parent
PATH = PACKAGE / "versions.json"
NUMERICAL = ("numpy", "scipy", "numba", "scikit-learn", "scikit-optimize")
"""Packages whose version can change a simulated number."""


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
    pins = _pins()
    return {name: pins[name] for name in packages if name in pins}


@cache
def _pins() -> dict[str, list[str]]:
    lock = PACKAGE.parent / "requirements.lock"
    text = lock.read_text(encoding="utf-8") if lock.is_file() else ""
    found: dict[str, list[str]] = {}
    for name, pin in re.findall(r"^([\w.-]+)==([^\\\n]+?)\s*\\?$", text, re.MULTILINE):
        found.setdefault(name, []).append(pin)
    return found


def installed(packages: Iterable[str]) -> dict[str, str]:
    """Return the installed versions by name; a package that is not installed is left out.

    Examples
    --------
    >>> list(installed(["numpy", "no-such-package"]))
    ['numpy']
    """
    found = ((package, _version(package)) for package in packages)
    return {package: number for package, number in found if number}


@cache
def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


class Version(NamedTuple):
    """A number, and the digest of the behaviour that it stands for."""

    number: int
    digest: str


def known(path: Path = PATH) -> dict[str, Version]:
    """Return the versions by name, such as ``"agent random"`` or ``"problem gpu"``.

    Raises
    ------
    DataError
        If the file is damaged.

    Examples
    --------
    >>> known()["agent random"].number >= 1
    True
    """
    return dict(_known(path, path.stat().st_mtime_ns))


@lru_cache(maxsize=4)
def _known(path: Path, changed: int) -> dict[str, Version]:
    lines: Any = read_json(path)
    try:
        return {name: Version(int(number), str(digest)) for name, (number, digest) in lines.items()}
    except (AttributeError, TypeError, ValueError) as error:
        raise DataError(f"{path}: not a list of versions ({error}); restore it") from None
