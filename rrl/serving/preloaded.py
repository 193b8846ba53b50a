"""Start local servers from a process that has imported TensorFlow already: seconds sooner.

Thread counts belong to a process, so each change of them needs another one. Most of its start is
the import of TensorFlow. Here one process imports it once. Then it only forks, and each child is a
server. Between two questions of its owner it sleeps.

A fork copies only the thread that calls it. So it is safe only while there is no other one.
TensorFlow starts its threads with the first session, and gRPC with the first server or channel. If
an import has started one all the same, the process ends, and servers are started as usual.
"""

from __future__ import annotations

import atexit
import os
import signal
import socket
import subprocess
import sys
import threading
import traceback
import weakref
from collections.abc import Mapping, Sequence
from contextlib import suppress
from multiprocessing import connection
from typing import Any, NoReturn

from rrl.serving.quiet import SET_BY_TENSORFLOW
from rrl.serving.tied import tie, tied_command

LONGEST_S = 120.0  # that the imports may take
_ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1"}  # else NumPy starts threads, which serving never uses


class Preloaded:
    """A process that waits, with TensorFlow imported, to fork servers.

    It ends with this process. The kernel then kills its servers.

    Parameters
    ----------
    environment : mapping of str to str
        All environment variables of the servers.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.environment = environment
        ours, theirs = socket.socketpair()
        with theirs:
            self.process = subprocess.Popen(
                tied_command([sys.executable, "-m", "rrl.serving.preloaded"]),
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={**environment, **_ONE_THREAD},
                start_new_session=True,
            )
        self._connection = connection.Connection(ours.detach())
        self._one_question = threading.Lock()
        self._forked: list[Forked] = []
        atexit.register(self.close)

    @property
    def idle(self) -> bool:
        """Whether none of its servers runs any more."""
        self._forked = [server for server in self._forked if server.poll() is None]
        return not self._forked

    def close(self) -> None:
        """End the process, and with it all of its servers."""
        atexit.unregister(self.close)
        self._connection.close()
        self.process.kill()
        with suppress(KeyboardInterrupt):  # a second one, at the end of the interpreter
            self.process.wait()

    def ask(self, question: Any) -> int | None:
        """Ask what :func:`main` answers; the answer is None if the process has ended."""
        with self._one_question, suppress(OSError, EOFError):
            try:
                self._connection.send(question)
                if self._connection.poll(LONGEST_S):
                    return self._connection.recv()
                raise TimeoutError
            except BaseException:  # an answer that came later would be to another question
                self._connection.close()
                raise
        return None

    def fork(self, arguments: Sequence[str], log: str, cpus: Sequence[int]) -> Forked | None:
        """Fork a local server; return None if this process cannot do it.

        Parameters
        ----------
        arguments : sequence of str
            See ``python -m rrl.serving.local_server --help``.
        log : str
            The file of the server's log, which exists.
        cpus : sequence of int
            The CPUs that the server may use, as `taskset` would set them.
        """
        if pid := self.ask((arguments, log, cpus)):
            with suppress(ProcessLookupError):  # this process was killed meanwhile
                self._forked.append(Forked(pid, self))
                return self._forked[-1]
        return None


class Forked:
    """A forked server: the part of :class:`subprocess.Popen` that a server's owner needs.

    Attributes
    ----------
    pid : int
        The process, which leads a group of its own.
    returncode : int or None
        As of :class:`subprocess.Popen`: the exit status, or minus the signal that ended it.
    """

    def __init__(self, pid: int, parent: Preloaded) -> None:
        self.pid, self._parent = pid, parent
        self._end, self._one_asks = os.pidfd_open(pid), threading.Lock()
        weakref.finalize(self, os.close, self._end)
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Return the exit status; None while the server runs."""
        with suppress(subprocess.TimeoutExpired):
            return self.wait(0.0)
        return None

    def wait(self, timeout: float | None = None) -> int:
        """Wait until the server has ended, at most for `timeout` seconds; return its status.

        Raises
        ------
        subprocess.TimeoutExpired
            If it still runs then.
        """
        if self.returncode is None:
            if not connection.wait([self._end], timeout):
                raise subprocess.TimeoutExpired("rrl.serving.local_server", timeout or 0.0)
            with self._one_asks:
                if self.returncode is None:
                    status = self._parent.ask(self.pid)
                    self.returncode = -signal.SIGKILL if status is None else status  # as its parent
        return self.returncode


_waiting: list[Preloaded] = []  # one at most

os.register_at_fork(after_in_child=_waiting.clear)  # it is the parent's


def fork_server(
    arguments: Sequence[str], log: str, environment: Mapping[str, str], cpus: Sequence[int]
) -> Forked | None:
    """Fork a local server, for `cpus`, from a process with this environment, kept for others.

    Call it from one thread that lives as long as this process: the kernel ties the other process to
    the thread. The result is None where servers cannot be forked; then start one as usual.

    A process takes 190 MB, so only one waits. Another environment needs another process, which
    takes its place. But the servers of a process die with it. So while it has any, a server with
    another environment is not forked.
    """
    try:
        os.close(os.pidfd_open(os.getpid()))
    except (AttributeError, OSError):  # an older kernel, or a sandbox
        return None
    own = environment.keys() - SET_BY_TENSORFLOW  # the process sets these itself
    environment = {name: environment[name] for name in own}
    if _waiting and _waiting[0].environment != environment and _waiting[0].idle:
        forget_preloaded()
    if not _waiting:
        _waiting.append(Preloaded(environment))
    (one,) = _waiting
    return one.fork(arguments, log, cpus) if one.environment == environment else None


def forget_preloaded() -> None:
    """End the process that waits to fork servers, and the servers that it has forked."""
    while _waiting:
        _waiting.pop().close()


def main() -> int:
    """Import what a local server needs, then answer until the other end is closed.

    The arguments, log and CPUs of a server are answered by its number, and 0 means that there is no
    room for it. The number of a server that has ended is answered by its exit status, once.
    """
    from rrl.serving import local_server

    local_server.preload()
    owner, here = connection.Connection(sys.stdin.fileno()), os.getpid()
    if len(os.listdir("/proc/self/task")) > 1:
        return 1
    with suppress(OSError, EOFError):
        while True:
            question = owner.recv()
            if isinstance(question, int):
                _, status = os.waitpid(question, 0)
                owner.send(os.waitstatus_to_exitcode(status))
                continue
            try:
                pid = os.fork()
            except OSError:  # no memory: servers that run must not suffer
                pid = -1
            if not pid:
                arguments, log, cpus = question
                _serve(arguments, log, cpus, here)
            owner.send(max(pid, 0))
    os._exit(0)  # at once: TensorFlow needs a second for it otherwise


def _serve(arguments: Sequence[str], log: str, cpus: Sequence[int], parent: int) -> NoReturn:
    """Be a server: of its own session, on its CPUs, tied to its parent, with its output in the log.

    TensorFlow counts the CPUs when it opens the first session, so after this.
    """
    from rrl.serving import local_server

    try:
        os.setsid()
        tie(parent)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)  # which was the way to the owner
        for output in (1, 2):
            os.dup2(os.open(log, os.O_WRONLY | os.O_APPEND), output)
        os.sched_setaffinity(0, cpus)
        local_server.serve(arguments)
    except BaseException:  # nothing may reach the loop of the parent
        traceback.print_exc()
    finally:
        os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
