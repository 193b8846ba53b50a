"""`rrl serve` and `rrl profile`: run a model server, and measure a grid of configurations."""

from __future__ import annotations

import sys
import time
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rrl.operating.options import add_process_options, each_once, refuse, refuse_idle, whole
from rrl.support.errors import UsageError, interrupt_by_signals

if TYPE_CHECKING:
    from rrl.recording.plan import Plan


_SERVE = """examples:
  rrl serve mobilenet_v2
  rrl serve /models/resnet --port 9000 --knob inter_op=2 --knob batch_threads=2
  rrl serve /models/resnet --knob cpus=2 --flag=--rest_api_port=8501 --env OMP_NUM_THREADS=1

Known models: mobilenet_v2, inception_v3, keyword. Knobs: inter_op, intra_op, batch_threads,
max_batch_size, batch_timeout_micros, max_enqueued_batches, grpc_max_threads. With 0 threads,
TensorFlow chooses their number. With 0 batch threads, batching is off. --knob cpus=N binds the
server to N CPUs. --knob flag:--NAME=VALUE is the same as --flag=--NAME=VALUE, and
--knob env:NAME=VALUE the same as --env NAME=VALUE.
"""
_PROFILE = """examples:
  a grid of the repository, measured on this machine:
    rrl profile mobilenet_v2-threads --out build/mine
  your own grid, into data/my-grid:
    rrl profile my-grid --model keyword --knob inter_op=1,2 --knob batch_threads=0,2 \\
        --rates 100,400
  show the plan and its size without measuring:
    rrl profile inception_v3-threads --list

To continue a recording that was stopped, run the same command again on the same machine.
The folders under data/ come from another machine, so their plans need --out here.
"""


def add_parsers(commands: Any) -> None:
    """Add the two subcommands."""
    serve = commands.add_parser(
        "serve",
        help="serve a model on this machine until Ctrl-C",
        description="Serve a model by TensorFlow Serving's gRPC API until Ctrl-C. The local server "
        "listens on 127.0.0.1. tensorflow_model_server can only listen on all addresses.",
        epilog=_SERVE,
        formatter_class=RawDescriptionHelpFormatter,
    )
    serve.add_argument("model", help="a known model, or the base path of a SavedModel")
    serve.add_argument(
        "--port", type=whole(1, 65535), default=8500, help="gRPC port (default 8500)"
    )
    serve.add_argument(
        "--knob", action="append", default=[], metavar="NAME=VALUE", help="a setting; repeatable"
    )
    add_process_options(serve)
    _add_server_options(serve)
    serve.set_defaults(run=_serve)

    profile = commands.add_parser(
        "profile",
        help="measure a grid of configurations; it can be stopped and continued",
        description="Measure every configuration of a grid at several loads, then the best again.",
        epilog=_PROFILE,
        formatter_class=RawDescriptionHelpFormatter,
    )
    profile.add_argument("name", help="a named plan, or a name for your own plan (with --model)")
    profile.add_argument("--out", type=Path, help="folder (default: data/NAME)")
    profile.add_argument("--model", help="known model, for your own plan")
    profile.add_argument(
        "--knob",
        action="append",
        default=[],
        metavar="NAME=LEVELS",
        help="a knob of your own plan with its levels, such as inter_op=1,2,4; repeatable",
    )
    profile.add_argument("--rates", default="", help="loads in requests/s, comma-separated")
    profile.add_argument("--requests", type=int, default=100, help="requests per episode")
    profile.add_argument("--passes", type=int, default=2, help="passes over the grid (default 2)")
    profile.add_argument(
        "--seed", type=whole(0, 2**63 - 1), default=0, help="seed of the run (default 0)"
    )
    _add_server_options(profile)
    profile.add_argument(
        "--finals",
        type=whole(0, 10**6),
        metavar="N",
        help="measure the N best of each half and load again (default: the plan's; 0: no finals)",
    )
    profile.add_argument("--list", action="store_true", help="show the plan and stop")
    profile.set_defaults(run=_profile, parser=profile)


def _add_server_options(parser: ArgumentParser) -> None:
    parser.add_argument("--executable", help="tensorflow_model_server to use, or 'local'")
    parser.add_argument(
        "--start-timeout",
        type=float,
        default=120.0,
        metavar="S",
        help="seconds until a server that was started must be available (default 120)",
    )


def _serve(options: Namespace) -> int:
    from rrl.serving import models
    from rrl.serving.identity import check_flag, known_flags
    from rrl.serving.launcher import ModelServer, find_executable
    from rrl.serving.process_knobs import FLAG, prefix, process_settings
    from rrl.serving.settings import checked

    knobs = each_once(options.knob)
    for name, values in knobs.items():
        if len(values) > 1:
            raise UsageError(f"--knob {name}= has {len(values)} values; a server has one, give one")
    refuse_idle(knobs)
    more = process_settings(options.flag, options.env)
    if twice := knobs.keys() & more:
        raise UsageError(f"{min(twice)} is given twice; give it once")
    configuration = {name: values[0] for name, values in knobs.items()} | more
    checked(configuration)
    prefix(configuration)  # before a model is built
    for flag in (name.removeprefix(FLAG) for name in configuration if name.startswith(FLAG)):
        check_flag(flag, known_flags(find_executable(options.executable)))
    interrupt_by_signals(SystemExit)
    base = models.build(options.model) if options.model in models.MODELS else Path(options.model)
    with ModelServer(
        base,
        configuration,
        port=options.port,
        executable=options.executable,
        start_timeout_s=options.start_timeout,
    ) as server:
        if server.exposed:
            print("rrl:", server.exposed, file=sys.stderr, flush=True)
        print(f"{server.kind} server: model {server.name!r} at {server.address}; Ctrl-C stops it")
        sys.stdout.flush()
        while True:
            server.check()
            time.sleep(0.5)


def _plan(options: Namespace) -> Plan:
    from rrl.recording.plan import Plan
    from rrl.recording.plans import PLANS
    from rrl.serving.models import check_model
    from rrl.serving.settings import KNOBS

    if options.model is None:
        names = ("knob", "rates", "requests", "passes", "seed")
        refuse(options, names, "on a named plan: give --model for your own plan")
        if options.name not in PLANS:
            raise UsageError(
                f"unknown plan {options.name!r}; known: {', '.join(PLANS)}; "
                "give --model, --knob and --rates for your own plan"
            )
        return PLANS[options.name]
    try:
        rates = tuple(float(rate) for rate in options.rates.split(","))
    except ValueError:
        raise UsageError(f"--rates {options.rates!r}: write requests/s as 50,100") from None
    if len(set(rates)) < len(rates):
        raise UsageError(f"--rates {options.rates} has a rate twice; write each once")
    check_model(options.model)
    knobs = each_once(options.knob)
    if unknown := [name for name in knobs if name not in KNOBS]:
        raise UsageError(f"unknown knob {unknown[0]!r}; a server has: {', '.join(KNOBS)}")
    refuse_idle(knobs)
    return Plan(
        options.model,
        knobs,
        rates,
        requests=options.requests,
        passes=options.passes,
        seed=options.seed,
    )


def _profile(options: Namespace) -> int:
    from rrl.operating.screen import Screen
    from rrl.operating.verdict import duration
    from rrl.recording.finals import record_live
    from rrl.recording.record import with_rule
    from rrl.support.machine import another_run

    plain = Path(options.name).name == options.name != ".."
    if options.out is None and not (plain and options.name):
        raise UsageError(f"{options.name!r} is no name of a profile; give the folder by --out")
    plan = _plan(options)
    if options.finals is not None:
        plan = replace(plan, finalists=options.finals)
    size = (
        f"{options.name}: {len(plan.configurations)} configurations, {plan.episodes} episodes, "
        f"about {plan.hours:.1f} hours before the finals"
    )
    if options.list:
        print(f"{size}: {plan}")
        return 0
    if other := another_run():
        raise UsageError(other)
    print(size, file=sys.stderr)
    folder = options.out or Path("data") / options.name
    interrupt_by_signals()
    plan = with_rule(plan, folder)
    recording = record_live(plan, folder, options.executable, start_timeout_s=options.start_timeout)
    began, first = time.monotonic(), None
    with Screen(stamped=True) as screen:
        for done, episode in recording:
            first = done if first is None else first
            total = max(plan.episodes, done)  # the finals continue until they decide
            each_s = (time.monotonic() - began) / (done - first + 1)
            line = (
                f"{options.name}: {done}/{total} episodes | {1e3 * episode.latency.mean():.1f} ms "
                f"| {duration((total - done) * each_s)} left"
            )
            screen.progress(line, line)
    return 0
