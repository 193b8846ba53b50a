"""A server that its operator runs: a command restarts it, and it is left well.

At the end, also after an error or Ctrl-C, it runs the configuration that was named last as the one
to keep.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Self

from rrl.core.knob import Configuration
from rrl.serving.deployed import Deployed
from rrl.serving.loadgen import Client
from rrl.serving.restart_command import RestartCommand, make_folder
from rrl.serving.running import may_enter
from rrl.serving.undisturbed import undisturbed
from rrl.support.errors import RRLError, ServerError, UsageError

PAUSE_S = 1.0  # between two tries of the command


class OperatorsServer:
    """Deploy configurations by a command, and return to the one to keep; a context manager.

    Parameters
    ----------
    address, model, signature : str
        See :class:`rrl.serving.loadgen.Client`.
    command : RestartCommand
        Its folder also gets a note of what is deployed (:class:`Deployed`).
    start_timeout_s : float
        Seconds allowed for the command. The same time is allowed again until the model is
        AVAILABLE.
    restarts : int
        How many times a command that failed is tried again.
    show : callable
        This function receives lines of text for people to read. They may quote the command's
        output, so they must not be stored.

    Raises
    ------
    UsageError
        If another process uses the folder.
    """

    def __init__(
        self,
        address: str,
        model: str,
        signature: str,
        command: RestartCommand,
        *,
        start_timeout_s: float,
        restarts: int,
        show: Callable[[str], None],
    ) -> None:
        self.address, self._command, self._show = address, command, show
        self._start_timeout_s, self._restarts = start_timeout_s, restarts
        self._running: Configuration | None = None
        self._kept: Configuration | None = None
        make_folder(command.folder)
        self._deployed = Deployed(command.folder, address)
        self._client = Client(address, model, signature)
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        try:
            self.close()
        except RRLError as failed:
            if error is None:
                raise
            before = str(error) or type(error).__name__
            raise ServerError(f"{failed}; before that: {before}") from error

    @property
    def touched(self) -> bool:
        """Whether a run with this folder has restarted the server."""
        return self._deployed.configuration is not None

    def keep(self, configuration: Configuration) -> None:
        """Name the configuration to return to at the end, and after an error.

        Its batching file is written at once, so a full disk cannot prevent the return.

        Raises
        ------
        UsageError
            If the configuration leaves out a knob.
        """
        self._command.words(configuration)
        self._kept = dict(configuration)

    def check_reach(self, pid: int, configurations: Iterable[Configuration]) -> None:
        """Check that the server's user may read the batching files, before it is restarted.

        Otherwise it would not start, perhaps not even with what it has now.

        Parameters
        ----------
        pid : int
            The server's process; 0 if it is not known.
        configurations : iterable of configuration

        Raises
        ------
        UsageError
            If that user cannot enter the folder of the file of one of them.
        """
        if not pid or not any(map(self._command.needs_file, configurations)):
            return
        if closed := self._command.first(lambda folder: not may_enter(pid, folder)):
            raise UsageError(
                f"the user of the server at {self.address} cannot enter {closed}, so it could not "
                "read its batching file: choose another folder"
            )

    @undisturbed()
    def restore(self) -> None:
        """Restart the server with the configuration to keep, if something else runs.

        Nothing happens if no configuration was named, or if no run with this folder ever restarted
        the server.

        Raises
        ------
        ServerError
            If the restart fails. The message has the whole command, so it must not be stored.
        """
        kept, why = self._kept, ""
        if kept is None or self._deployed.configuration is None or self._is_served(kept):
            return
        self._show(
            f"restarting {self.address} with {self._text(kept)}: a second Ctrl-C prevents it"
        )
        try:
            for _ in range(self._restarts + 1):
                try:
                    return self._deploy(kept)
                except (RRLError, OSError) as error:
                    why = str(error)
                    time.sleep(PAUSE_S)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(self._by_hand(kept, "interrupted")) from None
        raise ServerError(self._by_hand(kept, why))

    def _is_served(self, configuration: Configuration) -> bool:
        now = self._deployed
        return now.configuration == configuration and now.complete and self._answers()

    def _answers(self) -> bool:
        try:
            return self._client.available(timeout_s=2.0)
        except ServerError:
            return False

    def _by_hand(self, kept: Configuration, why: str) -> str:
        return (
            f"{self.address} may not serve: restore {self._text(kept)} by hand with "
            f"`{shlex.join(self._command.words(kept))}` ({why})"
        )

    def close(self) -> None:
        """Restore the configuration to keep, remove files that nothing needs, and disconnect.

        Raises
        ------
        ServerError
            See :meth:`restore`. No batching file is removed then.
        """
        if self._closed:
            return
        self._closed = True
        try:
            self.restore()
            if self._deployed.configuration and self._deployed.complete:
                self._command.tidy(self._deployed.configuration)
        finally:
            self._client.close()
            self._deployed.close()

    def _deploy(self, configuration: Configuration, tries: int = 1) -> None:
        """Run the command and wait until the model is available."""
        trial = self._kept is not None and self._kept != dict(configuration)
        self._deployed.note(configuration, complete=False, required=trial)
        self._running = None
        for attempt in range(tries):
            try:
                self._command.run(configuration, self._start_timeout_s)
                break
            except ServerError as error:
                if attempt == tries - 1:
                    raise
                self._show(f"{error}: {self._command.last_line()}; it is tried again")
                time.sleep(PAUSE_S)
        deadline = time.monotonic() + self._start_timeout_s
        while not self._client.available(timeout_s=0.5):
            if time.monotonic() > deadline:
                raise ServerError(
                    f"{self.address}: no model available {self._start_timeout_s:.0f} s after the "
                    f"restart command {self._command.name}; see that server's log"
                    f"{self._command.unreadable(configuration)}"
                )
            time.sleep(0.05)
        self._deployed.note(configuration, complete=True)
        self._running = dict(configuration)

    @staticmethod
    def _text(configuration: Configuration) -> str:
        return ", ".join(f"{name} {value}" for name, value in configuration.items())
