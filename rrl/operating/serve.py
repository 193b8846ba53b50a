"""`rrl serve`: run a model server."""

from __future__ import annotations

import sys
import time
from argparse import Namespace, RawDescriptionHelpFormatter
from pathlib import Path
from typing import Any

from rrl.operating.options import (
    add_process_options,
    add_server_options,
    each_once,
    refuse_idle,
)
from rrl.support.errors import UsageError, interrupt_by_signals
from rrl.support.number_options import whole

_SERVE = """examples:
  rrl serve mobilenet_v2
  rrl serve /models/resnet --port 9000 --knob batch_threads=2 --knob max_batch_size=32
  rrl serve /models/resnet --knob cpus=2 --flag=--rest_api_port=8501 --env OMP_NUM_THREADS=1

Known models: mobilenet_v2, inception_v3, keyword. Knobs: inter_op, intra_op, batch_threads,
max_batch_size, batch_timeout_micros, max_enqueued_batches, grpc_max_threads. With 0 threads,
TensorFlow chooses their number. With 0 batch threads, batching is off. Otherwise a request may have
at most max_batch_size examples, which is 1 unless it is given. --knob cpus=N binds the server to N
CPUs. --knob flag:--NAME=VALUE is the same as --flag=--NAME=VALUE, and --knob env:NAME=VALUE the
same as --env NAME=VALUE.
"""


def add_parsers(commands: Any) -> None:
    """Add the subcommand."""
    serve = commands.add_parser(
        "serve",
        help="serve a model on this machine until Ctrl-C",
        description="Serve a model by TensorFlow Serving's gRPC API until Ctrl-C. A new version in "
        "the model's folder takes over without a restart. The local server listens on 127.0.0.1. "
        "tensorflow_model_server can only listen on all addresses.",
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
    add_server_options(serve)
    serve.add_argument(
        "--out", type=Path, help="folder for the server's log (default: kept only if it crashes)"
    )
    serve.set_defaults(run=_serve)


def _serve(options: Namespace) -> int:
    from rrl.serving import models
    from rrl.serving.launcher import ModelServer
    from rrl.serving.process_knobs import prefix, process_settings
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
    interrupt_by_signals(SystemExit)
    base = models.build(options.model) if options.model in models.MODELS else Path(options.model)
    with ModelServer(
        base,
        configuration,
        port=options.port,
        executable=options.executable,
        logs=options.out,
        follow=True,  # of a service, the operator may release another version at any time
        start_timeout_s=options.start_timeout,
    ) as server:
        if server.exposed:
            print("rrl:", server.exposed, file=sys.stderr, flush=True)
        print(f"{server.kind} server: model {server.name!r} at {server.address}; Ctrl-C stops it")
        if options.out:
            print(f"the log is {server.log}")
        sys.stdout.flush()
        while True:
            server.check()
            time.sleep(0.5)
