"""`rrl replay`: tune on recorded or simulated measurements; no server is needed."""

from __future__ import annotations

from argparse import Namespace, RawDescriptionHelpFormatter
from pathlib import Path
from typing import Any

from rrl.operating.job import OBJECTIVES, read_job, read_load
from rrl.operating.knob_options import setting
from rrl.operating.operate import carry_out, open_run
from rrl.operating.options import DATA, add_goal_options, add_run_options, checksum
from rrl.recording.profile import DESCRIPTION, EPISODES, read_profile
from rrl.recording.replay import RecordedServer
from rrl.support.errors import DataError, UsageError, interrupt_by_signals
from rrl.tuning.defaults import serving_default
from rrl.tuning.episode import Server

_EXAMPLES = """examples:
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
    """Add the subcommand."""
    replay = commands.add_parser(
        "replay",
        usage="rrl replay SOURCE [options]",
        help="tune on a recorded profile or a simulated server",
        description="Tune on measurements that exist already, by the rules of `rrl tune`.",
        epilog=_EXAMPLES + OBJECTIVES,
        formatter_class=RawDescriptionHelpFormatter,
    )
    replay.add_argument("source", help="a profile's folder, or its name in data/; or a testbed")
    add_goal_options(replay)
    add_run_options(replay, replay.add_argument_group("further options"))
    replay.set_defaults(run=_replay)


def _replay(options: Namespace) -> int:
    server, what = _open(options)
    default = setting(options.default) or serving_default(server.space)
    server.space.index(default)
    load = read_load(options)
    job, folder = read_job(options, what, options.source, server.space, default, load)
    interrupt_by_signals()
    with open_run(job, folder) as run:
        return carry_out(run, server)


def _open(options: Namespace) -> tuple[Server, str]:
    """Return the server of a source, and its name; a profile knows a rate if none is given."""
    from rrl.simulation.testbeds import TESTBEDS, testbed  # it compiles loops

    path = Path(options.source)
    if options.source in TESTBEDS:
        return testbed(options.source), f"testbed {options.source}"
    folder = next((f for f in (path, DATA / path) if f.is_dir()), None)
    if folder is None:
        profiles = sorted(f.parent.name for f in DATA.glob("*/profile.json"))
        raise UsageError(
            f"unknown source {options.source!r}; known: {', '.join([*TESTBEDS, *profiles])}, "
            "or give a profile's folder (for CSV files, use `rrl race FOLDER`)"
        )
    profile = read_profile(folder)
    if not profile.description["complete"]:
        raise DataError(
            f"{folder / DESCRIPTION}: the recording is not complete; finish it with `rrl profile`"
        )
    rates = profile.rates_per_s
    if options.trace is None and options.rate is None:
        options.rate = rates[len(rates) // 2]
    what = f"profile {folder.name} ({checksum(folder / EPISODES)})"
    return RecordedServer(profile, options.rate), what
