"""Version folders of one SavedModel with different batching files, to change settings live.

A server that watches a base path loads a new version beside the old one. Therefore a new numbered
folder with the same model and other batching parameters changes these parameters without a restart
(`--enable_per_model_batching_parameters`).
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from rrl.serving.batching import VERSION_PARAMETERS, BatchingParameters
from rrl.serving.servable import found_versions, newest_version
from rrl.support.errors import DataError, UnstableError


class VersionFolders:
    """A separate base path with versions of a model that belongs to somebody else.

    The files are hard links to those of the model's newest version. Where the file system does not
    allow that, they are copied once. The model's own folder is only read.

    Parameters
    ----------
    model : pathlib.Path
        Base path of the model, with numbered version folders.
    root : pathlib.Path
        An empty folder. The base path to serve, `base`, is made in it.
    name : str
        Name of that base path.

    Raises
    ------
    DataError
        If the model has no version.
    """

    def __init__(self, model: Path, root: Path, name: str) -> None:
        versions = found_versions(model)
        if not versions:
            raise DataError(f"{model} holds no model version: it needs {model}/1/")
        self.model = model
        self.base, self._copy = root / name, root / f".{name}"
        self._next = max(versions)
        self._source = versions[self._next]
        self.base.mkdir(parents=True)

    def add(self, batching: BatchingParameters | None) -> int:
        """Make a version with these parameters, or without batching; return its number.

        The folder appears only when it is complete, because a server may look at any moment.
        """
        number, scratch = self._next, self.base / f".{self._next}"
        try:
            shutil.copytree(self._source, scratch, copy_function=_link)
        except (OSError, shutil.Error):  # another file system, or links are not allowed
            _remove(scratch)
            if self._source == self._copy:
                raise
            try:
                shutil.copytree(self._source, self._copy)
            finally:
                _make_writable(self._copy)
            self._source = self._copy
            return self.add(batching)
        _make_writable(scratch)
        own = scratch / VERSION_PARAMETERS
        own.unlink(missing_ok=True)
        if batching is not None:
            own.write_text(batching.to_text())
        scratch.rename(self.base / str(number))
        self._next += 1
        return number

    def keep(self, number: int) -> None:
        """Remove all versions except `number`."""
        for folder in self.base.iterdir():
            if folder.name != str(number):
                _remove(folder)

    def remove(self, number: int) -> None:
        """Remove a version."""
        _remove(self.base / str(number))

    def check(self, version: int | None) -> None:
        """Check that a version is still the model's newest, see `check_newest`."""
        check_newest(self.model, version)


def check_newest(model: Path, version: int | None) -> None:
    """Check that a version is still a model's newest; None stands for any version.

    Raises
    ------
    UnstableError
        If the model's folder now has a newer version.
    """
    newest = newest_version(model)
    if version not in (None, newest):
        raise UnstableError(
            f"{model}: the newest version is now {newest}, but the measurements are of "
            f"version {version}; start a new run to measure the new version"
        )


def _link(source: str, target: str) -> None:
    """Make a hard link to a file, and not to a symbolic link, which may lead nowhere from there."""
    os.link(os.path.realpath(source), target)


def _remove(folder: Path) -> None:
    """Remove a folder that may be half made, with the modes of the model's own one."""
    _make_writable(folder)
    shutil.rmtree(folder, ignore_errors=True)


def _make_writable(root: Path) -> None:
    """Let the copies of a model's folders be removed; the model's own ones may be read-only."""
    for folder, _, _ in os.walk(root):
        Path(folder).chmod(0o755)
