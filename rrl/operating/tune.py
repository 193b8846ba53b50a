"""`rrl tune`: tune a model server under load and recommend the flags to start it with."""

from __future__ import annotations

from argparse import Namespace, RawDescriptionHelpFormatter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rrl.operating.options import (
    add_tuning_options,
    checksum,
    command_line,
    each_once,
    endpoint,
    number,
    read_goal,
    read_load,
    refuse_without_effect,
    seconds,
    setting,
    whole,
)
from rrl.support.errors import DataError, UsageError

if TYPE_CHECKING:
    from rrl.core.knob import Configuration
    from rrl.core.space import ConfigSpace
    from rrl.operating.job import Job
    from rrl.operating.operate import Contestants
    from rrl.serving.sample import Inputs
    from rrl.tuning.episode import Server

BATCH_KNOBS = ("max_batch_size", "batch_timeout_micros", "max_enqueued_batches")

_EXAMPLES = """examples:
  a known model, on this machine:
    rrl tune mobilenet_v2 --rate 60 --slo "p99<50ms"
  your SavedModel, with your own requests and recorded arrivals:
    rrl tune /models/resnet --sample one.npz --trace arrivals.csv --slo "p99<80ms"
  your choice of knobs; the service stays available at port 8500 all the time:
    rrl tune /models/resnet --rate 20 --knob inter_op=1,2,4 --knob batch_threads=0,2,4 --port 8500
  a server on another machine, restarted by your own command:
    rrl tune --address 10.0.0.7:8500 --model-name resnet --rate 50 --sample one.json \\
        --knob inter_op=1,2 --knob batch_threads=1,2,4 \\
        --restart "ssh 10.0.0.7 /opt/restart-serving {inter_op} {batch_threads}"

Known models: mobilenet_v2, inception_v3, keyword. Knobs: inter_op, intra_op, batch_threads (0: no
batching), max_batch_size, batch_timeout_micros. Without --knob max_batch_size=... a batch has one
request. If your server already uses batching, give its levels with --default. Otherwise the
recommendation is compared with no batching.
A sample is a .npz file with one array per input (batch first), a REST request in .json, or a
TFRecord of PredictionLog. A trace is a file with one arrival per line, in seconds or ISO 8601.
The --restart command runs for every change. {inter_op} and the other knobs stand for levels,
{flags} for all flags of tensorflow_model_server, {batching_file} for a batching file. The old
server must have stopped when the command ends.

To continue a run that was stopped, run the same command again. Do no other work on the machine
during a run, because load, server and measurement share its cores.
"""


def add_parsers(commands: Any) -> None:
    """Add the subcommand."""
    tune = commands.add_parser(
        "tune",
        help="tune a model server and recommend its flags",
        description="Tune a model server under load, compare the recommendation with the default, "
        "and recommend flags and batching parameters.",
        epilog=_EXAMPLES,
        formatter_class=RawDescriptionHelpFormatter,
    )
    tune.add_argument("model", nargs="?", help="a known model, or a SavedModel's base path")
    what = tune.add_argument_group("the server")
    what.add_argument(
        "--knob",
        action="append",
        default=[],
        metavar="NAME=LEVELS",
        help="a knob to tune (default: inter_op, intra_op, batch_threads, up to 8 each)",
    )
    what.add_argument("--sample", type=Path, help="requests to send: .npz, .json or TFRecord")
    what.add_argument("--executable", help="tensorflow_model_server to use, or 'local'")
    what.add_argument(
        "--port",
        type=whole(1, 65535),
        help="serve here while tuning; configurations take over without a gap",
    )
    what.add_argument("--address", type=endpoint, help="host:port of a running server")
    what.add_argument("--model-name", default="default", help="its model (default 'default')")
    what.add_argument(
        "--restart", type=command_line, metavar="COMMAND", help="how to restart it, see below"
    )
    what.add_argument(
        "--restart-timeout",
        type=seconds,
        default=120.0,
        metavar="S",
        help="seconds until the restarted server must be available (default 120)",
    )
    what.add_argument(
        "--switch-cost",
        type=number,
        default=0.0,
        metavar="X",
        help="add X to an episode's cost for each second that switching to it took (default 0)",
    )
    add_tuning_options(tune)
    tune.set_defaults(run=_tune)


def _tune(options: Namespace) -> int:
    from rrl.operating.job import Job
    from rrl.operating.outcome import run
    from rrl.serving.launcher import find_executable, kind_of
    from rrl.serving.settings import flags

    if (options.model is None) == (options.address is None):
        raise UsageError("give a model to serve here, or --address of a running server")
    if options.address and not options.restart:
        raise UsageError("--address needs --restart COMMAND: a new configuration needs a restart")
    refuse_without_effect(options)
    space, fixed = _space(options)
    objective, slo = read_goal(options)
    load = read_load(options)
    if options.address:
        what = f"{options.model_name} at {options.address}, restarted by {options.restart!r}"
        name = options.model_name
    else:
        kind = kind_of(find_executable(options.executable))
        what, name = f"{options.model} on a {kind} server", Path(options.model).name
    sample = options.sample and f"{options.sample.name} ({checksum(options.sample)})"
    job = Job(
        f"{what}, sample {sample}",
        space,
        _default(options, space),
        load,
        objective,
        slo,
        options.agent,
        options.episodes,
        options.requests,
        options.rounds,
        options.seed,
        options.switch_cost,
        fixed,
        serves=_serves(options, space),
    )
    if not options.address:  # a default that cannot start is refused now, not after an hour
        flags({**fixed, **job.default}, Path("batching.txt"))
    folder = options.out or Path("build") / "tune" / name
    with _servers(options, job) as (server, contestants):
        return run(job, server, contestants, folder, options)


def _space(options: Namespace) -> tuple[ConfigSpace, Configuration]:
    """Return the space to tune, and the knobs that have one level and are fixed."""
    from rrl.core.space import ConfigSpace
    from rrl.serving.settings import KNOBS
    from rrl.support.machine import available_cpus
    from rrl.tuning.presets import serving_knob, tf_serving

    knobs = each_once(options.knob)
    if not options.address and (unknown := [name for name in knobs if name not in KNOBS]):
        raise UsageError(f"unknown knob {unknown[0]!r}; a server has: {', '.join(KNOBS)}")
    fixed = {name: values[0] for name, values in knobs.items() if len(values) == 1}
    free = [serving_knob(name, values) for name, values in knobs.items() if len(values) > 1]
    if knobs and not free:
        raise UsageError("each --knob has only one level: there is nothing to tune")
    idle = [name for name in BATCH_KNOBS if name in knobs and "batch_threads" not in knobs]
    if idle and not options.address:
        raise UsageError(
            f"{idle[0]} has no effect while batching is off: add --knob batch_threads="
        )
    if options.address and (fixed or not free):
        raise UsageError("--address: give the knobs of your command, each with two or more levels")
    if not free:
        return tf_serving(min(available_cpus(), 8)), fixed
    return ConfigSpace(free, cores=None if options.address else available_cpus()), fixed


def _default(options: Namespace, space: ConfigSpace) -> Configuration:
    """Return the default to compare with: the user's choice, or the server's own default."""
    from rrl.tuning.defaults import DEFAULT_BATCH_SIZE, serving_default

    if options.default:
        return setting(options.default)
    if options.address:
        return serving_default(space)
    own = {"max_batch_size": DEFAULT_BATCH_SIZE, "max_enqueued_batches": 10}
    return {name: own.get(name, 0) for name in space.names}  # automatic pools, batching off


def _serves(options: Namespace, space: ConfigSpace) -> Configuration | None:
    """Return what serves now: the user's default, or TensorFlow Serving's if it has all knobs."""
    from rrl.serving.settings import KNOBS
    from rrl.support.machine import available_cpus
    from rrl.tuning.defaults import serving_default
    from rrl.tuning.presets import THREADS

    if options.default:
        levels = {knob.name: knob.levels for knob in space.knobs}
        automatic = [name for name in THREADS if 0 not in levels.get(name, (0,))]
        return {
            name: available_cpus() if level == 0 and name in automatic else level
            for name, level in setting(options.default).items()
        }
    return serving_default(space) if set(space.names) <= set(KNOBS) else None


@contextmanager
def _servers(options: Namespace, job: Job) -> Iterator[tuple[Server, Contestants]]:
    """Give the server to tune, and a function that opens the servers of the comparison."""
    from rrl.serving.handover import HandoverServer
    from rrl.serving.live import LiveServer
    from rrl.serving.restarted import RestartedServer
    from rrl.serving.servable import newest_version

    base = None if options.address else _base(options.model)
    version = newest_version(base) if base else None  # the same one for all servers of this run
    sample = _sample(options, job)

    def restarted(space: ConfigSpace) -> RestartedServer:
        return RestartedServer(
            options.address,
            options.model_name,
            options.restart,
            space,
            inputs=sample,
            start_timeout_s=options.restart_timeout,
        )

    def live(space: ConfigSpace, port: int | None = None) -> LiveServer:
        given = {"inputs": sample, "executable": options.executable, "fixed": job.fixed}
        given["version"] = version
        if options.port is None:
            return LiveServer(base, space, **given)
        return HandoverServer(base, space, port=port, **given)

    with ExitStack() as stack:
        if options.address:
            server: Any = stack.enter_context(restarted(_and_default(job)))
        else:
            server = stack.enter_context(live(job.space, options.port))

        @contextmanager
        def contestants(recommended: Configuration) -> Iterator[Mapping[str, Server]]:
            if options.address:
                yield {"default": server, "recommended": server}
            elif options.port is not None:  # the recommendation stays in service
                with closing(live(_only(job.default))) as default:
                    yield {"default": default, "recommended": server}
            else:
                server.close()
                with closing(live(_only(job.default))) as one, closing(live(job.space)) as two:
                    yield {"default": one, "recommended": two}

        yield server, contestants


def _base(model: str) -> Path:
    """Return the base path of a known model (built if it is missing), or the given path."""
    from rrl.serving import models
    from rrl.serving.servable import newest_version

    if model in models.MODELS:
        return models.build(model)
    if newest_version(Path(model)) is None:
        raise DataError(
            f"{model}: not a known model ({', '.join(models.MODELS)}), and no folder of that name "
            f"with a model version: it needs {model}/1/"
        )
    return Path(model)


def _only(configuration: Configuration) -> ConfigSpace:
    from rrl.core.knob import Knob
    from rrl.core.space import ConfigSpace

    return ConfigSpace([Knob(name, (level,)) for name, level in configuration.items()])


def _and_default(job: Job) -> ConfigSpace:
    """Return a space that also has the default; its other new combinations are never used."""
    from rrl.core.knob import Knob
    from rrl.core.space import ConfigSpace

    return ConfigSpace(
        [
            Knob(knob.name, tuple(sorted({*knob.levels, job.default[knob.name]})))
            for knob in job.space.knobs
        ]
    )


def _sample(options: Namespace, job: Job) -> list[Inputs] | None:
    """Return the requests to send: the given ones, a known model's, or the warm-up requests."""
    from rrl.serving import models
    from rrl.serving.sample import WARMUP, read_sample
    from rrl.serving.servable import newest_version

    if options.sample:
        return read_sample(options.sample)
    if options.address:
        return None
    if options.model in models.MODELS:
        return [models.sample(options.model, job.rng(4))]
    base = Path(options.model)
    version = newest_version(base)
    recorded = base / str(version) / WARMUP
    return read_sample(recorded) if recorded.exists() else None
