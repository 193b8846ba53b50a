"""`rrl race`: compare agents on every table of a folder, with tables that somebody made."""

from __future__ import annotations

import csv
import io
from argparse import RawDescriptionHelpFormatter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rrl.operating.options import REQUIRED, add_options, option
from rrl.rivals.agents import home
from rrl.support.errors import DataError, UsageError, shown
from rrl.support.files import alone_in, read_text
from rrl.support.machine import available_cpus
from rrl.support.number_options import COUNT, number

if TYPE_CHECKING:
    import pandas as pd

    from rrl.studies.scenario import Scenario

AGENTS = "rrl-gp,rrl,rrl-adaptive,coordinate-descent,q-learning,random"
RUNS, FIGURE = "runs.csv", "excess"

MISSING = (
    *("", "na", "n/a", "#n/a", "<na>", "nan", "null", "none", "-", "?"),
    *("inf", "-inf", "infinity", "-infinity"),
)
"""Cells of a column of numbers that mean "not known", in lower case."""

MOST = 1e100
"""The largest number of a table; sums of larger ones would not be finite."""
LOWEST, HIGHEST = 1e-25, 1e25
"""Limits of a cost above 0. With its noise, an agent takes it for what it is."""

_EXAMPLES = """examples:
  the folder mine/ has a file per table, with a column cost and a column per knob:
    rrl race mine
  other agents, and a column with another name:
    rrl race mine --agents rrl-gp,zooming,gp-ei --cost p99 --out build/race/other

A lower cost is better. Text in a knob column is a category. Rows that repeat a configuration are
averaged. An episode costs the table's value times normal noise around 1, which never falls below
0.1. All agents meet the same noise on a table with a seed. An agent whose start is a setting of
TensorFlow Serving starts with the first values of the knobs that TensorFlow Serving does not have.

What is printed, and in runs.csv for each run:
  excess   what the episodes cost above the best of the table: 0.1 is 10 % more
  level    the same of the last tenth of the episodes: what the agent arrived at
  stuck    the share of runs whose level is above 0.25 (not in runs.csv)
Costs in these columns have no noise. The same command continues a race that was stopped.
"""


@dataclass(frozen=True)
class RaceOptions:
    """The options of `rrl race`."""

    folder: Path = option(REQUIRED, "the folder of the tables", type=Path)
    agents: str = option(AGENTS, f"names of rrl.AGENTS (default {AGENTS})")
    cost: str = option("cost", "name of the cost column (default 'cost')")
    seeds: int = option(10, "runs per agent (default 10)", type=COUNT)
    episodes: int = option(300, "per run (default 300)", type=COUNT)
    noise: float = option(
        0.07, "standard deviation of an episode's cost over its mean (default 0.07)", type=number
    )
    out: Path | None = option(None, "folder of the results (default: build/race/NAME)", type=Path)
    quiet: bool = option(False, "no progress on stderr")


def add_parsers(commands: Any) -> None:
    """Add the subcommand."""
    race = commands.add_parser(
        "race",
        help="compare agents on every table of a folder",
        description="Race agents on every .csv file of a folder.",
        epilog=_EXAMPLES,
        formatter_class=RawDescriptionHelpFormatter,
    )
    add_options(race, RaceOptions, _race)


def _race(options: RaceOptions) -> None:
    import numpy as np

    from rrl.plotting.experiments import plot_table_races
    from rrl.plotting.shared import save
    from rrl.studies.outcomes import what_clients_pay, write_csv
    from rrl.studies.table_races import over_lowest, race_tables

    agents = list(dict.fromkeys(options.agents.split(",")))
    folder = options.out or Path("build") / "race" / options.folder.resolve().name
    if folder.resolve() == options.folder.resolve():
        raise UsageError(f"--out {folder} is the folder of the tables; choose another one")
    scenarios = _tables(options)
    for name in agents:
        home(name)  # an agent that is not known is refused
    with alone_in(folder):
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
        table = what_clients_pay(runs, ["table", "agent"], np.random.default_rng(0))
        over = over_lowest(table)
        save(plot_table_races(table, list(over.index)), FIGURE, folder)
    print(_report(table, over))
    print(f"\nfiles: {folder}: {RUNS}, {FIGURE}.png and .pdf")


def _tables(options: RaceOptions) -> list[Scenario]:
    """Read all tables of the folder."""
    from rrl.studies.table_races import table_scenario

    if not options.folder.is_dir():
        raise DataError(f"{options.folder}: no folder; give the one that contains your .csv files")
    found = []
    for path in sorted(options.folder.glob("[!.]*.csv")):
        table = read_table(path, options.cost)
        knobs = table.columns.drop(options.cost).tolist()
        where = table_scenario(path.stem, table, knobs, options.cost, options.noise)
        if not where.optimum:
            raise DataError(f"{path}: its lowest cost is 0, so no ratio exists; correct that row")
        found.append(where)
    if not found:
        raise DataError(f"{options.folder}: no .csv file there; give a folder with one per table")
    return found


def _report(table: pd.DataFrame, over: pd.DataFrame) -> str:
    """Return what clients pay on each table with each agent, and a summary of each, as text."""
    columns = ["table", "agent", "seeds", "excess", "level", "stuck"]
    rows = table.sort_values(["table", "excess"])[columns]
    how = {"float_format": lambda value: f"{value:.3f}"}
    title = "mean cost over that of the cheapest agent of the table: geometric mean and highest"
    paid = rows.to_string(index=False, **how)
    return f"means over the seeds\n{paid}\n\n{title}\n{over.to_string(**how)}"


# --- a table --------------------------------------------------------------------------------------


def read_table(path: Path, cost: str) -> pd.DataFrame:
    r"""Read a CSV file of measurements: a column of costs, and a column for each knob.

    A column of numbers becomes numbers. A column with any other text becomes text, also where a
    cell is a number. In such a column "NA" is a value like the others. In a column of numbers it is
    a missing value, and an empty cell is a missing value in every column.

    Parameters
    ----------
    path : pathlib.Path
        UTF-8 text with a header. Lines end with LF or CRLF. Lines without a value are ignored.
    cost : str
        Name of the cost column. A cost is 0, or a number from `LOWEST` to `HIGHEST`.

    Returns
    -------
    DataFrame
        Its index has the numbers of the lines.

    Raises
    ------
    DataError
        If the file is not such a table, or has one configuration only. The message names the line
        and the value.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "mine.csv")
    ...     _ = path.write_text("threads,mode,p99\n1,NA,0.3\n2,fast,0.2\n")
    ...     read_table(path, "p99").to_dict("list")
    {'threads': [1, 2], 'mode': ['NA', 'fast'], 'p99': [0.3, 0.2]}
    """
    cells = _cells(path)
    if cost not in cells:
        raise DataError(
            f"{path}: no column {cost!r}, it has {', '.join(cells)}; separate the columns by "
            "commas, and name yours with --cost"
        )
    knobs = {name: _values(path, cells[name]) for name in cells if name != cost}
    if not knobs:
        raise DataError(f"{path}: it has the cost only; it needs a column for each knob")
    table = cells.assign(**knobs)
    if len(table.drop_duplicates([*knobs])) < 2:
        raise DataError(f"{path}: it has one configuration only, so there is nothing to choose")
    costs = _numbers(cells[cost])
    remedy = f"it must be a number, 0 or from {LOWEST:g} to {HIGHEST:g}, with a point for decimals"
    _refuse(path, cells[cost][~((costs == 0) | costs.between(LOWEST, HIGHEST))], remedy)
    return table.assign(**{cost: costs})


def _cells(path: Path) -> pd.DataFrame:
    """Return the cells of a table by the names of their columns; the index has their lines."""
    import pandas as pd

    text = io.StringIO(read_text(path), newline="")
    reader = csv.reader(text, skipinitialspace=True, strict=True)
    try:
        stripped = ((reader.line_num, [cell.strip() for cell in row]) for row in reader)
        rows = {line: cells for line, cells in stripped if any(cells)}
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: {error}; correct that line") from None
    if len(rows) < 2:
        raise DataError(f"{path}: no table of comma-separated values; give a header and its rows")
    header = rows.pop(next(iter(rows)))
    for name in header:
        if not name or header.count(name) > 1:
            which = f"more than one column is {name!r}" if name else "a column has no name"
            raise DataError(f"{path}: {which}; rename it, or remove it")
    for line, cells in rows.items():
        if len(cells) != len(header):
            raise DataError(
                f"{path}, line {line}: the header has {len(header)} cells, and this line "
                f"{len(cells)}; correct that line: commas separate the cells, a point the decimals"
            )
    return pd.DataFrame(list(rows.values()), list(rows), header)


def _numbers(cells: pd.Series) -> pd.Series:
    """Return the numbers of a column; NaN where a cell is none, or is beyond `MOST`."""
    import pandas as pd

    numbers = pd.to_numeric(cells, errors="coerce")
    return numbers.where(numbers.abs() <= MOST)


def _values(path: Path, cells: pd.Series) -> pd.Series:
    """Return the values of a knob: all numbers or all text."""
    numbers = _numbers(cells)
    other = cells[numbers.isna()]
    missing = other.str.lower().isin(MISSING)
    if not missing.all() or len(other) == len(cells):  # a column of text
        missing = other == ""
    _refuse(path, other[missing], "a value is missing; fill it in, or remove the line")
    return cells if len(other) else numbers


def _refuse(path: Path, cells: pd.Series, why: str) -> None:
    """Raise DataError about the first of some cells."""
    for line, text in cells.items():
        raise DataError(f"{path}, line {line}: {cells.name} is {shown(text)}: {why}")
