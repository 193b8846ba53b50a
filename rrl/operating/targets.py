"""The servers that `rrl tune` measures, and the state in which it leaves them."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rrl.operating.requests import model_path
from rrl.operating.staying import leave_running, opened, say
from rrl.serving.launcher import BINARY, LOCAL, find_executable, kind_of

if TYPE_CHECKING:
    from rrl.core.knob import Configuration
    from rrl.core.space import ConfigSpace
    from rrl.operating.job import Job
    from rrl.operating.operate import Contestants
    from rrl.serving.live import LiveServer
    from rrl.serving.sample import Inputs
    from rrl.tuning.episode import Episode, Server


PORT = 8500  # TensorFlow Serving's own


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
    command : sequence of str
        The command that starts such a server, without the flags of a configuration.
    processes : callable, optional
        It returns the numbers of its processes on this machine that are no children of this one.
    """

    server: Server
    contestants: Contestants
    refuses: Callable[[Configuration], bool]
    command: Sequence[str] = ()
    processes: Callable[[], Sequence[int]] = tuple


def open_target(
    options: Namespace,
    job: Job,
    folder: Path,
    requests: list[Inputs] | None,
    largest: int,
) -> AbstractContextManager[Target]:
    """Open the server of a run; at a port, it goes on at the end with the configuration to keep."""
    if options.port is not None:
        return _at_port(options, job, folder, requests, largest)
    return _local(options, job, folder, requests, largest)


def refuses_batches(job: Job, largest: Callable[[], int]) -> Callable[[Configuration], bool]:
    """Make the rule for batches: a batch that is too small for a request refuses it."""

    def refuses(configuration: Configuration) -> bool:
        values = {**job.fixed, **configuration}
        batches = bool(values.get("batch_threads"))
        return batches and int(values.get("max_batch_size", 1)) < largest()

    return refuses


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
        refuses = refuses_batches(job, lambda: largest)
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
                refuses_batches(job, lambda: largest),
                command=command_here(options, base),
                processes=server.processes,
            )
        finally:
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


# --- the command that starts such a server -------------------------------------------------------


def command_here(options: Namespace, base: Path) -> list[str]:
    """Return the command that starts a server of the model, without the flags that are tuned."""
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
