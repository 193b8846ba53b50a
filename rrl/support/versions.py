"""The versions of what a stored result depends on: agents, problems, loads and the judge.

`rrl/versions.json` gives each of them a number and the digest of its behaviour under that number
(:mod:`rrl.studies.behaviour` makes the digests). A stored result and a journal name the numbers. A
change of behaviour needs a new number, and a change of words does not.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from rrl.support.errors import DataError
from rrl.support.files import read_json
from rrl.support.provenance import PACKAGE

PATH = PACKAGE / "versions.json"


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


def version(name: str) -> int:
    """Return the number of a name; 0 if it has none yet.

    Examples
    --------
    >>> version("agent of tomorrow")
    0
    """
    found = known().get(name)
    return found.number if found else 0
