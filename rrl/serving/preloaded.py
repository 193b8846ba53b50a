"""Start local servers from a process that has imported TensorFlow already: seconds sooner.

Thread counts belong to a process, so each change of them needs another one. Most of its start is
the import of TensorFlow. Here one process imports it once. Then it only forks, and each child is a
server. Between two forks it sleeps.

A fork copies only the thread that calls it. So it is safe only while there is no other one.
TensorFlow starts its threads with the first session, and gRPC with the first server or channel. If
an import has started one all the same, the process ends, and servers are started as usual.
"""

from __future__ import annotations

import atexit
import json
import os
import signal
import socket
import subprocess
import sys
import traceback
import weakref
from collections.abc import Mapping, Sequence
from contextlib import suppress
from multiprocessing import connection
from typing import NoReturn

from rrl.serving.quiet import SET_BY_TENSORFLOW
from rrl.serving.tied import tie, tied_command

LARGEST = 1 << 16  # bytes of a message
STARTED, ENDED = "started", "ended"  # what is said of a server, with its process and its status
LONGEST_S = 120.0  # that the imports may take
_PASSING = {"PYTEST_CURRENT_TEST"}  # pytest gives it another value in each phase of each test
_ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1"}  # else NumPy starts threads, which serving never uses


class Forked:
    """A forked server: the part of :class:`subprocess.Popen` that a server's owner needs.

    Attributes
    ----------
    pid : int
        The process, which leads a group of its own.
    returncode : int or None
        As of :class:`subprocess.Popen`: the exit status, or minus the signal that ended it.
    """

    def __init__(self, pid: int, status: socket.socket) -> None:
        self.pid, self._status = pid, status
        weakref.finalize(self, status.close)
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
            if not connection.wait([self._status], timeout):
                raise subprocess.TimeoutExpired("rrl.serving.local_server", timeout or 0.0)
            said = self._status.recv(LARGEST, socket.MSG_PEEK)  # any thread may ask, and again
            code = said.decode().removeprefix(ENDED) or -signal.SIGKILL
            self.returncode = int(code)  # if closed without a word, its parent has died, so it too
        return self.returncode


class Preloaded:
    """A process that waits, with TensorFlow imported, to fork servers.

    It ends with this process. The kernel then kills its servers.

    Parameters
    ----------
    environment : mapping of str to str
        All environment variables of the servers.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self.process = subprocess.Popen(
                tied_command([sys.executable, "-m", "rrl.serving.preloaded"]),
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={**environment, **_ONE_THREAD},
                start_new_session=True,
            )
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
        self._control.close()
        self.process.kill()
        self.process.wait()

    def fork(self, arguments: Sequence[str], log: int, cpus: Sequence[int]) -> Forked | None:
        """Fork a local server; return None if this process cannot do it.

        Parameters
        ----------
        arguments : sequence of str
            See ``python -m rrl.serving.local_server --help``.
        log : int
            The file descriptor of the server's log.
        cpus : sequence of int
            The CPUs that the server may use, as `taskset` would set them.
        """
        status, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        status.settimeout(LONGEST_S)
        message = json.dumps([list(arguments), list(cpus)]).encode()
        with suppress(OSError), theirs:
            socket.send_fds(self._control, [message], [log, theirs.fileno()])
        said = ""
        with suppress(OSError):
            said = status.recv(LARGEST).decode()
        if said.startswith(STARTED):
            self._forked.append(Forked(int(said.removeprefix(STARTED)), status))
            return self._forked[-1]
        status.close()
        return None


_processes: dict[frozenset[tuple[str, str]], Preloaded] = {}
"""By their environment; the one that was used last comes last."""

os.register_at_fork(after_in_child=_processes.clear)  # they are the parent's


def fork_server(
    arguments: Sequence[str], log: int, environment: Mapping[str, str], cpus: Sequence[int]
) -> Forked | None:
    """Fork a local server, for `cpus`, from a process with this environment, kept for others.

    Call it from one thread that lives as long as this process: the kernel ties the other process to
    the thread. The result is None where servers cannot be forked; then start one as usual.

    Each process takes 190 MB. So beside the one that is used, only one more goes on waiting, and
    those that have running servers, because these would die with it.
    """
    if sys.platform != "linux":
        return None
    passing = _PASSING | SET_BY_TENSORFLOW  # the process sets these itself
    environment = {name: environment[name] for name in environment.keys() - passing}
    key = frozenset(environment.items())
    used = _processes.pop(key, None)
    if used is None:
        for other in [other for other in _processes if _processes[other].idle][:-1]:
            _processes.pop(other).close()
        used = Preloaded(environment)
    _processes[key] = used
    return used.fork(arguments, log, cpus)


def forget_preloaded() -> None:
    """End all processes that wait to fork servers, and the servers that they have forked."""
    while _processes:
        _processes.popitem()[1].close()


def main() -> int:
    """Import what a local server needs, then fork servers until the other end is closed."""
    from rrl.serving import local_server

    local_server.preload()
    control = socket.socket(fileno=0)
    if len(os.listdir("/proc/self/task")) > 1:
        return 1
    ended, signalled = socket.socketpair()
    signalled.setblocking(False)
    signal.set_wakeup_fd(signalled.fileno())
    signal.signal(signal.SIGCHLD, lambda *_: None)
    running: dict[int, socket.socket] = {}
    while True:
        if ended in connection.wait([control, ended]):
            ended.recv(LARGEST)
            _report(running)
            continue
        message, descriptors, *_ = socket.recv_fds(control, LARGEST, 2)
        if not message:
            os._exit(0)  # at once: TensorFlow needs a second for it otherwise
        try:
            log, status = descriptors
            parent, pid = os.getpid(), os.fork()
        except (OSError, ValueError):  # no memory or descriptors: servers that run must not suffer
            for descriptor in descriptors:
                os.close(descriptor)  # so the other side learns that there is no server
            continue
        if not pid:
            for inherited in (control, ended, signalled, *running.values()):
                inherited.close()
            arguments, cpus = json.loads(message)
            _serve(arguments, cpus, log, socket.socket(fileno=status), parent)
        os.close(log)
        running[pid] = socket.socket(fileno=status)


def _report(running: dict[int, socket.socket]) -> None:
    """Send the exit status of each server that has ended, and forget it."""
    while running:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if not pid:
            return
        with running.pop(pid) as owner, suppress(OSError):
            owner.send(f"{ENDED} {os.waitstatus_to_exitcode(status)}".encode())


def _serve(
    arguments: Sequence[str], cpus: Sequence[int], log: int, status: socket.socket, parent: int
) -> NoReturn:
    """Be a server: of its own session, on its CPUs, tied to its parent, with its output in the log.

    TensorFlow counts the CPUs when it opens the first session, so after this.
    """
    from rrl.serving import local_server

    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.setsid()
        tie(parent)
        null = os.open(os.devnull, os.O_RDONLY)
        for source, target in ((null, 0), (log, 1), (log, 2)):
            os.dup2(source, target)
        os.close(log)
        os.sched_setaffinity(0, cpus)
        with status:
            status.send(f"{STARTED} {os.getpid()}".encode())
        local_server.serve(arguments)
    except BaseException:  # nothing may reach the loop of the parent
        traceback.print_exc()
    finally:
        os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
