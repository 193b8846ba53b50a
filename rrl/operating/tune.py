"""`rrl tune` tunes a server under load, `rrl replay` on recorded or simulated measurements.

`rrl stop` ends the service that a tuning has left.
"""

from __future__ import annotations

from argparse import RawDescriptionHelpFormatter
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from rrl.operating.job import read_goal, read_job, read_load
from rrl.operating.knobs import own_default, read_default, read_space
from rrl.operating.log import LOG
from rrl.operating.operate import carry_out, check_room, open_run
from rrl.operating.options import (
    DATA,
    OBJECTIVES,
    ReplayOptions,
    ReportOptions,
    StopOptions,
    TuneOptions,
    add_options,
    refuse,
)
from rrl.operating.report import load_words, plan_lines
from rrl.operating.requests import about, read_requests
from rrl.recording.profile import DESCRIPTION, read_profile
from rrl.recording.replay import RecordedServer
from rrl.rivals.agents import home
from rrl.serving.client_traffic import MOST_CALLS, ClientTraffic
from rrl.serving.launcher import BINARY, LOCAL, find_executable, kind_of
from rrl.serving.settings import flags, prefix
from rrl.support.errors import DataError, UsageError
from rrl.support.machine import describe_machine
from rrl.tuning.defaults import serving_default
from rrl.tuning.episode import Server
from rrl.tuning.presets import in_words
from rrl.workloads.workload import Workload

_EXAMPLES = """examples:
  a known model, on this machine:
    rrl tune mobilenet_v2 --rate 60 --slo "p99<50ms"
  your SavedModel, with your own requests and recorded arrivals:
    rrl tune /models/resnet --sample one.json --trace arrivals.csv --slo "p99<80ms"
  what a run at port 8500 may do there; without --dry-run, the service stays available at the port
  all the time, and afterwards:
    rrl tune /models/resnet --rate 20 --slo "p99<80ms" --port 8500 --dry-run
  the same with the requests that your clients send to that port, a fifth of them on trial:
    rrl tune /models/resnet --traffic --canary 0.2 --port 8500 --slo "p99<80ms"
  any flag, any environment variable, and the number of CPUs; a fixed flag beside them:
    rrl tune /models/resnet --rate 20 --knob flag:--grpc_max_threads=8,32 --knob cpus=1,2 \\
        --knob env:TF_ENABLE_ONEDNN_OPTS=0,1 --knob flag:--enable_model_warmup=false

Known models: mobilenet_v2, inception_v3, keyword. Knobs: inter_op, intra_op (0: TensorFlow chooses
the number), batch_threads (0: no batching), max_batch_size, batch_timeout_micros,
max_enqueued_batches, grpc_max_threads, cpus, flag:--NAME and env:NAME; by default the first three,
up to 8 each. rrl/operating/README.md is the page for operators.

"""


_REHEARSALS = """examples:
  a recorded profile under data/, at one of its loads:
    rrl replay mobilenet_v2-threads --rate 115 --slo "p99<60ms"
  a simulated server:
    rrl replay cpu10 --rate 14 --episodes 300
  the fewest CPUs of a simulated server that keep an SLO:
    rrl replay cpu10-cores --rate 8 --objective "cpus with p99<900ms" --episodes 200

--rate is one of the loads of a profile, by default the middle one. The same command gives the same
files, even if it was stopped and continued.

"""


def add_parsers(commands: Any) -> None:
    """Add the subcommands; the six options that most runs need come first."""
    tune = commands.add_parser(
        "tune",
        help="tune a model server and recommend its flags",
        usage="rrl tune MODEL --rate N [options]",
        description="Tune a model server under load, compare the recommendation with the default, "
        "and recommend flags and batching parameters.",
        epilog=_EXAMPLES + OBJECTIVES,
        formatter_class=RawDescriptionHelpFormatter,
    )
    add_options(tune, TuneOptions, _tune)
    replay = commands.add_parser(
        "replay",
        usage="rrl replay SOURCE [options]",
        help="tune on a recorded profile or a simulated server",
        description="Tune on measurements that exist already, by the rules of `rrl tune`.",
        epilog=_REHEARSALS + OBJECTIVES,
        formatter_class=RawDescriptionHelpFormatter,
    )
    add_options(replay, ReplayOptions, _replay)
    report = commands.add_parser(
        "report",
        help="make the page of a run again",
        description="Make report.html of a run again, from its journal and its result. The run may "
        "still go on.",
    )
    add_options(report, ReportOptions, _report)
    stop = commands.add_parser(
        "stop",
        help="end the service that `rrl tune --port` has left at a port",
        description="End the service at a port: the run that tunes it, the proxy (Envoy), and the "
        "model server behind it. Calls that are open are cut off.",
    )
    add_options(stop, StopOptions, _stop)


def _tune(options: TuneOptions) -> None:
    from rrl.operating.metrics import metrics_at  # `--help` needs neither
    from rrl.operating.targets import look, open_server, start_line

    load = _check(options)
    requests, largest = read_requests(options, options.seed)
    space, fixed = read_space(options.knob, largest)
    job, folder = read_job("tune", options, space, own_default(space), load, fixed=fixed)
    if options.dry_run:
        print("\n".join(plan_lines(job)))
    if words := look(options):
        LOG.warning(words)
    if options.dry_run:
        return
    job = replace(job, about=_measured(options))  # not before, as it may build the model
    with ExitStack() as stack:
        if not (options.executable or options.address) and kind_of(find_executable()) == LOCAL:
            LOG.info(
                f"no {BINARY} on the PATH: the local server of rrl, on the same runtime, takes its "
                "place"
            )
        run = stack.enter_context(open_run(job, folder, options.line))
        check_room(folder)
        if options.metrics_port:
            stack.enter_context(metrics_at(options.metrics_port, run.guard))
        LOG.info(f"starting a server with the default: {in_words({**job.fixed, **job.default})}")
        server = stack.enter_context(open_server(options, run, requests))
        LOG.info(f"{load_words(job)}, plus the server starts")
        carry_out(run, server, start_line(options))


def _check(options: TuneOptions) -> Workload:
    """Refuse options that are wrong with every model, before the model is read: it may take long.

    The load is returned, because a trace that comes from a pipe can be read only once.
    """
    if options.place is not None:
        names: tuple[str, ...] = ("port", "executable")
        refuse(options, names, "with --address: the commands start the server")
    if options.port is None:
        names = ("traffic", "rest_port", "bind", "max_request")
        refuse(options, names, "without --port")
    if options.port is None and options.place is None:
        refuse(options, ("keep_best",), "without --port or --address")
    if not options.traffic:
        refuse(options, ("canary",), "without --traffic")
    else:
        refuse(options, ("rate", "trace"), "with --traffic: the clients send the requests")
        if options.requests > options.canary * MOST_CALLS / 2:  # an episode would never end
            raise UsageError(
                f"--requests {options.requests}: too many of the clients' requests for an episode "
                f"with --canary {options.canary:g}; give fewer, or a larger --canary"
            )
    load = ClientTraffic() if options.traffic else read_load(options)
    space, fixed = read_space(options.knob, 1)
    default = read_default(options.default) or own_default(space)
    if options.place is not None:
        options.place.check([*default, *fixed])
    flags({**fixed, **default}, Path("batching.txt"))  # it must be able to start
    prefix({**fixed, **default})
    _, slo = read_goal(options, space, default)
    if options.port and slo is None:
        raise UsageError("--port: say which requests are late for your clients, by --slo p99<80ms")
    ports = [port for port in (options.port, options.rest_port, options.metrics_port) if port]
    if len(set(ports)) < len(ports):
        raise UsageError(f"port {max(ports, key=ports.count)} is given twice; give each its own")
    home(options.agent)
    find_executable(options.executable)
    return load


def _measured(options: TuneOptions) -> dict[str, Any]:
    """Return what must be the same when a run continues, besides the settings of the job."""
    here = describe_machine()  # a run that continues must not mix the latencies of two machines
    return {
        **about(options, options.place),
        "machine": f"{here['processor']}, {here['cpus']} CPUs, {here['system']}",
        "packages": ", ".join(f"{name} {number}" for name, number in here["versions"].items()),
        "canary": options.canary,  # the load of a trial
    }


def _replay(options: ReplayOptions) -> None:
    server, about, options = _open(options)
    default, load = serving_default(server.space), read_load(options)
    job, folder = read_job("replay", options, server.space, default, load, about=about)
    server.space.index(job.default)
    with open_run(job, folder, options.line) as run:
        carry_out(run, server)


def _open(options: ReplayOptions) -> tuple[Server, dict[str, Any], ReplayOptions]:
    """Return the server of a source, what it is, and the options, with a rate of its profile."""
    from rrl.simulation.testbeds import TESTBEDS, testbed  # it compiles loops

    source, path = options.model, Path(options.model)
    if source in TESTBEDS:
        return testbed(source), {"data": "testbed"}, options
    folder = next((f for f in (path, DATA / path) if f.is_dir()), None)
    if folder is None:
        profiles = sorted(f.parent.name for f in DATA.glob("*/profile.json"))
        raise UsageError(
            f"unknown source {source!r}; known: {', '.join([*TESTBEDS, *profiles])}"
            f"{'' if profiles else f' (no profile in {DATA.resolve()})'}, or give a profile's "
            "folder (for CSV files, use `rrl race FOLDER`)"
        )
    profile = read_profile(folder)
    if not profile.description["complete"]:
        raise DataError(
            f"{folder / DESCRIPTION}: the recording is not complete; finish it with `rrl profile`"
        )
    rates = profile.rates_per_s
    if options.trace is None and options.rate is None:
        options = replace(options, rate=rates[len(rates) // 2])
    about = {"data": profile.description["sha256"]}
    return RecordedServer(profile, options.rate), about, options


def _report(options: ReportOptions) -> None:
    from rrl.operating.page import write_page

    print(write_page(options.folder))


def _stop(options: StopOptions) -> None:
    from rrl.serving.service import end_tuner, port_folder, stop_service

    folder = port_folder(options.port)
    tuned = end_tuner(folder)
    if not stop_service(folder) and not tuned:
        raise UsageError(f"port {options.port}: `rrl tune` has left no service of this user there")
    print(f"the service at port {options.port} has ended")
