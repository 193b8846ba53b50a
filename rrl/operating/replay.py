"""`rrl replay`: tune on recorded or simulated measurements; no server is needed."""

from __future__ import annotations

from argparse import Namespace, RawDescriptionHelpFormatter
from pathlib import Path
from typing import Any

from rrl.operating.job import OBJECTIVES, read_job
from rrl.operating.knob_options import setting
from rrl.operating.operate import open_run, run
from rrl.operating.options import (
    DATA,
    add_further_options,
    add_goal_options,
    add_run_options,
    checksum,
    refuse,
)
from rrl.operating.table import read_table
from rrl.recording.profile import DESCRIPTION, EPISODES, read_profile
from rrl.recording.replay import RecordedServer, TableServer
from rrl.support.errors import DataError, UsageError
from rrl.tuning.constrained import Constrained, LeastMemory
from rrl.tuning.defaults import serving_default
from rrl.tuning.episode import Server
from rrl.tuning.objective import Objective

_EXAMPLES = """examples:
  a recorded profile under data/, at one of its loads:
    rrl replay mobilenet_v2-threads --rate 115 --slo "p99<60ms"
  your own table, with one column per knob and one for the cost:
    rrl replay mine.csv --cost p99 --knobs threads,batch
  a simulated server:
    rrl replay cpu10 --rate 14 --episodes 300
  the same with what the profile of another model says:
    rrl replay inception_v3-threads --rate 21 --warm-start keyword-threads

  the fewest CPUs of a simulated server that keep an SLO:
    rrl replay cpu10-cores --rate 8 --objective "cpus with p99<900ms" --episodes 200

The same command gives the same files, even if it was stopped and continued.

"""


def add_parsers(commands: Any) -> None:
    """Add the subcommand."""
    replay = commands.add_parser(
        "replay",
        usage="rrl replay SOURCE [options]",
        help="tune on a recorded profile, a CSV file or a simulated server",
        description="Tune on measurements that exist already.",
        epilog=_EXAMPLES + OBJECTIVES,
        formatter_class=RawDescriptionHelpFormatter,
        add_help=False,
    )
    replay.add_argument(
        "source", help="a profile's folder, or its name in data/; a .csv file, or a testbed"
    )
    replay.add_argument("--cost", default="cost", help="cost column of a .csv (default 'cost')")
    replay.add_argument("--knobs", help="knob columns of a .csv (default: all others)")
    add_goal_options(replay)
    add_run_options(replay, add_further_options(replay))
    replay.set_defaults(run=_replay)


def _replay(options: Namespace) -> int:
    server, what, rate = _open(options)
    default = dict(serving_default(server.space))
    if options.default:
        default = setting(options.default, server.space.knobs)
    server.space.index(default)
    job, folder = read_job(
        options, what, options.source, server.space, default, rate=rate,
        unit="" if isinstance(server, TableServer) else "s",
    )  # fmt: skip
    _check_measured(server, job.objective)
    with open_run(job, folder) as opened:
        return run(opened, server, folder, options)


def _check_measured(server: Server, objective: Objective) -> None:
    """Refuse an objective about a number that was not measured."""
    if isinstance(objective, LeastMemory):
        raise UsageError(f"objective {objective}: no memory was measured; use `rrl tune`")
    if isinstance(objective, Constrained) and isinstance(server, TableServer):
        raise UsageError(f"objective {objective}: a table has one cost only; use its column")


def _open(options: Namespace) -> tuple[Server, str, float | None]:
    """Return the server of a source, its name, and its load if that is known."""
    from rrl.simulation.testbeds import TESTBEDS, testbed  # it compiles loops

    path = Path(options.source)
    if path.suffix.lower() == ".csv":
        refuse(options, ("rate", "trace"), "on a table: its costs are of one load")
        wanted = None if options.knobs is None else options.knobs.split(",")
        table, knobs = read_table(path, options.cost, wanted)
        what = f"{path.name} ({checksum(path)}): {options.cost}"
        return TableServer(table, knobs, options.cost), what, 1.0
    refuse(options, ("cost", "knobs"), "without a .csv file")
    if options.source in TESTBEDS:
        return testbed(options.source), f"testbed {options.source}", None
    folder = next((f for f in (path, DATA / path) if f.is_dir()), None)
    if folder is None:
        profiles = sorted(f.parent.name for f in DATA.glob("*/profile.json"))
        raise UsageError(
            f"unknown source {options.source!r}; known: {', '.join([*TESTBEDS, *profiles])}, "
            "or give a profile's folder or a .csv file"
        )
    return _profile(folder, options)


def _profile(folder: Path, options: Namespace) -> tuple[Server, str, float | None]:
    """Open a profile at one of its loads, or at all of them if a trace gives the load."""
    profile = read_profile(folder)
    if not profile.description["complete"]:
        raise DataError(
            f"{folder / DESCRIPTION}: the recording is not complete; finish it with `rrl profile`"
        )
    rates, rate = profile.rates_per_s, options.rate
    if options.trace is None and rate is None:
        rate = rates[len(rates) // 2]
    server = RecordedServer(profile, rate)
    what = f"profile {folder.name} ({checksum(folder / EPISODES)})"
    return server, what, rate
