"""`rrl tune` tunes a model server under load; `rrl stop` ends the service that it has left."""

from __future__ import annotations

from argparse import Namespace, RawDescriptionHelpFormatter
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from rrl.operating.job import OBJECTIVES, Job, read_job, read_load
from rrl.operating.knob_options import read_default, read_space
from rrl.operating.log import LOG
from rrl.operating.operate import carry_out, no_room, open_run
from rrl.operating.options import (
    add_goal_options,
    add_model_options,
    add_run_options,
    add_server_options,
    ip_address,
    refuse_without_effect,
)
from rrl.operating.report import plan_lines
from rrl.operating.requests import Requests, about, read_requests, this_machine
from rrl.serving.client_traffic import ClientTraffic
from rrl.serving.launcher import find_executable
from rrl.serving.settings import flags, prefix
from rrl.support.errors import UsageError, interrupt_by_signals
from rrl.support.number_options import fraction, whole
from rrl.tuning.presets import in_words

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
    tune.add_argument("model", metavar="MODEL", help="a known model, or a SavedModel's base path")
    add_goal_options(tune)
    add_model_options(tune)
    tune.add_argument(
        "--port",
        type=whole(1, 65535),
        help="serve here while tuning, and afterwards; configurations take over without a gap",
    )
    tune.add_argument(
        "--dry-run",
        action="store_true",
        help="say what may be tried, how often, how long, and at which risk; start nothing",
    )
    more = tune.add_argument_group("further options")
    _add_service_options(more)
    add_server_options(more)
    add_run_options(tune, more)
    tune.set_defaults(run=_tune)
    stop = commands.add_parser(
        "stop",
        help="end the service that `rrl tune --port` has left at a port",
        description="End the service at a port: the run that tunes it, the proxy (Envoy), and the "
        "model server behind it. Calls that are open are cut off.",
    )
    stop.add_argument("port", type=whole(1, 65535), help="the port of `rrl tune --port`")
    stop.set_defaults(run=_stop)


def _add_service_options(group: Any) -> None:
    """Add the options about a service that has clients."""
    group.add_argument(
        "--rest-port", type=whole(1, 65535), metavar="PORT", help="serve REST here, beside --port"
    )
    group.add_argument(
        "--bind",
        type=ip_address,
        default="127.0.0.1",
        metavar="ADDRESS",
        help="the address of this machine on which these ports listen (default 127.0.0.1)",
    )
    group.add_argument(
        "--max-request",
        type=whole(1, 2047),
        default=64,
        metavar="MIB",
        help="the largest request that is let in there, in MiB (default 64)",
    )
    group.add_argument(
        "--traffic",
        action="store_true",
        help="learn from the requests that clients send to --port; send no others",
    )
    group.add_argument(
        "--canary",
        type=fraction,
        default=1.0,
        metavar="FRACTION",
        help="fraction of these requests that goes to a configuration on trial (default 1)",
    )
    group.add_argument(
        "--keep-best",
        action="store_true",
        help="after an interrupt or an error, the best known one stays (default: the default)",
    )
    group.add_argument(
        "--metrics-port",
        type=whole(1, 65535),
        metavar="PORT",
        help="the tuning's metrics for Prometheus, at this port of 127.0.0.1",
    )


def _tune(options: Namespace) -> int:
    from rrl.operating.metrics import metrics_at  # `--help` needs neither
    from rrl.operating.targets import command_here, open_server, own_server

    interrupt_by_signals()  # now: servers start before the first episode
    refuse_without_effect(options)
    requests = read_requests(options)
    job, folder = _job(options, requests)
    if options.dry_run:
        print("\n".join(plan_lines(job, requests.note)))
        return 0
    with ExitStack() as stack:
        for note in filter(None, (own_server(options), requests.note)):
            LOG.info(note)
        if full := no_room(folder):
            raise full
        run = stack.enter_context(open_run(job, folder))
        if options.metrics_port:
            stack.enter_context(metrics_at(options.metrics_port, run.guard))
        LOG.info(f"starting a server with the default: {in_words({**job.fixed, **job.default})}")
        server = stack.enter_context(open_server(options, job, folder, requests.inputs))
        return carry_out(run, server, command_here(options), options.keep_best)


def _job(options: Namespace, requests: Requests) -> tuple[Job, Path]:
    """Return the job and its folder."""
    space, fixed = read_space(options, requests.largest)
    load = ClientTraffic() if options.traffic else read_load(options)
    default = read_default(options, space)
    job, folder = read_job(options, options.model, options.model, space, default, load, fixed)
    if options.port and job.slo is None:
        raise UsageError("--port: say which requests are late for your clients, by --slo p99<80ms")
    ports = [port for port in (options.port, options.rest_port, options.metrics_port) if port]
    if len(set(ports)) < len(ports):
        raise UsageError(f"port {max(ports, key=ports.count)} is given twice; give each its own")
    # A default that cannot start is refused now, not after an hour.
    find_executable(options.executable)
    flags({**fixed, **job.default}, Path("batching.txt"))
    prefix({**fixed, **job.default})
    if options.dry_run:
        return job, folder
    measured = about(options) | this_machine()  # last, as it may build the model
    canary = options.canary if options.traffic else None  # the load of a trial
    return replace(job, about={**measured, "canary": canary}), folder


def _stop(options: Namespace) -> int:
    from rrl.serving.service import end_tuner, port_folder, stop_service

    folder = port_folder(options.port)
    tuned = end_tuner(folder)
    if not stop_service(folder) and not tuned:
        raise UsageError(f"port {options.port}: `rrl tune` has left no service of this user there")
    print(f"the service at port {options.port} has ended")
    return 0
