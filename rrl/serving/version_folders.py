"""Version folders of one SavedModel that differ in their batching file: settings to switch live.

A server that follows a base path loads a new version beside the old one. So the same model in a
new numbered folder, with other batching parameters in it, changes them without a restart
(`--enable_per_model_batching_parameters`).
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from rrl.serving.batching import VERSION_PARAMETERS, BatchingParameters
from rrl.serving.servable import newest_version
from rrl.support.errors import DataError, UnstableError


class VersionFolders:
    """A base path of our own with versions of somebody's model.

    The files are hard links to those of the model's newest version. Where the file system does not
    allow that, they are copied once. The model's own folder is only read.

    Parameters
    ----------
    model : pathlib.Path
        Base path of the model, with numbered version folders.
    root : pathlib.Path
        An empty folder; the base path to serve, `base`, is made in it.
    name : str
        Name of that base path.

    Raises
    ------
    DataError
        If the model has no version.
    """

    def __init__(self, model: Path, root: Path, name: str) -> None:
        newest = newest_version(model)
        if newest is None:
            raise DataError(f"{model} holds no model version: it needs {model}/1/")
        self.model, self.version = model, newest
        self.base, self._copy = root / name, root / f".{name}"
        self._source = model / str(newest)
        self._next = newest
        self.base.mkdir(parents=True)

    def add(self, batching: BatchingParameters | None) -> int:
        """Make a version with these parameters, or without batching; returns its number.

        The folder appears whole, since a server may look at any moment.
        """
        number, scratch = self._next, self.base / f".{self._next}"
        try:
            shutil.copytree(self._source, scratch, copy_function=os.link)
        except (OSError, shutil.Error):  # another file system, or links are not allowed
            shutil.rmtree(scratch, ignore_errors=True)
            if self._source == self._copy:
                raise
            shutil.copytree(self._source, self._copy)
            self._source = self._copy
            return self.add(batching)
        for folder, _, _ in os.walk(scratch):  # the model's own may be read-only
            Path(folder).chmod(0o755)
        own = scratch / VERSION_PARAMETERS
        own.unlink(missing_ok=True)
        if batching is not None:
            own.write_text(batching.to_text())
        scratch.rename(self.base / str(number))
        self._next += 1
        return number

    def keep(self, number: int) -> None:
        """Remove all versions but one."""
        for folder in self.base.iterdir():
            if folder.name != str(number):
                shutil.rmtree(folder, ignore_errors=True)

    def remove(self, number: int) -> None:
        """Remove a version."""
        shutil.rmtree(self.base / str(number), ignore_errors=True)

    def check(self) -> None:
        """Notice a new version of the model.

        Raises
        ------
        UnstableError
            If its owner has put another version there than the one that is measured.
        """
        newest = newest_version(self.model)
        if newest != self.version:
            raise UnstableError(
                f"{self.model}: version {newest} has come, and what was measured is version "
                f"{self.version}; begin anew to measure the new one"
            )
