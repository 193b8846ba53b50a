"""The servers that `rrl tune` measures, and the state in which it leaves them."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rrl.operating.requests import model_path
from rrl.operating.start_command import command_at, command_here
from rrl.operating.staying import leave_running, opened, say
from rrl.support.errors import ServerError

if TYPE_CHECKING:
    from rrl.core.knob import Configuration
    from rrl.core.space import ConfigSpace
    from rrl.operating.job import Job
    from rrl.operating.operate import Contestants
    from rrl.serving.live import LiveServer
    from rrl.serving.sample import Inputs
    from rrl.tuning.episode import Episode, Server


MOST_CPUS = 4096  # of a machine that cannot be asked


@dataclass(frozen=True)
class Target:
    """What a run tunes.

    Parameters
    ----------
    server : Server
        The server to tune.
    contestants : callable
        See :data:`rrl.operating.operate.Contestants`.
    refuses : callable
        Takes a configuration, and returns whether it would refuse requests that are served today.
    noted : mapping
        What the journal notes of a server of others, with each change of it.
    command : sequence of str
        The command that starts such a server, without the flags of a configuration.
    cpus : sequence of int, optional
        The CPUs of its machine; None if it is this one.
    """

    server: Server
    contestants: Contestants
    refuses: Callable[[Configuration], bool]
    noted: Mapping[str, Any] = field(default_factory=dict)
    command: Sequence[str] = ()
    cpus: Sequence[int] | None = None


def open_target(
    options: Namespace,
    job: Job,
    folder: Path,
    requests: list[Inputs] | None,
    largest: int,
    show: Callable[[str], None],
) -> AbstractContextManager[Target]:
    """Open the server of a run; at the end it is left with the configuration to keep.

    What cannot work is refused at once. The server is touched when the context is entered.
    """
    from rrl.serving.deployed import Deployed
    from rrl.serving.restart_command import make_folder

    if options.address:
        make_folder(folder)
        Deployed(folder.resolve(), options.address).close()  # it refuses that of another server
        return _restarted(options, job, folder, requests, largest, show)
    if options.port is not None:
        return _at_port(options, job, folder, requests, largest)
    return _local(options, job, folder, requests, largest)


def _refuses(job: Job, largest: Callable[[], int]) -> Callable[[Configuration], bool]:
    """Make the rule for batches: a batch that is too small for a request refuses it."""

    def refuses(configuration: Configuration) -> bool:
        values = {**job.fixed, **configuration}
        return bool(values.get("batch_threads")) and values.get("max_batch_size", 1) < largest()

    return refuses


@contextmanager
def _restarted(
    options: Namespace,
    job: Job,
    folder: Path,
    requests: list[Inputs] | None,
    largest: int,
    show: Callable[[str], None],
) -> Iterator[Target]:
    """Open a server that a command restarts; it closes with the kept configuration."""
    from rrl.serving.loadgen import Client
    from rrl.serving.restarted import RestartedServer
    from rrl.serving.running import model_version, running_server

    with RestartedServer(
        options.address,
        options.model_name,
        options.restart,
        with_default(job),
        inputs=requests,
        timeout_s=options.deadline,
        start_timeout_s=options.restart_timeout,
        folder=folder,
        fixed=job.fixed,
        signature=options.signature,
        show=show,
    ) as server:
        server.keep(job.default)
        with Client(options.address, options.model_name) as client:
            noted = {"model_version": model_version(client)}
        if noted["model_version"] is not None:
            server.check_requests(job.rng(4))
            now = running_server(options.address)
            server.check_reach(now.pid if now else 0, (job.default, *job.space))
        elif not server.touched:
            raise ServerError(
                f"{options.address}: no server answers; start it, or correct --address"
            )
        start = {"command": command_at(options), "cpus": range(MOST_CPUS)}
        yield Target(server, _same(server), _refuses(job, lambda: largest), noted, **start)


@contextmanager
def _local(
    options: Namespace, job: Job, folder: Path, requests: list[Inputs] | None, largest: int
) -> Iterator[Target]:
    """Open a server that only this run uses."""
    from rrl.serving.live import LiveServer

    base, given = _given(options, job, folder, requests)

    class InTurns(LiveServer):
        """A server that uses no processor while the other one of a comparison has its turn."""

        def measure(self, *arguments: Any, **options: Any) -> Episode:
            try:
                return super().measure(*arguments, **options)
            finally:
                self.pause()

    @contextmanager
    def contestants(recommended: Configuration) -> Iterator[Mapping[str, Server]]:
        server.close()
        one, two = (InTurns(base, with_default(job), **given) for _ in range(2))
        with closing(one), closing(two):
            yield {"default": one, "recommended": two}

    with LiveServer(base, with_default(job), **given) as server:
        refuses = _refuses(job, lambda: largest)
        yield Target(server, contestants, refuses, command=command_here(options, base))


@contextmanager
def _at_port(
    options: Namespace, job: Job, folder: Path, requests: list[Inputs] | None, largest: int
) -> Iterator[Target]:
    """Serve at a port while tuning; at the end the kept configuration goes on there."""
    from rrl.serving.client_traffic import ClientTraffic
    from rrl.serving.handover import HandoverServer

    base, given = _given(options, job, folder, requests)
    names = ("port", "rest_port", "bind", "traffic", "canary")
    live = {name: getattr(options, name) for name in names}
    live["max_request"] = options.max_request * 2**20
    with HandoverServer(base, with_default(job), **live, **given) as server:
        server.keep(job.default)
        try:
            server.configure(job.default, job.rng(5))
        except BaseException:
            if server.serves:  # what an earlier run has left goes on
                server.leave()
            raise
        opened(server)
        try:
            if isinstance(job.workload, ClientTraffic):
                job.workload.traffic = server.traffic
                say(f"waiting for requests at {server.address}")
                server.wait_for_requests(20)
            yield Target(
                server,
                _same(server),
                _refuses(job, lambda: largest),
                command=command_here(options, base),
            )
        finally:
            if not options.stop:
                leave_running(server)


def _given(
    options: Namespace, job: Job, folder: Path, requests: list[Inputs] | None
) -> tuple[Path, dict[str, Any]]:
    """Return the model's base path, and the options that all servers of a run share."""
    from rrl.serving import models
    from rrl.serving.loadgen import SIGNATURE
    from rrl.serving.servable import newest_version

    base = model_path(options.model)
    own = options.signature == SIGNATURE
    if requests is None and options.model in models.MODELS and own:
        requests = [models.sample(options.model, job.rng(4))]
    return base, {
        "inputs": requests,
        "executable": options.executable,
        "fixed": job.fixed,
        "version": newest_version(base),
        "timeout_s": options.deadline,
        "signature": options.signature,
        "start_timeout_s": options.start_timeout,
        "logs": folder / "logs",
    }


def _same(server: LiveServer | Any) -> Contestants:
    """Compare on one server, which switches between the two configurations."""

    @contextmanager
    def contestants(recommended: Configuration) -> Iterator[Mapping[str, Server]]:
        yield {"default": server, "recommended": server}

    return contestants


def with_default(job: Job) -> ConfigSpace:
    """Return a space that also has the default; its other new combinations are never used."""
    from rrl.core.knob import Knob
    from rrl.core.space import ConfigSpace

    return ConfigSpace(
        [
            Knob(knob.name, tuple(dict.fromkeys((*knob.values, job.default[knob.name]))))
            for knob in job.space.knobs
        ]
    )
