"""The one store of results: files under ``data/results``, and an index of what they depend on.

``index.json`` has two entries about each file. Its *spec* says what was computed. Its *key* is what
the result depends on: the versions of the agent, the problem, the load and the judge
(:mod:`rrl.studies.behaviour`), the data and the locked packages. A result with another key is
outdated and is not read. The files hold results only.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import zipfile
from collections.abc import Collection, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rrl.recording.profile import DESCRIPTION, EPISODES
from rrl.studies.behaviour import problem_behaviour, versioned
from rrl.studies.days import KNOWING, Arrays, Day
from rrl.studies.problems import FINE, SURFACES, half_of
from rrl.studies.settings import Load, Setting, TruthOf, literal
from rrl.support.errors import DataError
from rrl.support.files import read_json, replacing, write_atomically
from rrl.support.provenance import NUMERICAL, digest, locked

INDEX = "index.json"

Key = tuple[str, ...]
"""What a result depends on: names with their versions, such as ``"agent random 1"``."""

Spec = Setting | Day | TruthOf
"""What a result is of: the runs of a setting or of a day, or the truth of a problem."""


def result_name(spec: Spec) -> str:
    """Return the name of a file, without its ending; the number of seeds does not count.

    Examples
    --------
    >>> result_name(Setting("gpu", ("Bursts", (8.0, 16.0), (60.0, 20.0)), "rrl-gp", 30, 100))
    'gpu/bursts-8-16-60-20/rrl-gp-100'
    >>> result_name(Day("cpu2", 75.0, "rrl-gp", 30, 750, 0.1, neighbour=(0.5, 150.0, 300.0)))
    'cpu2/day-75-0.5-150-300/rrl-gp-3600-750-0.1'
    """
    if isinstance(spec, Day):
        load: Load = ("day", spec.rate, *spec.neighbour)
        rest = f"{spec.agent}-{_words((spec.length_s, spec.requests, spec.late_s))}"
    elif isinstance(spec, TruthOf):
        load, rest = spec.load, f"truth-{spec.episodes}-{spec.replications}"
    else:
        words = re.sub(r"[^\w.]+", "-", spec.objective)  # no spaces, colons or "<" in file names
        objective = "" if spec.objective == "mean" else f"-{words}"
        load, rest = spec.load, f"{spec.agent}-{spec.episodes}{objective}"
    first = 0 if isinstance(spec, TruthOf) else spec.first_seed
    seeds = f"-from-{first}" if first else ""
    return f"{spec.testbed.replace('/', '-half-')}/{_words(load)}/{rest}{seeds}"


def _words(value: Any) -> str:
    if isinstance(value, tuple | list):
        return "-".join(map(_words, value))
    return value.lower() if isinstance(value, str) else f"{value:g}"


# --- what a result depends on ---------------------------------------------------------------------


def result_key(spec: Spec, data: str) -> Key:
    """Return what a result depends on, besides the setting, the day or the truth itself."""
    names = ["judge truth"] if isinstance(spec, TruthOf) else ["judge loop"]
    if isinstance(spec, Day):
        names.append("problem day")
    else:
        load = "Poisson" if isinstance(spec.load, int | float) else spec.load[0]
        names.append(f"load {load}")
    if isinstance(spec, Setting):
        names.append("judge objectives")
    if not isinstance(spec, TruthOf) and spec.agent != KNOWING:
        names.append(f"agent {spec.agent}")
    names.append(problem_behaviour(spec.testbed))
    packages = json.dumps(locked(NUMERICAL), sort_keys=True).encode()
    of_packages = f"packages {hashlib.sha256(packages).hexdigest()[:12]}"
    return (*map(versioned, names), *_data_key(spec.testbed, data), of_packages)


def _data_key(testbed: str, data: str) -> Key:
    """Return the digest of the data of a testbed: the plan and the episodes of a recording."""
    name, _ = half_of(testbed)
    where, surfaces = Path(data) / name, Path(data) / "surfaces" / "surfaces.npz"
    if where.is_dir():
        files = where / DESCRIPTION, where / EPISODES
        read = _recording(*files, *(file.stat().st_mtime_ns for file in files))
    elif name in (*SURFACES, FINE) and surfaces.exists():
        read = digest(surfaces)
    else:
        return ()
    return (f"data {read[:12]}",)


@lru_cache(maxsize=64)
def _recording(description: Path, episodes: Path, *_changed: int) -> str:
    plan = json.dumps(read_json(description)["plan"], sort_keys=True)
    return hashlib.sha256((plan + digest(episodes)).encode()).hexdigest()


# --- the files ------------------------------------------------------------------------------------


class Entry(NamedTuple):
    """What the index says of a file."""

    spec: Any
    key: Key


class Store:
    """The stored results below one folder.

    Parameters
    ----------
    folder : path
        It may be missing. Then nothing is stored.

    Raises
    ------
    DataError
        If the index is damaged.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        path = self.folder / INDEX
        try:
            lines = read_json(path) if path.exists() else {}
            self.index = {
                n: Entry(_spec(spec), tuple(map(str, key))) for n, (spec, key) in lines.items()
            }
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            raise DataError(f"{path}: not an index of results ({error}); restore it") from None

    @property
    def specs(self) -> dict[str, Spec]:
        """What was computed, by name."""
        return {name: entry.spec for name, entry in self.index.items()}

    def path(self, name: str) -> Path:
        """Return the file of a result."""
        return self.folder / f"{name}.npz"

    def changes(self, name: str, key: Key) -> Key:
        """Return what is new in a key since a result was stored; empty if the result is present."""
        if name not in self.index or not self.path(name).exists():
            return ("is not stored",)
        new = set(key) ^ set(self.index[name].key)
        return tuple(sorted(new & set(key) or new))

    def enter(
        self, entries: Mapping[str, tuple[Any, Key]], gone: Collection[str] = frozenset()
    ) -> None:
        """Enter results by name, each with its spec and its key; remove those that are `gone`.

        What another process entered meanwhile is kept.
        """
        for name in gone:
            self.path(name).unlink(missing_ok=True)
        present = {**Store(self.folder).index, **entries}
        self.index = {name: Entry(*entry) for name, entry in present.items() if name not in gone}
        lines = (f"{json.dumps(n)}: {json.dumps(list(e))}" for n, e in sorted(self.index.items()))
        self.folder.mkdir(parents=True, exist_ok=True)
        write_atomically(self.folder / INDEX, "{\n" + ",\n".join(lines) + "\n}\n")


def read_arrays(path: Path) -> Arrays:
    """Read the arrays of a file.

    Raises
    ------
    DataError
        If the file is damaged. The message names it.
    """
    try:
        # NumPy leaves a damaged file open that it has opened itself.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return {name: _wide(arrays[name]) for name in arrays.files}
    except Exception as error:  # zipfile, zlib, lzma and NumPy have a dozen kinds for damage
        raise DataError(
            f"{path}: damaged ({error}); restore it, or remove it: it is then computed again"
        ) from None


def _wide(array: NDArray[Any]) -> NDArray[Any]:
    """Return whole numbers with 32 bits or more: arithmetic with those of a file overflows."""
    whole = array.dtype.kind in "iu"
    return array.astype(np.promote_types(array.dtype, np.int32)) if whole else array


def write_arrays(path: Path, arrays: Arrays) -> None:
    """Write arrays to a file as small as possible; equal arrays give equal bytes.

    Whole numbers get the smallest type that holds all of their array.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file, zipfile.ZipFile(file, "w") as archive:
        for name, array in sorted(arrays.items()):
            small = array
            if array.dtype.kind in "iu":
                ends = int(array.min(initial=0)), int(array.max(initial=0))
                small = array.astype(np.result_type(*map(np.min_scalar_type, ends)))
            about = zipfile.ZipInfo(f"{name}.npy")  # without a date
            about.compress_type = zipfile.ZIP_LZMA
            with archive.open(about, "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, np.ascontiguousarray(small), allow_pickle=False)


def _spec(line: list[Any]) -> Spec:
    """Return the spec that the index has as a list; the kinds differ in their length."""
    kinds: tuple[Any, ...] = (Setting, Day, TruthOf)
    return {len(kind._fields): kind for kind in kinds}[len(line)](*literal(line))
