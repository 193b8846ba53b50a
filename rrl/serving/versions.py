"""What the local server answers: predictions of the newest version, and the state of all versions.

As in TensorFlow Serving, the numbered folders of a model are looked at again and again. A new
version is loaded and warmed up beside the old one. Then requests go to the new version. The old one
answers its open requests, and then its session, schedulers and memory are freed.
"""

from __future__ import annotations

import ctypes
import gc
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rrl.serving.servable import (
    LoadedModel,
    found_versions,
    log,
    newest_version,
    reason,
    refused,
)
from rrl.tuning.episode import Status

RETRY_S = 60.0
"""Seconds after which a version that did not load is tried again, as in the original."""

Load = Callable[[Path], LoadedModel]
"""A function that makes a warm model from a version folder."""


class ServedModel:
    """A model by its name; requests go to the newest version under a base path.

    What it refuses, it refuses by tf.errors.OpError.

    Parameters
    ----------
    name : str
    base : pathlib.Path
        The folder that contains the numbered version folders.
    load : callable
        This function makes a warm model from a version folder.

    Attributes
    ----------
    states : dict of int to ModelVersionStatus
        Every version seen so far, including those that are gone or could not be loaded.
    """

    def __init__(self, name: str, base: Path, load: Load) -> None:
        self.name, self.base, self._load_folder = name, base, load
        self.states: dict[int, Any] = {}
        self._model: LoadedModel | None = None
        self._failed: tuple[int, float] = (-1, 0.0)  # a version that did not load, and when (s)
        self._calls: dict[LoadedModel, int] = {}  # requests that a version is answering
        self._changed = threading.Condition()

    def start(self) -> None:
        """Load the newest version; ValueError says that there is none."""
        newest = newest_version(self.base)
        if newest is None:
            raise ValueError(f"{self.base} holds no model version: it needs {self.base}/1/")
        self._load(newest)

    def follow(self, poll_wait_s: float) -> None:
        """Look for another version in a thread from now on; do not look if the wait is 0."""
        if poll_wait_s > 0:
            threading.Thread(target=self._poll, args=(poll_wait_s,), daemon=True).start()

    def _poll(self, poll_wait_s: float) -> None:
        while True:
            time.sleep(poll_wait_s)
            try:
                self.look()
            except OSError as error:  # perhaps too many open files; the next look may succeed
                log(f"Looking for versions of {self.name} failed: {error}")

    def look(self) -> None:
        """Let the newest version take over if it is another one.

        If there is no version, or the newest does not load, the present one continues to serve. A
        version that did not load, perhaps because its files were still being copied, is tried again
        after `RETRY_S`.
        """
        newest = newest_version(self.base)
        if newest is None or (self._model and newest == self._model.version):
            return
        failed, last = self._failed
        if newest == failed and time.monotonic() < last + RETRY_S:
            return
        old = self._model
        try:
            self._load(newest)
        except Exception as error:
            log(f"Loading version {newest} failed: {reason(str(error))}")
            return
        if old:
            self._unload(old)

    def _load(self, version: int) -> None:
        self._note(version, "LOADING")
        folder = found_versions(self.base).get(version, self.base / str(version))
        try:
            model = self._load_folder(folder)
        except BaseException as error:
            self._failed = version, time.monotonic()
            code = getattr(error, "error_code", Status.UNKNOWN.value)
            self._note(version, "END", code, reason(str(error)) or repr(error))
            raise
        with self._changed:
            self._model, self._calls[model] = model, 0
        self._note(version, "AVAILABLE")
        log(f"Version {version} of {self.name} is available")

    def _unload(self, model: LoadedModel) -> None:
        """Wait for the open requests of a version that gets no more, and free its memory."""
        self._note(model.version, "UNLOADING")
        with self._changed:
            self._changed.wait_for(lambda: self._calls[model] == 0)
            self._calls.pop(model)
        model.close()
        return_memory()  # who waits for the end need not meet the pause that this takes
        self._note(model.version, "END")

    def _note(self, version: int, state: str, code: int = 0, error: str = "") -> None:
        from tensorflow_serving.apis import get_model_status_pb2

        status = {"error_code": code, "error_message": error}
        self.states[version] = get_model_status_pb2.ModelVersionStatus(
            version=version, state=state, status=status
        )

    @contextmanager
    def serving(self, spec: Any) -> Iterator[LoadedModel]:
        """Give the version that a ModelSpec asks for; it is not unloaded during the block.

        Raises
        ------
        tf.errors.OpError
            If the spec names no model or a label (INVALID_ARGUMENT), or another model or version
            than the one that is served (NOT_FOUND).
        """
        choice = spec.WhichOneof("version_choice")
        if not spec.name:
            raise refused("ModelSpec has no name specified.")
        if choice == "version_label":
            raise refused(f"Unrecognized servable version label: {spec.version_label}")
        version = spec.version.value if choice == "version" else None
        with self._changed:
            model = self._model if spec.name == self.name else None
            if model is None or version not in (None, model.version):
                wanted = f"Latest({spec.name})"
                if version is not None:
                    wanted = f"Specific({spec.name}, {version})"
                raise refused(f"Servable not found for request: {wanted}", "NotFound")
            self._calls[model] += 1
        try:
            yield model
        finally:
            with self._changed:
                self._calls[model] -= 1
                self._changed.notify_all()

    def predict(self, request: Any) -> Any:
        """Answer a PredictRequest."""
        with self.serving(_spec(request)) as model:
            return model.predict(request)

    def status(self, request: Any) -> Any:
        """Answer with the states of all versions, or of the one that the request names."""
        from tensorflow_serving.apis import get_model_status_pb2

        spec = _spec(request)
        states = dict(self.states) if spec.name == self.name else {}
        if not states:
            raise refused(f"Could not find any versions of model {spec.name}", "NotFound")
        wanted = [spec.version.value] if spec.HasField("version") else sorted(states, reverse=True)
        reply = get_model_status_pb2.GetModelStatusResponse()
        for number in wanted:
            if number not in states:
                words = f"Could not find version {number} of model {spec.name}"
                raise refused(words, "NotFound")
            reply.model_version_status.append(states[number])
        return reply


def _spec(request: Any) -> Any:
    if not request.HasField("model_spec"):
        raise refused("Missing ModelSpec")
    return request.model_spec


def return_memory() -> None:
    """Return the memory of a closed version to the system.

    TensorFlow's graphs refer to themselves, so only Python's garbage collector frees them. Without
    a trim, the freed memory would stay in the arenas of glibc.
    """
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim:
        trim(0)
