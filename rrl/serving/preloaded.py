"""The parent of servers that end with this process; it may have imported TensorFlow already.

Nobody stops a server when the process that needs it is killed. So servers are children of a process
in between. It ends when the other end of its standard input is closed, which the kernel does, and
the kernel then kills its children.

Thread counts belong to a process, so each change of them needs another server. Most of the start of
a local server is the import of TensorFlow. The parent of local servers imports it once. Then it
only forks, and each child is a server, seconds sooner. Between two questions it sleeps.

A fork copies only the thread that calls it. So it is safe only while there is no other one.
TensorFlow starts its threads with the first session, and gRPC with the first server or channel. If
an import fails or has started a thread all the same, the parent begins anew without the import, and
its children are servers that import TensorFlow themselves.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import signal
import socket
import subprocess
import sys
import threading
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from multiprocessing import connection
from pathlib import Path
from typing import Any, NoReturn

from rrl.serving.lasting import Process, start_apart
from rrl.support.errors import ServerError

LOCAL_COMMAND = [sys.executable, "-m", "rrl.serving.local_server"]
ENVIRONMENT = {"TF_CPP_MIN_LOG_LEVEL": "1", "PYTHONUNBUFFERED": "1"}
"""Environment variables of all servers."""

LONGEST_S = 120.0  # that the imports may take
_ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1"}  # else NumPy starts threads, which serving never uses
_PRELOADED = "preloaded"
_PR_SET_PDEATHSIG = 1


class Parent:
    """A process that starts servers. It ends with this process, and its servers with it.

    Parameters
    ----------
    local : bool
        Whether the servers are local ones, for which it imports TensorFlow.
    variables : mapping of str to str
        Environment variables of the servers beside those of this process.
    """

    def __init__(self, local: bool, variables: Mapping[str, str]) -> None:
        ours, theirs = socket.socketpair()
        command = [sys.executable, "-m", "rrl.serving.preloaded", *([_PRELOADED] if local else [])]
        more = _ONE_THREAD if local else {}
        environment = {**os.environ, **ENVIRONMENT, **more, **variables}
        with theirs:
            self.process = start_apart(command, theirs.fileno(), subprocess.DEVNULL, environment)
        self._connection = connection.Connection(ours.detach())
        self._one_question = threading.Lock()

    @property
    def answers(self) -> bool:
        """Whether it can be asked."""
        return not self._connection.closed and self.process.poll() is None

    def ask(self, question: Any) -> int | None:
        """Ask what :func:`main` answers; the answer is None if the process has ended."""
        with self._one_question, suppress(OSError, EOFError):
            try:
                self._connection.send(question)
                if self._connection.poll(LONGEST_S):
                    return self._connection.recv()
                raise TimeoutError
            except BaseException:  # an answer that came later would be to another question
                self._connection.close()  # this ends the process, and with it all of its servers
                raise
        return None


@lru_cache(maxsize=2)  # two servers may need different variables; a parent takes up to 190 MB
def _parent_for(local: bool, variables: frozenset[tuple[str, str]]) -> Parent:
    return Parent(local, dict(variables))


forget_parents = _parent_for.cache_clear
"""Let each process that waits to start servers end when its servers are forgotten, too."""

os.register_at_fork(after_in_child=forget_parents)  # they are the parent's


class Child(Process):
    """A server that ends with this process, as the child of a :class:`Parent`."""

    _number: int | None = None
    _parent: Parent | None = None
    _status: int | None = None

    @property
    def status(self) -> int | None:
        """The exit status, or minus the signal that ended it; None if it has not been started."""
        if self._status is None and self._parent is not None:
            status = self._parent.ask(self._number)  # once: then the kernel forgets the server
            self._status = -signal.SIGKILL if status is None else status  # as the parent
        return self._status

    def stop(self, grace_s: float = 10.0) -> bool:
        """End the process, see :meth:`Process.stop`, and let the kernel forget it."""
        ran = super().stop(grace_s)
        _ = self.status
        return ran

    def start(
        self,
        command: Sequence[str],
        log: Path,
        *,
        cpus: Sequence[int],
        variables: Mapping[str, str],
    ) -> None:
        """Start the server; it leads a group of its own.

        Parameters
        ----------
        command : sequence of str
            What starts it. One that begins with `LOCAL_COMMAND` is forked.
        log : pathlib.Path
            The file of its log, which exists.
        cpus : sequence of int
            The CPUs that it may use, as `taskset` would set them.
        variables : mapping of str to str
            Its environment variables beside those that this process had when a server with the same
            ones was started first.

        Raises
        ------
        ServerError
            If there is no room for it, or the process that would start it has ended.
        """
        local = list(command[: len(LOCAL_COMMAND)]) == LOCAL_COMMAND
        kind = local, frozenset(variables.items())
        if not _parent_for(*kind).answers:
            forget_parents()
        parent = _parent_for(*kind)
        self.file.write_bytes(b"")
        number = parent.ask((list(command), str(self.file), str(log), list(cpus)))
        if number is None:
            raise ServerError(
                "the process that starts servers has ended: free some memory, or see whether "
                f"`{sys.executable} -c 'import tensorflow'` works"
            )
        if not number:
            raise ServerError(f"no process could be started for {command[0]}: free some memory")
        self._number, self._parent = number, parent


def main() -> None:
    """Import what a local server needs, or nothing; then answer until the other end is closed.

    The command, files and CPUs of a server are answered by its number, and 0 means that there is no
    room for it. The number of a server that has ended is answered by its exit status.
    """
    if _PRELOADED in sys.argv and not _preload():
        os.execv(sys.executable, [sys.executable, "-m", "rrl.serving.preloaded"])
    owner = connection.Connection(sys.stdin.fileno())
    with suppress(EOFError, ConnectionError):
        while True:
            question = owner.recv()
            if isinstance(question, int):
                owner.send(os.waitstatus_to_exitcode(os.waitpid(question, 0)[1]))
            else:
                owner.send(_fork(*question))
    os._exit(0)  # at once: TensorFlow needs a second for it otherwise


def _preload() -> bool:
    """Import what a local server needs; return whether this process may fork servers then."""
    from rrl.serving import local_server

    with suppress(Exception):  # a server that imports it, too, says why
        local_server.preload()
        return len(os.listdir("/proc/self/task")) == 1
    return False


def _fork(command: list[str], file: str, log: str, cpus: list[int]) -> int:
    """Start a server; return its number, or 0 if there is no room: those that run must not suffer.

    A fork copies the lock, too, so the file is locked until the server ends.
    """
    parent = os.getpid()
    try:
        with Path(file).open("r+b") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if pid := os.fork():
                return pid
            _become(command, lock.fileno(), log, cpus, parent)
    except OSError:
        return 0


def _become(command: list[str], lock: int, log: str, cpus: list[int], parent: int) -> NoReturn:
    """Be a server: of its own session, on its CPUs, tied to its parent, with its output in the log.

    TensorFlow counts the CPUs when it opens the first session, so after this.
    """
    try:
        os.write(lock, str(os.getpid()).encode())
        os.setsid()
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # which died before the call
            os._exit(1)
        os.dup2(lock, 0)  # which was the way to the owner
        for output in (1, 2):
            os.dup2(os.open(log, os.O_WRONLY | os.O_APPEND), output)
        os.sched_setaffinity(0, cpus)
        if _PRELOADED not in sys.argv:
            os.execvp(command[0], command)
        from rrl.serving import local_server

        local_server.serve(command[len(LOCAL_COMMAND) :])
    except BaseException:  # nothing may reach the loop of the parent
        traceback.print_exc()
    finally:
        os._exit(1)


if __name__ == "__main__":
    main()
