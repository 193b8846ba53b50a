"""Which versions of a model the local server answers with, and how the next one takes over.

As in TensorFlow Serving, the numbered folders of a model are looked at again and again. A new
version is loaded and warmed up beside the old one. Then requests go to the new version. The old one
answers its open requests, and then its session, schedulers and memory are freed.
"""

from __future__ import annotations

import ctypes
import gc
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rrl.serving.servable import LoadedModel, found_versions, log, reason
from rrl.serving.status import UNKNOWN, not_found

RETRIES = 5
RETRY_S = 60.0
"""How often, and after what pauses, a version that did not load is tried again: as the original."""

Load = Callable[[str, Path], LoadedModel]
"""A function that makes a warm model from the model's name and a version folder."""


@dataclass(frozen=True)
class Policy:
    """Which of the versions in a folder are served: `model_version_policy`.

    Parameters
    ----------
    latest : int or None
        How many of the largest numbers are served; None means all.
    specific : frozenset of int or None
        The numbers that are served. If it is given, `latest` has no effect.

    Examples
    --------
    >>> found = {1, 2, 5}
    >>> Policy().choose(found), Policy(latest=2).choose(found), Policy(latest=None).choose(found)
    ({5}, {2, 5}, {1, 2, 5})
    >>> Policy(specific=frozenset({1, 7})).choose(found)
    {1}
    """

    latest: int | None = 1
    specific: frozenset[int] | None = None

    def choose(self, found: Iterable[int]) -> set[int]:
        """Return the versions to serve among those that were found."""
        if self.specific is not None:
            return set(found) & self.specific
        return set(sorted(found, reverse=True)[: self.latest])


@dataclass
class State:
    """The state of a version; the names are those of TensorFlow Serving's API."""

    name: str = "LOADING"
    error_code: int = 0
    error: str = ""


class Versions:
    """The versions of one model under a base path; a request goes to one of them.

    Parameters
    ----------
    name : str
        The model's name.
    load : callable
        This function makes a warm model from the name and a version folder.

    Attributes
    ----------
    base : pathlib.Path
        The folder that contains the numbered version folders.
    policy : Policy or None
        Which of them are served; None if the model is not served.
    states : dict of int to State
        Every version seen so far, including those that are gone or could not be loaded.
    """

    def __init__(self, name: str, load: Load) -> None:
        self.name, self._load_folder = name, load
        self.base = Path()
        self.policy: Policy | None = None
        self.states: dict[int, State] = {}
        self._models: dict[int, LoadedModel] = {}
        self._failed: dict[int, tuple[int, float]] = {}  # how often, and when it was (s)
        self._newest = -1  # no version
        self._calls: dict[int, int] = {}  # requests that a version is answering
        self._changed = threading.Condition()
        self._changing = threading.RLock()  # held while versions are loaded and unloaded

    def serve(self, base: Path, policy: Policy) -> None:
        """Take another folder or policy; `look` and `load_all` then act on it."""
        with self._changing:
            self.base, self.policy = base, policy
            for version in [v for v, state in self.states.items() if state.error]:
                del self.states[version]
            self._failed = {}  # all are tried again

    def wanted(self) -> set[int]:
        """Return the versions to serve that are there now."""
        return self.policy.choose(found_versions(self.base)) if self.policy else set()

    def wait(self, poll_wait_s: float) -> None:
        """Wait for a version; log each failed look, as the original does."""
        while not self.wanted():
            there = self.base.is_dir()
            missing = "No versions found under" if there else "Could not find base path"
            log(
                f"{missing} {self.base}. "
                "Did you forget to name your leaf directory as a number (e.g. /1/)?"
            )
            time.sleep(max(poll_wait_s, 0.1))

    def load_all(self) -> None:
        """Load all versions to serve; the error of the first that fails is raised."""
        with self._changing:
            for version in sorted(self.wanted() - set(self._models)):
                self._load(version)

    def look(self) -> None:
        """Load the versions to serve that are new, and unload those that are no longer served.

        If none is there, the present ones stay. After any error, they continue to serve, too. A
        version that did not load, perhaps because its files were still being copied, is tried again
        `RETRIES` times, or as new after its folder was gone.
        """
        with self._changing:
            wanted = self.wanted()
            self._failed = {v: failed for v, failed in self._failed.items() if v in wanted}
            for version in sorted(wanted - set(self._models)):
                times, last = self._failed.get(version, (0, 0.0))
                if times and (times > RETRIES or time.monotonic() < last + RETRY_S):
                    continue
                try:
                    self._load(version)
                except Exception as error:
                    log(f"Loading version {version} failed: {reason(str(error))}")
            if wanted & set(self._models):
                self._unload(set(self._models) - wanted)

    def close(self) -> None:
        """Unload all versions; `serve` would start again."""
        with self._changing:
            self.policy = None
            self._unload(set(self._models))

    def _load(self, version: int) -> None:
        self.states[version] = State("LOADING")
        folder = found_versions(self.base).get(version, self.base / str(version))
        try:
            model = self._load_folder(self.name, folder)
        except BaseException as error:
            times, _ = self._failed.get(version, (0, 0.0))
            self._failed[version] = times + 1, time.monotonic()
            code = getattr(error, "error_code", UNKNOWN)
            self.states[version] = State("END", code, reason(str(error)) or repr(error))
            raise
        with self._changed:
            self._models[version] = model
            self._newest = max(self._models)
            self._calls.setdefault(version, 0)
        self._failed.pop(version, None)
        self.states[version] = State("AVAILABLE")
        log(f"Version {version} of {self.name} is available")

    def _unload(self, versions: set[int]) -> None:
        """Send no more requests to these versions, wait for the open ones, and free the memory."""
        for version in sorted(versions):
            self.states[version] = State("UNLOADING")
            with self._changed:
                model = self._models.pop(version)
                self._newest = max(self._models, default=-1)
                self._changed.wait_for(lambda version=version: not self._calls[version])
            model.close()
            del model
            return_memory()  # who waits for the end need not meet the pause that this takes
            self.states[version] = State("END")

    @contextmanager
    def serving(self, version: int | None = None) -> Iterator[LoadedModel]:
        """Give a version, by default the newest; it is not unloaded during the block.

        Raises
        ------
        StatusError
            If there is no such version: NOT_FOUND.
        """
        with self._changed:
            model = self._models.get(self._newest if version is None else version)
            if model is None:
                raise not_found(self.name, version)
            self._calls[model.version] += 1
        try:
            yield model
        finally:
            with self._changed:
                self._calls[model.version] -= 1
                self._changed.notify_all()


def return_memory() -> None:
    """Return the memory of a closed version to the system.

    TensorFlow's graphs refer to themselves, so only Python's garbage collector frees them. Without
    a trim, the freed memory would stay in the arenas of glibc.
    """
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim:
        trim(0)
