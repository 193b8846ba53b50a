"""Compare two agents, or two versions of one, seed by seed over all problems.

``python -m rrl.studies.comparison race --agents rrl-gp,rrl --out build/race.csv`` races
agents on seeds that no table or study uses, and writes one row per run. It skips what the file
has, so it can be stopped and run again; a file has one number of episodes and one set of constants.
``compare`` prints the geometric mean of the ratios with its interval:
``python -m rrl.studies.comparison compare build/race.csv:rrl build/race.csv:rrl``.
The two files may come from two versions of the package. ``race`` takes constants that replace those
of an agent: ``--constants '{"learning_rate": 0.1}'``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rrl.rivals.agents import AGENTS, maker
from rrl.studies.outcomes import interval, measures, median_of
from rrl.studies.problems import EPISODES, SCENARIOS, with_truth
from rrl.studies.race import race
from rrl.support.errors import DataError, Parser, UsageError, command
from rrl.support.files import write_atomically
from rrl.support.machine import one_thread
from rrl.support.number_options import COUNT, SEED

if TYPE_CHECKING:
    import pandas as pd

FRESH = range(5200, 5230)
"""Seeds that neither the tuning study nor the notebooks use."""

KEYS = ["scenario", "agent", "seed"]
COMPARED = ("first_within_5", "stays_within_5", "deployed", "mean_cost")


def raced(
    agent: str,
    scenario: str,
    seeds: Sequence[int],
    episodes: int,
    constants: Mapping[str, Any] | None = None,
) -> pd.DataFrame:
    """Race an agent on a scenario, and return one row per seed.

    `constants` replace some of the agent's own settings, see :func:`rrl.rivals.agents.maker`.

    Returns
    -------
    DataFrame
        The columns are `KEYS` and `COMPARED`. A number of episodes that was not reached counts one
        more than `episodes`. `deployed` is the true cost of the last recommendation divided by the
        optimum's.

    Examples
    --------
    >>> raced("tf-serving-default", "pool", [0, 1], 5)["stays_within_5"].tolist()
    [6.0, 6.0]
    """
    import pandas as pd

    where = with_truth(scenario)
    runs = race(where, maker(agent, **(constants or {})), seeds, episodes)
    columns = measures(where, runs, COMPARED)
    return pd.DataFrame({"scenario": scenario, "agent": agent, "seed": list(seeds)} | columns)


def ratios(ours: pd.DataFrame, theirs: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """Compare the runs that are in two tables of :func:`raced`, by scenario and seed.

    Parameters
    ----------
    ours, theirs : DataFrame
        Each has the runs of one agent.
    rng : numpy.random.Generator

    Returns
    -------
    DataFrame
        One row per measure of `COMPARED`: the geometric mean of ours divided by theirs, with equal
        weight for each scenario, and the limits of its 95 % interval. The bootstrap draws seeds
        again within each scenario.

    Raises
    ------
    DataError
        If they share no run.

    Examples
    --------
    >>> import pandas as pd
    >>> runs = {"scenario": ["pool"] * 2, "seed": [0, 1], "first_within_5": [2.0, 8.0]}
    >>> runs |= {"stays_within_5": [4.0, 4.0], "deployed": [1.0, 1.0], "mean_cost": [1.0, 1.0]}
    >>> one = pd.DataFrame(runs)
    >>> other = one.assign(first_within_5=4.0, stays_within_5=8.0)
    >>> ratios(one, other, np.random.default_rng(0))["ratio"].tolist()
    [1.0, 0.5, 1.0, 1.0]
    """
    import pandas as pd

    both = ours.merge(theirs, on=["scenario", "seed"], suffixes=("", "_theirs"))
    if both.empty:
        raise DataError("the two agents share no run: race both with the same seeds and scenarios")
    rows = []
    for name in COMPARED:
        logs = np.log(both[name] / both[f"{name}_theirs"])
        groups = [group.to_numpy() for _, group in logs.groupby(both["scenario"])]
        means = np.mean([bootstrapped_means(values, rng) for values in groups], axis=0)
        centre = np.mean([values.mean() for values in groups])
        low, high = np.quantile(means, [0.025, 0.975])
        rows.append((name, *np.exp([centre, low, high]), len(groups), len(both)))
    return pd.DataFrame(rows, columns=["measure", "ratio", "low", "high", "scenarios", "runs"])


def bootstrapped_means(
    values: NDArray[np.float64], rng: np.random.Generator, resamples: int = 2000
) -> NDArray[np.float64]:
    """Return the means of samples that are drawn again from `values`; shape (resamples,)."""
    return rng.choice(values, (resamples, len(values))).mean(axis=1)


def medians(
    runs: pd.DataFrame,
    rng: np.random.Generator,
    episodes: int = EPISODES,
    names: Sequence[str] = COMPARED,
) -> pd.DataFrame:
    """Return the median over the runs of each agent, one row per agent, lowest mean cost first.

    Numbers of episodes are censored after `episodes`, as :mod:`rrl.studies.outcomes` says.

    Returns
    -------
    DataFrame
        The columns are `agent`, `seeds`, and for each measure of `names` its median and the
        limits of its 95 % interval, for example ``mean_cost``, ``mean_cost_low`` and
        ``mean_cost_high``.
    """
    import pandas as pd

    rows = []
    for agent, part in runs.groupby("agent", sort=False):
        row: dict[str, Any] = {"agent": agent, "seeds": len(part)}
        for name in names:
            row |= interval(name, part[name], rng, median_of(name, episodes))
        rows.append(row)
    return pd.DataFrame(rows).sort_values("mean_cost", ignore_index=True)


def race_missing(
    path: Path,
    agents: Iterable[str],
    scenarios: Sequence[str],
    seeds: Sequence[int],
    episodes: int,
    constants: Mapping[str, Any] | None = None,
) -> None:
    """Add what is missing to a file of runs, with a progress bar over agents and scenarios.

    The column `settings` of the file has the episodes and the constants in JSON.

    Raises
    ------
    UsageError
        If the file has runs with other settings.
    """
    import pandas as pd
    from tqdm import tqdm

    path.parent.mkdir(parents=True, exist_ok=True)
    settings = json.dumps({"episodes": episodes, **(constants or {})}, sort_keys=True)
    known = read_runs(path) if path.exists() else pd.DataFrame(columns=[*KEYS, *COMPARED])
    if "settings" not in known:  # from before there was this column
        known["settings"] = json.dumps({"episodes": EPISODES})
    if others := set(known["settings"]) - {settings}:
        raise UsageError(f"{path}: made with {min(others)}; write runs with {settings} elsewhere")
    pairs = [(agent, scenario) for agent in agents for scenario in scenarios]
    for agent, scenario in tqdm(pairs, unit="race"):
        same = (known["agent"] == agent) & (known["scenario"] == scenario)
        missing = sorted(set(seeds) - set(known.loc[same, "seed"]))
        if not missing:
            continue
        new = raced(agent, scenario, missing, episodes, constants)
        new = new.assign(settings=settings)
        known = pd.concat([known, new]) if len(known) else new
        write_atomically(path, known.to_csv(index=False, float_format="%.8g", lineterminator="\n"))


def read_runs(path: str | Path) -> pd.DataFrame:
    """Read a file of the command ``race``.

    Raises
    ------
    DataError
        If it is another file. The message names a column that is missing.
    """
    import pandas as pd

    table = pd.read_csv(path)
    if missing := [column for column in (*KEYS, *COMPARED) if column not in table]:
        raise DataError(f"{path}: no column {missing[0]!r}; make the file with the command race")
    return table


def runs_of(source: str) -> pd.DataFrame:
    """Read the runs of one agent: ``FILE:AGENT``, or ``FILE`` if it has only one."""
    name, _, agent = source.partition(":")
    table = read_runs(name)
    agents = sorted(set(table["agent"]))
    if not agent and len(agents) == 1:
        agent = agents[0]
    if agent not in agents:
        raise UsageError(f"{source}: write it as FILE:AGENT with one of {', '.join(agents)}")
    return table[table["agent"] == agent]


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Race agents on fresh seeds, or compare two of them."""
    parser = Parser(prog="python -m rrl.studies.comparison", description=__doc__.split("\n\n")[0])
    commands = parser.add_subparsers(dest="what", required=True, parser_class=Parser)
    racing = commands.add_parser("race", help="race agents and write one row per run")
    racing.add_argument("--agents", default="rrl-gp,rrl", help="names of rrl.AGENTS")
    racing.add_argument("--scenarios", default=",".join(SCENARIOS), help="default: all")
    racing.add_argument("--first-seed", type=SEED, default=FRESH.start)
    racing.add_argument("--seeds", type=COUNT, default=len(FRESH), help="how many (default 30)")
    racing.add_argument("--episodes", type=COUNT, default=EPISODES, help="per run (default 300)")
    racing.add_argument("--constants", type=json.loads, help="in JSON, for all the agents")
    racing.add_argument("--out", type=Path, required=True, help="the file of the runs, a .csv")
    comparing = commands.add_parser("compare", help="print the ratios of ours over theirs")
    comparing.add_argument("ours", metavar="FILE:AGENT")
    comparing.add_argument("theirs", metavar="FILE:AGENT")
    options = parser.parse_args(argv)
    if options.what == "compare":
        table = ratios(runs_of(options.ours), runs_of(options.theirs), np.random.default_rng(0))
        print(table.to_string(index=False, float_format=lambda value: f"{value:.3f}"))
        return
    agents, scenarios = options.agents.split(","), options.scenarios.split(",")
    if unknown := [name for name in agents if name not in AGENTS]:
        raise UsageError(f"unknown agent {unknown[0]!r}; known: {', '.join(AGENTS)}")
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    with one_thread():
        race_missing(options.out, agents, scenarios, seeds, options.episodes, options.constants)


if __name__ == "__main__":
    raise SystemExit(main())
