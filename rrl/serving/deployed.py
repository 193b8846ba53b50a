"""A note, in a file, of the configuration that a server was restarted with last.

A tuner that is killed leaves a trial in service. The next process with the same folder reads the
note, so it knows that a good configuration has to be restored.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from rrl.core.knob import Configuration, plain
from rrl.support.errors import UsageError
from rrl.support.files import write_atomically
from rrl.support.one_writer import open_alone, remove_leftovers

DEPLOYED = "deployed.json"
"""The name of the file."""


class Deployed:
    """What a server was restarted with last, by this process or by an earlier one.

    While it is open, no other process can open it for the same folder.

    Parameters
    ----------
    folder : pathlib.Path
        The folder of the note. It must exist.
    address : str
        Address of the server.

    Attributes
    ----------
    configuration : configuration, optional
        None if the server was never restarted. It is empty if the note cannot be read.
    complete : bool
        Whether the server was available after that restart, and has not failed since.

    Raises
    ------
    UsageError
        If another process has it open, or the note is about another server, which may still need
        it, and the batching files beside it.

    Examples
    --------
    >>> import tempfile
    >>> from contextlib import closing
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with closing(Deployed(Path(folder), "a:1")) as deployed:
    ...         deployed.note({"inter_op": 2}, complete=True)
    ...     with closing(Deployed(Path(folder), "a:1")) as deployed:
    ...         deployed.configuration, deployed.complete
    ({'inter_op': 2}, True)
    """

    def __init__(self, folder: Path, address: str) -> None:
        self._file, self._address = folder / DEPLOYED, address
        self.configuration: Configuration | None = None
        self.complete = False
        self._lock = open_alone(folder)
        remove_leftovers(folder, DEPLOYED)
        try:
            note = json.loads(self._file.read_text(encoding="utf-8"))
            other = str(note["address"])
            self.configuration = dict(note["configuration"])
            self.complete = bool(note["complete"])
        except FileNotFoundError:
            return
        except (OSError, ValueError, KeyError, TypeError):
            self.configuration = {}
            return
        if other != address:
            self.close()
            raise UsageError(
                f"{folder} is of a run on {other}, which may need its files: choose another folder "
                f"for {address}"
            )

    def close(self) -> None:
        """Let another process open it."""
        os.close(self._lock)

    def note(self, configuration: Configuration, *, complete: bool, required: bool = False) -> None:
        """Note that a restart with a configuration began or is complete.

        Parameters
        ----------
        configuration : configuration
        complete : bool
        required : bool
            Whether there must be no restart without the note. A trial requires the note, but a full
            disk must not prevent the return to a good configuration.

        Raises
        ------
        OSError
            If the note cannot be written, and it must be. Nothing has changed then.
        """
        values = {name: plain(value) for name, value in configuration.items()}
        note = {"address": self._address, "configuration": values, "complete": complete}
        try:
            write_atomically(self._file, json.dumps(note) + "\n")
        except OSError:
            if required:
                raise
        self.configuration, self.complete = values, complete
