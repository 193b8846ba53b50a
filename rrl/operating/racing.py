"""`rrl race`: compare agents on every table of a folder, with tables of your own."""

from __future__ import annotations

import os
from argparse import Namespace, RawDescriptionHelpFormatter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rrl.operating.table import read_table
from rrl.support.errors import DataError, UsageError, interrupt_by_signals
from rrl.support.files import open_alone
from rrl.support.machine import available_cpus
from rrl.support.number_options import COUNT, number

if TYPE_CHECKING:
    import pandas as pd

    from rrl.studies.scenario import Scenario

AGENTS = "rrl-gp,rrl,rrl-adaptive,coordinate-descent,q-learning,random"
RUNS, FIGURE = "runs.csv", "mean_cost"

_EXAMPLES = """examples:
  the folder mine/ has a file per table, with a column cost and a column per knob:
    rrl race mine
  other agents, and a column with another name:
    rrl race mine --agents rrl-gp,zooming,gp-ei --cost p99 --out build/race/other

A lower cost is better. Text in a knob column is a category. Rows that repeat a configuration are
averaged. An episode costs the table's value times normal noise around 1, which never falls below
0.1. All agents meet the same noise on a table with a seed. An agent whose start is a setting of
TensorFlow Serving starts with the first values of the knobs that TensorFlow Serving does not have.

runs.csv has a row per run, with these columns:
  first_within_5  the first episode after which the recommended configuration is within 5 % of the
                  best of the table; one more than the number of episodes means never
  stays_within_5  the same, from that episode to the end
  simple_regret   the cost of the last recommendation over the best, less 1
  mean_cost       the mean cost of all episodes over the best; mean_cost_100 of the first hundred
The costs in these columns have no noise. The same command continues a race that was stopped.
"""


def add_parsers(commands: Any) -> None:
    """Add the subcommand."""
    race = commands.add_parser(
        "race",
        help="compare agents on every table of a folder",
        description="Race agents on every .csv file of a folder.",
        epilog=_EXAMPLES,
        formatter_class=RawDescriptionHelpFormatter,
    )
    race.add_argument("folder", type=Path, help="the folder of the tables")
    race.add_argument("--agents", default=AGENTS, help=f"names of rrl.AGENTS (default {AGENTS})")
    race.add_argument("--cost", default="cost", help="name of the cost column (default 'cost')")
    race.add_argument("--seeds", type=COUNT, default=10, help="runs per agent (default 10)")
    race.add_argument("--episodes", type=COUNT, default=300, help="per run (default 300)")
    race.add_argument(
        "--noise",
        type=number,
        default=0.07,
        help="standard deviation of an episode's cost over its mean (default 0.07)",
    )
    race.add_argument("--out", type=Path, help="folder of the results (default: build/race/NAME)")
    race.add_argument("--quiet", action="store_true", help="no progress on stderr")
    race.set_defaults(run=_race)


def _race(options: Namespace) -> int:
    from rrl.plotting.experiments import plot_table_races
    from rrl.plotting.shared import save
    from rrl.rivals.agents import home
    from rrl.studies.outcomes import write_csv
    from rrl.studies.table_races import over_lowest, race_tables, table_medians

    agents = list(dict.fromkeys(options.agents.split(",")))
    folder = options.out or Path("build") / "race" / options.folder.resolve().name
    if folder.resolve() == options.folder.resolve():
        raise UsageError(f"--out {folder} is the folder of the tables; choose another one")
    scenarios = _tables(options)
    for name in agents:
        home(name)  # an agent that is not known is refused
    folder.mkdir(parents=True, exist_ok=True)
    interrupt_by_signals()
    lock = open_alone(folder)
    try:
        runs = race_tables(
            scenarios,
            agents,
            range(options.seeds),
            options.episodes,
            build=folder,
            jobs=available_cpus(),
            progress=not options.quiet,
        )
        write_csv(runs, folder / RUNS)
        table = table_medians(runs, options.episodes)
        over = over_lowest(table)
        save(plot_table_races(table, list(over.index)), FIGURE, folder)
    finally:
        os.close(lock)
    print(_report(table, over, options.episodes))
    print(f"\nfiles: {folder}: {RUNS}, {FIGURE}.png and .pdf")
    return 0


def _tables(options: Namespace) -> list[Scenario]:
    """Read all tables of the folder."""
    from rrl.studies.table_races import table_scenario

    if not options.folder.is_dir():
        raise UsageError(f"no folder {options.folder}; give a folder of .csv files")
    found = []
    for path in sorted(options.folder.glob("[!.]*.csv")):
        table, knobs = read_table(path, options.cost)
        where = table_scenario(path.stem, table, knobs, options.cost, options.noise)
        if not where.optimum:
            raise DataError(f"{path}: its lowest cost is 0, so no ratio exists; correct that row")
        found.append(where)
    if not found:
        raise DataError(f"{options.folder}: no .csv file in it; put a file per table there")
    return found


def _report(table: pd.DataFrame, over: pd.DataFrame, episodes: int) -> str:
    """Return the medians of each table and agent, and the summary of each agent, as text."""
    from rrl.studies.race import counts_episodes
    from rrl.studies.table_races import MEASURED

    def episode(value: float) -> str:
        return "never" if value > episodes else f"{value:g}"

    forms = {name: episode for name in MEASURED if counts_episodes(name)}
    columns = table.sort_values(["table", "mean_cost"])[["table", "agent", "seeds", *MEASURED]]
    how = {"float_format": lambda value: f"{value:.3f}"}
    medians = columns.to_string(index=False, formatters=forms, **how)
    title = "mean cost over that of the cheapest agent of the table: geometric mean and highest"
    return f"medians over the seeds\n{medians}\n\n{title}\n{over.to_string(**how)}"
