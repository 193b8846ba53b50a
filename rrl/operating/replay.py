"""`rrl replay`: tune on recorded or simulated measurements; no server is needed."""

from __future__ import annotations

from argparse import Namespace, RawDescriptionHelpFormatter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rrl.operating.options import add_tuning_options, checksum, read_goal, read_load, setting
from rrl.support.errors import DataError, UsageError

if TYPE_CHECKING:
    import pandas as pd

    from rrl.core.knob import Configuration
    from rrl.tuning.episode import Server

_EXAMPLES = """examples:
  a recorded profile under data/, at one of its loads:
    rrl replay mobilenet_v2-threads --rate 115 --slo "p99<60ms"
  your own table, with one column per knob and one for the cost:
    rrl replay mine.csv --cost p99 --knobs threads,batch
  a simulated server:
    rrl replay cpu10 --rate 14 --episodes 300

The same command gives the same files, even if it was stopped and continued.
"""


def add_parsers(commands: Any) -> None:
    """Add the subcommand."""
    replay = commands.add_parser(
        "replay",
        help="tune on a recorded profile, a CSV file or a simulated server",
        description="Tune on measurements that exist already.",
        epilog=_EXAMPLES,
        formatter_class=RawDescriptionHelpFormatter,
    )
    replay.add_argument("source", help="a profile's name or folder, a .csv file, or a testbed")
    replay.add_argument("--data", type=Path, default=Path("data"), help="folder of the profiles")
    replay.add_argument("--cost", default="cost", help="cost column of a .csv (default 'cost')")
    replay.add_argument("--knobs", help="knob columns of a .csv (default: all others)")
    add_tuning_options(replay)
    replay.set_defaults(run=_replay)


@dataclass(frozen=True)
class _Source:
    """What is replayed: its server, its name, its unit, and its load if that is known."""

    server: Server
    what: str
    unit: str = "s"
    rate: float | None = None
    served: bool = True  # by TensorFlow Serving, so the agent can begin with its default


def _replay(options: Namespace) -> int:
    from rrl.operating.job import Job
    from rrl.operating.outcome import run
    from rrl.tuning.defaults import serving_default

    source = _open(options)
    server = source.server
    objective, slo = read_goal(options)
    default = setting(options.default) if options.default else serving_default(server.space)
    server.space.index(default)
    job = Job(
        source.what,
        server.space,
        default,
        read_load(options, source.rate),
        objective,
        slo,
        options.agent,
        options.episodes,
        options.requests,
        options.rounds,
        options.seed,
        unit=source.unit,
        serves=default if options.default or source.served else None,
    )

    @contextmanager
    def contestants(recommended: Configuration) -> Iterator[Mapping[str, Server]]:
        yield {"default": server, "recommended": server}

    folder = options.out or Path("build") / "tune" / Path(options.source).stem
    return run(job, server, contestants, folder, options, live=False)


def _open(options: Namespace) -> _Source:
    from rrl.recording.replay import TableServer
    from rrl.simulation.testbeds import TESTBEDS, testbed
    from rrl.tuning.presets import SERVING_KNOBS

    path = Path(options.source)
    if path.suffix.lower() == ".csv":
        table = read_table(path, options.cost)
        others = [str(name) for name in table.columns if name != options.cost]
        knobs = options.knobs.split(",") if options.knobs else others
        server = TableServer(table, knobs, options.cost)
        what = f"{path.name} ({checksum(path)}): {options.cost}"
        known = set(server.space.names) <= set(SERVING_KNOBS)
        return _Source(server, what, unit="", rate=1.0, served=known)
    if options.source in TESTBEDS:
        return _Source(testbed(options.source), f"testbed {options.source}")
    folder = next((f for f in (path, options.data / path) if f.is_dir()), None)
    if folder is None:
        known = sorted(f.parent.name for f in options.data.glob("*/profile.json"))
        raise UsageError(
            f"unknown source {options.source!r}; known: {', '.join([*TESTBEDS, *known])}, "
            "or give a profile's folder or a .csv file"
        )
    return _profile(folder, options)


def _profile(folder: Path, options: Namespace) -> _Source:
    """Open a profile at one of its loads, or at all of them if a trace gives the load."""
    from rrl.recording.profile import EPISODES, read_profile
    from rrl.recording.replay import RecordedServer

    profile = read_profile(folder)
    rates, rate = profile.rates_per_s, options.rate
    if options.trace is None and rate is None:
        rate = rates[len(rates) // 2]
    server = RecordedServer(profile, rate)
    what = f"profile {folder.name} ({checksum(folder / EPISODES)})"
    return _Source(server, what, rate=rate)


def read_table(path: Path, cost: str) -> pd.DataFrame:
    """Read a CSV file of measurements whose cost column holds numbers.

    Raises
    ------
    DataError
        If the file is not such a table. The message names the line and the value.
    """
    import pandas as pd

    try:
        table = pd.read_csv(path, encoding="utf-8", skipinitialspace=True)
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 at byte {error.start}; save it as UTF-8") from None
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise DataError(f"{path}: no table of comma-separated values ({error})") from None
    if cost not in table:
        raise DataError(
            f"{path}: no column {cost!r}, it has {', '.join(map(str, table.columns))}; "
            "name yours with --cost"
        )
    numbers = pd.to_numeric(table[cost], errors="coerce").to_numpy(dtype=float)
    for row in np.flatnonzero(~(np.isfinite(numbers) & (numbers >= 0))):
        value = table[cost].iloc[row]
        hint = "; write decimals with a point" if "," in str(value) else ""
        raise DataError(
            f"{path}, line {row + 2}: {cost} is '{value}': it must be a finite number of 0 or "
            f"more{hint}"
        )
    return table.assign(**{cost: numbers})
