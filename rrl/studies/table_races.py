"""Race agents on tables that somebody measured: one scenario per table, one row per run.

The command ``rrl race`` (:mod:`rrl.operating.racing`) reads the tables from a folder. An episode
costs the table's value with the noise of :class:`rrl.studies.problems.SurfaceServer`. Agents of one
table and seed meet the same noise, see :func:`rrl.studies.race.race`.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from rrl.core.space import from_table
from rrl.rivals.agents import maker
from rrl.studies.outcomes import interval, measures, median_of
from rrl.studies.problems import SurfaceServer, surface
from rrl.studies.race import race
from rrl.studies.scenario import Scenario
from rrl.support.errors import DataError, UsageError
from rrl.support.files import write_atomically
from rrl.support.machine import one_thread
from rrl.support.versions import version

if TYPE_CHECKING:
    import pandas as pd

KEYS = ["table", "agent", "seed"]
MEASURED = ("first_within_5", "stays_within_5", "simple_regret", "mean_cost", "mean_cost_100")
"""The measures of each run, see :func:`rrl.studies.race.score`."""

Rows = dict[tuple[str, str, int], dict[str, Any]]


def table_scenario(
    name: str,
    table: Mapping[str, ArrayLike],
    knobs: Sequence[str],
    cost: str = "cost",
    noise: float = 0.07,
) -> Scenario:
    """Make a scenario of a table of costs; the rows of one configuration are averaged.

    Parameters
    ----------
    name : str
    table : DataFrame or mapping of str to array_like
        One row per measurement.
    knobs : sequence of str
        Names of the knob columns.
    cost : str, optional
        Name of the cost column.
    noise : float, optional
        See :class:`rrl.studies.problems.SurfaceServer`.

    Examples
    --------
    >>> table = {"threads": [1, 2, 2], "cost": [0.3, 0.1, 0.2]}
    >>> table_scenario("mine", table, ["threads"]).cost.round(2).tolist()
    [0.3, 0.15]
    """
    space = from_table(table, knobs)
    rows = space.indices(table)
    sums = np.bincount(rows, np.asarray(table[cost], dtype=float))
    return surface(name, space, sums / np.bincount(rows), noise)


def check_agents(names: Iterable[str]) -> None:
    """Let each agent take a few episodes on a small table, before a long race begins.

    Raises
    ------
    UsageError
        If no agent has this name, or a package that it needs is missing.

    Examples
    --------
    >>> check_agents(["rrl-gp", "random"])
    """
    small = table_scenario("small", {"a": [1, 2, 3], "cost": [1.0, 2.0, 3.0]}, ["a"])
    for name in names:
        try:
            race(small, maker(name), [0], 5)
        except (AttributeError, ImportError, UsageError) as error:
            raise UsageError(f"agent {name} cannot run here ({error}); leave it out") from None


def race_tables(
    scenarios: Sequence[Scenario],
    agents: Sequence[str],
    seeds: Sequence[int],
    episodes: int,
    *,
    path: Path | None = None,
    jobs: int = 1,
    progress: bool = True,
) -> pd.DataFrame:
    """Race agents on scenarios, and say in a line on stderr if an agent cannot take one.

    Parameters
    ----------
    scenarios : sequence of Scenario
        Each is a table of costs with a name of its own, see :func:`table_scenario`.
    agents : sequence of str
    seeds : sequence of int
    episodes : int
    path : pathlib.Path, optional
        A file of runs. Runs that it has are not repeated, and each new run is added at once.
    jobs : int, optional
        The number of processes. The results do not depend on it.
    progress : bool, optional
        Whether to show a progress bar on stderr.

    Returns
    -------
    DataFrame
        The columns are `KEYS` and `MEASURED`, with one row per run. A number of episodes that was
        not reached is one more than `episodes`.

    Raises
    ------
    DataError
        If the file has something else, or no agent can take any of the scenarios.
    UsageError
        If the file has runs of these scenarios with other settings, or of another version of an
        agent.

    Examples
    --------
    >>> line = table_scenario("line", {"a": [1, 2], "cost": [3.0, 1.0]}, ["a"])
    >>> runs = race_tables([line], ["tf-serving-default"], [0, 1], 5, progress=False)
    >>> runs["mean_cost"].tolist()
    [3.0, 3.0]
    """
    import pandas as pd
    from joblib import Parallel, delayed
    from tqdm import tqdm

    settings = {(w.name, a): _settings(w, a, episodes) for w in scenarios for a in agents}
    rows = _read_runs(path, settings) if path and path.exists() else {}
    wanted = {(w.name, agent, s): w for w in scenarios for agent in agents for s in seeds}
    missing = [key for key in wanted if key not in rows]
    tasks = (delayed(_run)(wanted[key], *key[1:], episodes) for key in missing)
    done = Parallel(n_jobs=jobs, return_as="generator_unordered", max_nbytes=None)(tasks)
    failed = set()
    for key, row in tqdm(done, "race", len(missing), unit="run", smoothing=0, disable=not progress):
        if isinstance(row, str):
            if key[:2] not in failed:  # the other seeds will say the same
                tqdm.write(f"rrl: {key[1]} cannot take the table {key[0]}: {row}", sys.stderr)
            failed.add(key[:2])
            continue
        rows[key] = row | {"settings": settings[key[:2]]}
        if path:
            text = pd.DataFrame([rows[k] for k in sorted(rows)]).to_csv(index=False)
            write_atomically(path, text)
    if not (found := [rows[key] for key in wanted if key in rows]):
        raise DataError("no agent can take any of the tables; choose others with --agents")
    return pd.DataFrame(found).drop(columns="settings")


def _run(
    where: Scenario, agent: str, seed: int, episodes: int
) -> tuple[tuple[str, str, int], dict[str, Any] | str]:
    """Return the key of a run and its row, or what is wrong if the agent cannot take the table."""
    key = where.name, agent, seed
    with one_thread():
        try:
            runs = race(where, maker(agent), [seed], episodes)
        except Exception as error:  # whatever it is, the other runs go on
            return key, " ".join(f"{type(error).__name__}: {error}".split())
    found = measures(where, runs, MEASURED)
    return key, dict(zip(KEYS, key, strict=True)) | {n: v.item() for n, v in found.items()}


def _settings(where: Scenario, agent: str, episodes: int) -> str:
    """Return what the runs of an agent on a table depend on, besides the seed."""
    table = hashlib.sha256(where.space.fingerprint.encode() + where.cost.tobytes()).hexdigest()[:12]
    assert isinstance(where.server, SurfaceServer)
    noise = where.server.noise
    about = {"agent": version(f"agent {agent}"), "episodes": episodes, "noise": noise}
    return json.dumps(about | {"table": table})


def _read_runs(path: Path, settings: Mapping[tuple[str, str], str]) -> Rows:
    """Read a file of runs; those of these tables and agents must have these settings."""
    import pandas as pd

    kinds = {"table": str, "agent": str, "settings": str}
    try:
        table = pd.read_csv(path, dtype=kinds, keep_default_na=False)
        table = table[[*KEYS, *MEASURED, "settings"]]
    except (KeyError, ValueError) as error:
        raise DataError(f"{path}: not a file of runs ({error}); remove it") from None
    seen = table[["table", "agent", "settings"]].drop_duplicates()
    for name, agent, made in seen.itertuples(index=False):
        if made != (wanted := settings.get((name, agent), made)):
            raise UsageError(
                f"{path}: its runs of {agent} on {name} have {made}, not {wanted}; "
                "choose another folder with --out"
            )
    rows = table.to_dict("records")
    return {(row["table"], row["agent"], row["seed"]): row for row in rows}


def table_medians(runs: pd.DataFrame, episodes: int) -> pd.DataFrame:
    """Return the median of each measure with its 95 % interval, one row per table and agent.

    The agent with the lowest mean cost is the first of its table. Numbers of episodes are censored
    after `episodes`, as :mod:`rrl.studies.outcomes` says.

    Returns
    -------
    DataFrame
        The columns are `agent`, `seeds`, for each of `MEASURED` its median and the limits of its
        interval, such as ``mean_cost``, ``mean_cost_low`` and ``mean_cost_high``, and `table`.

    Examples
    --------
    >>> line = table_scenario("line", {"a": [1, 2], "cost": [3.0, 1.0]}, ["a"])
    >>> runs = race_tables([line], ["tf-serving-default", "rrl"], [0, 1], 40, progress=False)
    >>> table_medians(runs, 40)["agent"].tolist()
    ['rrl', 'tf-serving-default']
    """
    import pandas as pd

    rng, tables = np.random.default_rng(0), []
    for name, there in runs.groupby("table", sort=False):
        rows = []
        for agent, part in there.groupby("agent", sort=False):
            row: dict[str, Any] = {"agent": agent, "seeds": len(part)}
            for measure in MEASURED:
                row |= interval(measure, part[measure], rng, median_of(measure, episodes))
            rows.append(row)
        table = pd.DataFrame(rows).sort_values("mean_cost", ignore_index=True)
        tables.append(table.assign(table=name))
    return pd.concat(tables, ignore_index=True)


def over_lowest(table: pd.DataFrame) -> pd.DataFrame:
    """Divide the median mean cost of each agent by that of the cheapest agent on the same table.

    Parameters
    ----------
    table : DataFrame
        See :func:`table_medians`.

    Returns
    -------
    DataFrame
        One row per agent, lowest first: the number of `tables` that it took, the `geometric_mean`
        over these tables, the `highest` and the table where (`on`) it is.

    Examples
    --------
    >>> import pandas as pd
    >>> rows = {"table": ["a", "a", "b", "b"], "agent": ["x", "y"] * 2}
    >>> over_lowest(pd.DataFrame(rows | {"mean_cost": [1.0, 4.0, 2.0, 2.0]}))["on"].to_dict()
    {'x': 'a', 'y': 'a'}
    """
    import pandas as pd

    costs = table.pivot(index="table", columns="agent", values="mean_cost")
    over = costs.div(costs.min(axis=1), axis=0)
    columns = {
        "tables": over.notna().sum(),
        "geometric_mean": np.exp(np.log(over).mean()),
        "highest": over.max(),
        "on": over.idxmax(),
    }
    return pd.DataFrame(columns).sort_values("geometric_mean")
