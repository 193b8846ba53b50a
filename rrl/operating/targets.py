"""The servers that `rrl tune` measures, and the state in which it leaves them.

At a port, a service goes on when the run ends.
"""

from __future__ import annotations

import ipaddress
import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from rrl.core.knob import Configuration, Knob
from rrl.core.space import ConfigSpace
from rrl.operating.log import LOG
from rrl.operating.operate import TuningRun, check_room
from rrl.operating.options import TuneOptions
from rrl.operating.report import StartLine
from rrl.operating.requests import model_path
from rrl.serving.client_traffic import ClientTraffic
from rrl.serving.envoy import Envoy
from rrl.serving.envoy_config import Door
from rrl.serving.handover import HandoverServer
from rrl.serving.launcher import find_executable
from rrl.serving.live import LiveServer
from rrl.serving.loadgen import Client
from rrl.serving.sample import Inputs
from rrl.serving.service import port_folder
from rrl.serving.settings import flags, prefix
from rrl.support.errors import DeployError, RRLError, ServerError, explain
from rrl.tuning.episode import Server
from rrl.tuning.presets import in_words


@contextmanager
def open_server(options: TuneOptions, run: TuningRun, requests: list[Inputs]) -> Iterator[Server]:
    """Open the server of a run.

    At a port, it goes on at the end with the configuration that stays.
    """
    job, base = run.job, model_path(options.model)
    values = {knob.name: (*knob.values, job.default[knob.name]) for knob in job.space.knobs}
    # Of the combinations that are new in it, only the default is ever used.
    space = ConfigSpace([Knob(name, dict.fromkeys(both)) for name, both in values.items()])
    given: dict[str, Any] = {
        "inputs": requests,
        "executable": options.executable,
        "fixed": job.fixed,
        "signature": options.signature,
        "start_timeout_s": options.start_timeout,
        "logs": run.journal.path.parent / "logs",
    }
    if options.place is not None:
        served = options.place.serves(base.resolve().name)
        with LiveServer(base, space, **given, place=options.place) as server:
            try:
                yield server
            finally:
                if served:
                    leave_elsewhere(server, run, options.keep_best)
        return
    if options.port is None:
        # Each change starts a new process: two that stay may differ in speed, though set alike.
        with LiveServer(base, space, **given) as server:
            yield server
        return
    with _open_port(options, run, base, space, given) as service:
        yield service


@contextmanager
def _open_port(
    options: TuneOptions, run: TuningRun, base: Path, space: ConfigSpace, given: dict[str, Any]
) -> Iterator[HandoverServer]:
    """Open the server of a run at a port, where the service goes on at the end."""
    job, door = run.job, _door(options)
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
        yield server
    except BaseException as error:
        if isinstance(error, ServerError | OSError):
            # Now, because the return takes long, and its own error would hide it.
            LOG.warning(explain(error)[0])
        leave_running(server, run.stays(options.keep_best))
        raise
    if not leave_running(server, run.stays(options.keep_best)):
        check_room(run.journal.path.parent)
        raise DeployError(
            f"{door}: the configuration to deploy cannot take over; a line above says why; the "
            "same command tries again"
        )


def leave_elsewhere(server: LiveServer, run: TuningRun, keep_best: bool) -> None:
    """Let a configuration go on at a server elsewhere, or else the default.

    Raises
    ------
    DeployError
        If the configuration to deploy does not start, so that the default serves.
    ServerError
        If none starts.
    """
    stays, default = run.stays(keep_best), run.job.default
    for configuration in (stays, default):
        try:
            where = server.configure(configuration).address
        except (RRLError, OSError) as error:
            LOG.warning(f"{in_words(configuration)} cannot serve: {explain(error)[0]}")
            continue
        server.let_go()
        LOG.warning(f"the service at {where} goes on with {in_words(configuration)}")
        if configuration != stays:
            raise DeployError(f"{in_words(stays)} cannot serve: the default serves at {where}")
        return
    raise ServerError("nothing serves any more: start the server by its own means")


def _door(options: TuneOptions) -> Door:
    assert options.port is not None
    return Door(options.port, options.rest_port, options.bind, options.max_request * 2**20)


def look(options: TuneOptions) -> str:
    """Return what is at the port or the address of a run before it starts; empty if nothing is.

    Raises
    ------
    UsageError
        If an earlier run has left a service there with other options, or there is no ``envoy``.
    ServerError
        If somebody else has the port.
    """
    base = model_path(options.model)
    name = base.resolve().name
    if options.place is not None:
        serves = options.place.serves(name)
        return f"{options.address}: " + (
            f"{name!r} is served there; it is stopped and started at each change, and goes on "
            "afterwards"
            if serves
            else f"{name!r} is not served there now; the run ends what it starts"
        )
    if options.port is None:
        return ""
    door = _door(options)
    envoy = Envoy(port_folder(door.port), door, os.path.abspath(base))
    if envoy.process.alive:
        envoy.check_options()
        return f"{door}: the service that an earlier run has left there continues"
    try:
        envoy.check_ports()
    except ServerError as error:
        with Client(door.local, name) as client:
            state = client.state(timeout_s=2.0)
        found = {"AVAILABLE": f"a server of {name!r} answers there", "NOT_FOUND": (
            f"a model server answers there, and it has no {name!r}"
        )}  # fmt: skip
        raise ServerError(
            f"{error} ({found.get(state, 'no model server answers there')})"
        ) from None
    return ""


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
        LOG.warning(f"{in_words(configuration)} cannot take over: {explain(error)[0]}")
        return False
    finally:
        _leave(server)
    return True


def _leave(server: HandoverServer) -> None:
    """Leave the serving configuration at the port without this process, and report its place."""
    left = server.leave()
    what = (
        f"{in_words(left.configuration)}; the log is {left.log}" if left else "what served before"
    )
    LOG.warning(
        f"the service at {server.door} goes on with {what}; "
        f"end it with: rrl stop {server.door.port}"
    )
    LOG.warning("if that server ends, only a supervisor starts it again (the page for operators)")


# --- the command that starts such a server -------------------------------------------------------


def start_line(options: TuneOptions) -> StartLine:
    """Return what makes the line for a shell that starts a configuration."""
    if options.place is not None:
        return options.place.filled

    def line(configuration: Configuration, batching: Path) -> str:
        words, _ = flags(configuration, batching)
        return shlex.join([*prefix(configuration), *command_here(options), *words])

    return line


def command_here(options: TuneOptions) -> list[str]:
    """Return the command that starts a server of the model, without the flags that are tuned."""
    base = model_path(options.model)
    return [
        *find_executable(options.executable),
        f"--port={options.port or 8500}",  # TensorFlow Serving's own
        *([f"--rest_api_port={options.rest_port}"] if options.rest_port else []),
        f"--model_name={base.resolve().name}",
        f"--model_base_path={base.resolve()}",
    ]
