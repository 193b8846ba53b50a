"""Which version of a model the local server answers with, and how the next one takes over.

As in TensorFlow Serving, a thread looks for the newest numbered folder. A new version is loaded and
warmed up beside the old one. Then requests go to the new version. The old one answers its open
requests, and then its session, schedulers and memory are freed.
"""

from __future__ import annotations

import ctypes
import gc
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rrl.serving.servable import LoadedModel, log, newest_version, reason


@dataclass
class State:
    """The state of a version; the names are those of TensorFlow Serving's API."""

    name: str = "LOADING"
    error_code: int = 0
    error: str = ""


class Versions:
    """The versions of one model under a base path; one of them answers.

    Parameters
    ----------
    base : pathlib.Path
        The folder that contains the numbered version folders.
    load : callable
        This function makes a warm model of a version folder.

    Attributes
    ----------
    states : dict of int to State
        Every version seen so far, including those that are gone or could not be loaded.
    """

    def __init__(self, base: Path, load: Callable[[Path], LoadedModel]) -> None:
        self.base, self._load = base, load
        self.states: dict[int, State] = {}
        self._model: LoadedModel | None = None
        self._calls: dict[int, int] = {}  # requests that a version is answering
        self._changed = threading.Condition()

    def first(self, poll_wait_s: float) -> None:
        """Wait for a version and load it; log each failed look, as the original does."""
        while (version := newest_version(self.base)) is None:
            there = self.base.is_dir()
            missing = "No versions found under" if there else "Could not find base path"
            log(
                f"{missing} {self.base}. "
                "Did you forget to name your leaf directory as a number (e.g. /1/)?"
            )
            time.sleep(max(poll_wait_s, 0.1))
        self._switch(version)

    def follow(self, poll_wait_s: float) -> None:
        """Look for newer versions in a thread from now on; do not look if the wait is 0."""
        if poll_wait_s > 0:
            threading.Thread(target=self._poll, args=(poll_wait_s,), daemon=True).start()

    def _poll(self, poll_wait_s: float) -> None:
        while True:
            time.sleep(poll_wait_s)
            version = newest_version(self.base)  # if None, the current version stays
            known = self.states.get(version or 0)
            if version is None or (known and (known.name == "AVAILABLE" or known.error)):
                continue
            try:
                self._switch(version)
            except Exception as error:  # after any error, the old version continues to serve
                words = reason(str(error))
                log(f"Loading version {version} failed: {words}")
                code = getattr(error, "error_code", 2)
                self.states[version] = State("END", code, words)

    def _switch(self, version: int) -> None:
        """Load a version, send requests to it, and unload the previous version."""
        self.states[version] = State("LOADING")
        model = self._load(self.base / str(version))
        with self._changed:
            old, self._model = self._model, model
            self._calls.setdefault(version, 0)
        self.states[version] = State("AVAILABLE")
        log(f"Version {version} of {model.name} is available")
        if old is not None:
            self.states[old.version] = State("UNLOADING")
            with self._changed:
                self._changed.wait_for(lambda: not self._calls[old.version])
            old.close()
            self.states[old.version] = State("END")
            del old
            return_memory()

    @contextmanager
    def serving(self, version: int | None = None) -> Iterator[LoadedModel]:
        """Give the model that answers; it is not unloaded during the block.

        Raises
        ------
        LookupError
            If `version` is not the version that answers.
        """
        with self._changed:
            model = self._model
            if model is None or version not in (None, model.version):
                raise LookupError(version)
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
