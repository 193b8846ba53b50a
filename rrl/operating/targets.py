"""The servers that `rrl tune` measures, and the state in which it leaves them.

At a port, a service goes on when the run ends.
"""

from __future__ import annotations

import ipaddress
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from rrl.core.knob import Configuration, Knob
from rrl.core.space import ConfigSpace
from rrl.operating.job import Job
from rrl.operating.log import LOG
from rrl.operating.operate import Run
from rrl.operating.requests import model_path
from rrl.recording.other_work import OtherWork
from rrl.serving.client_traffic import ClientTraffic
from rrl.serving.envoy_config import Door
from rrl.serving.handover import HandoverServer
from rrl.serving.launcher import BINARY, LOCAL, find_executable, kind_of
from rrl.serving.live import LiveServer
from rrl.serving.sample import Inputs
from rrl.support.errors import RRLError, ServerError
from rrl.tuning.episode import Server
from rrl.tuning.presets import in_words

PORT = 8500  # TensorFlow Serving's own


@contextmanager
def open_server(
    options: Namespace, run: Run, requests: list[Inputs]
) -> Iterator[tuple[Server, OtherWork]]:
    """Open the server of a run, and what measures the work of others on its machine.

    At a port, the server goes on at the end with the configuration that stays.
    """
    job = run.job
    base, space = model_path(options.model), with_default(job)
    given: dict[str, Any] = {
        "inputs": requests,
        "executable": options.executable,
        "fixed": job.fixed,
        "signature": options.signature,
        "start_timeout_s": options.start_timeout,
        "logs": run.journal.path.parent / "logs",
    }
    if options.port is None:
        # Each change starts a new process: two that stay may differ in speed, though set alike.
        with LiveServer(base, space, **given) as server:
            yield server, OtherWork()
        return
    door = Door(options.port, options.rest_port, options.bind, options.max_request * 2**20)
    traffic = job.workload if isinstance(job.workload, ClientTraffic) else None
    given |= {"door": door, "traffic": traffic, "canary": options.canary}
    server = HandoverServer(base, space, **given)  # no `with`: clients use it, however this ends
    try:
        server.keep(job.default)
        kept = server.configure(job.default)
    except BaseException:
        with suppress(ServerError):  # that nothing serves is not why this failed
            _leave(server)  # what an earlier run has left, or the default since a moment ago
        raise
    try:
        LOG.warning(f"clients may use {door} during the tuning and afterwards")
        if not ipaddress.ip_address(door.bind).is_loopback:
            LOG.warning("other machines can send requests there, unless a firewall closes the port")
        if kept.exposed:
            LOG.warning(kept.exposed)
        if traffic is not None:
            LOG.warning(f"waiting for requests at {server.address}")
            server.wait_for_requests(20)
        yield server, OtherWork(server.processes)
    except BaseException as error:
        if isinstance(error, ServerError | OSError):
            LOG.warning(str(error))  # now: the return takes long, and its own error would hide it
        leave_running(server, run.stays(options.keep_best))
        raise
    if not leave_running(server, run.stays(options.keep_best)):
        raise ServerError(
            f"{door}: the configuration to deploy cannot take over; a line above says why; the "
            "same command tries again"
        )


def with_default(job: Job) -> ConfigSpace:
    """Return a space that also has the default; its other new combinations are never used."""
    return ConfigSpace(
        [
            Knob(knob.name, tuple(dict.fromkeys((*knob.values, job.default[knob.name]))))
            for knob in job.space.knobs
        ]
    )


# --- the service at a port ------------------------------------------------------------------------


def leave_running(server: HandoverServer, configuration: Configuration) -> bool:
    """Let a configuration go on at the port without this process; return whether it serves.

    If it does not start, or this is interrupted, the configuration that serves now goes on.

    Raises
    ------
    ServerError
        If nothing serves.
    """
    server.keep(configuration)
    try:
        server.return_to_kept()
    except (RRLError, OSError) as error:
        LOG.warning(f"{in_words(configuration)} cannot take over: {error}")
        return False
    finally:
        _leave(server)
    return True


def _leave(server: HandoverServer) -> None:
    """Leave the serving configuration at the port without this process, and report its place."""
    left = server.leave()
    LOG.warning(
        f"{server.door} stays in service with {in_words(left.configuration)}; the log is "
        f"{left.log}; end it with: rrl stop {server.door.port}"
    )
    LOG.warning("if that server ends, only a supervisor starts it again (the page for operators)")


# --- the command that starts such a server -------------------------------------------------------


def command_here(options: Namespace) -> list[str]:
    """Return the command that starts a server of the model, without the flags that are tuned."""
    base = model_path(options.model)
    return [
        *find_executable(options.executable),
        f"--port={options.port or PORT}",
        f"--model_name={base.resolve().name}",
        f"--model_base_path={base.resolve()}",
    ]


def own_server(options: Namespace) -> str:
    """Say which server starts here, if nobody chose it and it is not the original."""
    if options.executable or kind_of(find_executable()) != LOCAL:
        return ""
    return f"no {BINARY} on the PATH: the local server of rrl, on the same runtime, takes its place"
