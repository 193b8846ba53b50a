"""All models that the local server serves, and how their list changes while it serves."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping
from typing import Any

from rrl.serving.model_config import ModelSettings
from rrl.serving.servable import log, reason
from rrl.serving.status import (
    FAILED_PRECONDITION,
    NOT_FOUND,
    UNKNOWN,
    StatusError,
    invalid,
    not_found,
)
from rrl.serving.versions import Load, State, Versions


class ServedModels:
    """The served models by name, with their version labels.

    Parameters
    ----------
    load : callable
        This function makes a warm model from a model's name and a version folder.
    labels_in_advance : bool
        Whether a new label may name a version that is not available yet
        (`--allow_version_labels_for_unavailable_models`).
    """

    def __init__(self, load: Load, labels_in_advance: bool = False) -> None:
        self._load, self._labels_in_advance = load, labels_in_advance
        self._versions: dict[str, Versions] = {}  # also of models that were removed
        self._labels: Mapping[str, Mapping[str, int]] = {}
        self._changing = threading.Lock()

    def start(self, models: Iterable[ModelSettings], poll_wait_s: float) -> None:
        """Wait for the first version of each model and load it.

        Raises
        ------
        StatusError
            If a label names a version that is not available: FAILED_PRECONDITION.
        Exception
            If a version cannot be loaded.
        """
        models = list(models)
        self._labels = self._checked_labels(models)
        for model in models:
            versions = self._versions[model.name] = Versions(model.name, self._load)
            versions.serve(model.base, model.policy)
            versions.wait(poll_wait_s)
            versions.load_all()

    def reload(self, models: Iterable[ModelSettings]) -> None:
        """Serve these models and no others. If that fails, nothing changes.

        New models are loaded before others are removed. What is served already changes its folder,
        versions and labels.

        Raises
        ------
        StatusError
            If a new model has no version (INVALID_ARGUMENT, NOT_FOUND) or cannot be loaded
            (UNKNOWN), or a label names a version that is not available (FAILED_PRECONDITION).
        """
        with self._changing:
            listed = {model.name: model for model in models}
            labels = self._checked_labels(listed.values())
            served = {name for name, versions in self._versions.items() if versions.policy}
            added = [
                (self._versions.get(name) or Versions(name, self._load), model)
                for name, model in listed.items()
                if name not in served
            ]
            _load_new(added)
            for versions, model in added:
                self._versions[model.name] = versions
            self._labels = labels
            for name in served:
                versions = self._versions[name]
                if name not in listed:
                    versions.close()
                    log(f"Model {name} is no longer served")
                    continue
                model = listed[name]
                if (versions.base, versions.policy) != (model.base, model.policy):
                    versions.serve(model.base, model.policy)
                    versions.look()

    def follow(self, poll_wait_s: float) -> None:
        """Look for other versions in a thread from now on; do not look if the wait is 0."""
        if poll_wait_s > 0:
            threading.Thread(target=self._poll, args=(poll_wait_s,), daemon=True).start()

    def _poll(self, poll_wait_s: float) -> None:
        while True:
            time.sleep(poll_wait_s)
            for versions in list(self._versions.values()):
                try:
                    versions.look()
                except OSError as error:  # perhaps too many open files; the next look may succeed
                    log(f"Looking for versions of {versions.name} failed: {error}")

    def find(self, spec: Any) -> tuple[Versions, int | None]:
        """Return the versions of the model that a ModelSpec names, and the version that it names.

        Raises
        ------
        StatusError
            If it names no model or an unknown label (INVALID_ARGUMENT), or an unknown model
            (NOT_FOUND).
        """
        name = spec.name
        versions, version = self._versions.get(name), None
        choice = spec.WhichOneof("version_choice")
        if choice == "version":
            version = spec.version.value
        elif choice == "version_label":
            version = self._labels.get(name, {}).get(spec.version_label)
            if name and version is None:
                raise invalid(f"Unrecognized servable version label: {spec.version_label}")
        if versions is None:
            raise not_found(name, version) if name else invalid("ModelSpec has no name specified.")
        return versions, version

    def states(self, name: str) -> dict[int, State]:
        """Return the state of each version of a model; an unknown model has none."""
        versions = self._versions.get(name)
        return dict(versions.states) if versions else {}

    def _checked_labels(self, models: Iterable[ModelSettings]) -> dict[str, Mapping[str, int]]:
        """Return the labels of these models; each must name a version that is available."""
        for model in models:
            states, known = self.states(model.name), self._labels.get(model.name, {})
            for label, version in model.labels.items():
                new = known.get(label, version) == version
                available = version in states and states[version].name == "AVAILABLE"
                if not available and not (self._labels_in_advance and new):
                    raise StatusError(
                        FAILED_PRECONDITION,
                        f"Request to assign label to version {version} of model {model.name}, "
                        "which is not currently available for inference",
                    )
        return {model.name: model.labels for model in models}


def _load_new(added: list[tuple[Versions, ModelSettings]]) -> None:
    """Load models that are not served yet: all of them, or none."""
    for _, model in added:
        if not model.base.is_dir():
            raise invalid(f"Could not find base path {model.base} for servable {model.name}")
    try:
        for versions, model in added:
            versions.serve(model.base, model.policy)
            if not versions.wanted():
                raise StatusError(
                    NOT_FOUND,
                    "Unable to find a numerical version path for servable "
                    f"{model.name} at: {model.base}",
                )
            try:
                versions.load_all()
            except Exception as error:
                failed = f"{{name: {model.name}}} due to error: {reason(str(error))}"
                raise StatusError(
                    UNKNOWN, f"1 model(s) did not become available: {{{failed}}}"
                ) from None
    except BaseException:
        for versions, _ in added:
            versions.close()
        raise
