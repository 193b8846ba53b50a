"""Standings of RRL's rivals: their tuning study, recorded runs of slow ones, a table of all.

``python -m rrl.studies.standings record`` races the agents of `RECORDED` and keeps their runs under
``data/results/tables/peers``. ``summary`` writes one row per agent and scenario there. ``tune``
compares settings on separate seeds and writes ``tuning.csv``. Each command skips results that
exist, so it can be stopped and run again. To redo a result, remove its file.
"""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from io import StringIO
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rrl.recording.profile import DESCRIPTION
from rrl.rivals.agents import AGENTS
from rrl.rivals.constants import with_constants
from rrl.studies.peer_runs import RECORDED, read_record, record_seed
from rrl.studies.problems import DATA, EPISODES, SCENARIOS, SEEDS, SURFACES, half_of, with_truth
from rrl.studies.race import counts_episodes, race, score
from rrl.studies.sweep_store import table_folder
from rrl.studies.tables import table_file
from rrl.support.errors import Parser, UsageError, command
from rrl.support.files import read_json, write_atomically
from rrl.support.machine import one_thread

if TYPE_CHECKING:
    import pandas as pd

TUNING_SEEDS = range(1000, 1030)  # the table never uses these seeds
TUNING = SURFACES  # the testbeds and the recorded profiles are held out
SHORT = {
    "gp-ei": (10, 100),
    "turbo": (10, 300),
}  # seeds and episodes of agents whose decisions take long
MEASURES = (
    "first_within_5",
    "stays_within_5",
    "stays_possibly_within_5",
    "stays_within_10",
    "simple_regret",
    "mean_cost_100",
    "mean_cost",
    "cumulative_regret",
    "violations",
)


_EPSILONS = ([0.1, 0.1, 50], [0.3, 0.3, 50], [0.5, 0.5, 50], [0.5, 0.05, 50], [1.0, 0.1, 50])
_RRL = {"horizon": 60.0, "lengths": 1.0, "amplitude": 1.0, "elsewhere": 2.0}

#: The settings that the command ``tune`` compares.
VARIANTS: dict[str, list[dict[str, Any]]] = {
    "rrl": [
        {"radius": r, "learning_rate": s} for r in (1.0, 1.5, 2.0, 3.0) for s in (0.1, 0.3, 0.5)
    ],
    "rrl-released-copy": [{"radius": r} for r in (1.0, 2.0, 3.0)],
    "random": [{"budget": b} for b in (100, 200, 300)],
    "coordinate-descent": [{"repeats": n, "rounds": k} for n in (1, 2, 3) for k in (1, 2, 3, 100)],
    "hill-climbing": [
        {"reach": r, "again": a, "patience": p}
        for r in (1, 2, 4) for a in (0.1, 0.3) for p in (40, 1000)
    ],
    "simulated-annealing": [
        {"temperature": t, "decay": 0.98, "reach": r} for t in (0.1, 0.3, 1.0) for r in (1, 2, 4)
    ],
    "q-learning": [{"epsilon": e, "learning_rate": s} for e in _EPSILONS for s in (0.1, 0.3)],
    "deep-q-network": [
        {"actions": "configurations", "epsilon": e}
        for e in ([0.3, 0.3, 50], [0.3, 0.05, 20], [1.0, 0.1, 20])
    ] + [{"actions": "moves", "epsilon": [0.3, 0.3, 50], "discount": d} for d in (0.0, 0.7)],
    "zooming": [
        {"lipschitz": s, "confidence": c}
        for s in (0.25, 0.5, 1.0, 2.0) for c in (0.025, 0.05, 0.14)
    ],
    "hoo": [
        {"lipschitz": s, "confidence": c}
        for s in (0.5, 1.0, 2.0, 4.0) for c in (0.025, 0.05, 0.14)
    ],
    "turbo": [
        {"side": side, "successes": s, "failures": f}
        for side in (0.4, 0.8) for s in (2, 3) for f in (4, 8)
    ],
    "gp-ei": [{"initial": n, "margin": 0.0, "length": 0.5} for n in (5, 10, 20)] + [
        {"initial": 5, "margin": m, "length": s}
        for m in (0.0, 0.1) for s in (0.25, 0.5, 1.0) if (m, s) != (0.0, 0.5)
    ],
    "rrl-gp": [
        _RRL | change for change in (
            {}, {"horizon": 20.0}, {"horizon": 200.0}, {"elsewhere": 1.0}, {"elsewhere": 3.0},
            {"lengths": 0.5}, {"lengths": 2.0}, {"amplitude": 0.5}, {"amplitude": 2.0},
        )
    ],
}  # fmt: skip


SUMMARY_KEYS = ("scenario", "agent")
TUNING_KEYS = ("agent", "settings", "scenario")
Rows = dict[tuple[str, ...], dict[str, str]]


def _file(table: str, data: Path) -> Path:
    """Return the path of the summary of the peers, or of the tuning study."""
    return table_folder(table, data) / {"peers": "summary.csv", "tuning": "tuning.csv"}[table]


def read_rows(path: Path, keys: Sequence[str]) -> Rows:
    """Read a table into a dict by its key columns; the dict is empty if there is no file."""
    if not path.exists():
        return {}
    with path.open(newline="") as file:
        return {tuple(row[key] for key in keys): row for row in csv.DictReader(file)}


def _write_rows(path: Path, rows: Rows) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = StringIO()
    table = csv.DictWriter(text, list(next(iter(rows.values()))), lineterminator="\n")
    table.writeheader()
    table.writerows(rows.values())
    write_atomically(path, text.getvalue())


def summary_row(scenario: str, agent: str, data: Path = DATA) -> dict[str, str] | None:
    """Return an agent's medians on a scenario: from its record if it is slow, or from a race now.

    `settled` is the fraction of seeds whose recommendation is good at the end.
    `judged` and `ceiling` are those of :class:`rrl.studies.scenario.Scenario`.
    """
    known = read_record(agent, scenario, data)
    if agent in RECORDED and known is None:
        return None
    where = with_truth(scenario, data)
    runs = known.runs if known else race(where, AGENTS[agent], SEEDS, EPISODES)
    measured = score(where, runs)
    medians = {name: f"{np.median(measured[name]):.4g}" for name in MEASURES}
    settled = f"{np.isfinite(measured['stays_within_5']).mean():.3g}"
    seeds, episodes = runs.chosen.shape
    head = {"scenario": scenario, "agent": agent, "seeds": str(seeds), "episodes": str(episodes)}
    truth = {"judged": str(int(where.judged)), "ceiling": f"{where.ceiling:.4g}"}
    last = {"ms_per_decision": f"{1e3 * runs.seconds:.2g}", "data": judged_by(scenario, data)}
    return head | medians | {"settled": settled} | truth | last


def judged_by(scenario: str, data: Path = DATA) -> str:
    """Return the first digits of the checksum of a scenario's recording; empty without one.

    Examples
    --------
    >>> len(judged_by("keyword-threads 1275")), judged_by("pool")
    (12, '')
    """
    description = data / half_of(scenario.partition(" ")[0])[0] / DESCRIPTION
    return str(read_json(description).get("sha256", ""))[:12] if description.exists() else ""


def leaderboard(data: Path = DATA, measure: str = "stays_within_5") -> pd.DataFrame:
    """Return one measure of every agent (rows) in every scenario (columns) where it was raced.

    Agents that were raced for fewer episodes than the others are left out. Their numbers of
    episodes end at another horizon.

    Examples
    --------
    >>> bool(leaderboard(measure="cumulative_regret").loc["rrl-gp", "pool"] < 30)
    True
    """
    import pandas as pd

    table = pd.read_csv(table_file("peers", "summary.csv", data))
    whole = table[table["episodes"] == EPISODES]
    cells = whole.pivot(index="agent", columns="scenario", values=measure)
    rows = [agent for agent in AGENTS if agent in cells.index]
    return cells.loc[rows, [name for name in SCENARIOS if name in cells.columns]]


def lost_scenarios(cells: pd.DataFrame, ours: str) -> pd.DataFrame:
    """Return the scenarios of a :func:`leaderboard` in which another agent is better than ours.

    Returns
    -------
    DataFrame
        It has one row per such scenario: `ours`, `best other`, `by` whom, and what the `server's
        default` has. Smaller values are better.

    Examples
    --------
    >>> import pandas as pd
    >>> rows = {"rrl-gp": [1.0, 3.0], "tf-serving-default": [2.0, 4.0], "random": [5.0, 2.5]}
    >>> lost_scenarios(pd.DataFrame(rows, ["pool", "wide"]).T, "rrl-gp")["by"].to_dict()
    {'wide': 'random'}
    """
    import pandas as pd

    others = cells.drop(index=ours)
    columns = {
        "ours": cells.loc[ours],
        "best other": others.min(),
        "by": others.idxmin(),
        "server's default": cells.loc["tf-serving-default"],
    }
    return pd.DataFrame(columns)[others.min() < cells.loc[ours]]


def tuning_row(agent: str, settings: str, scenario: str, data: Path = DATA) -> dict[str, str]:
    """Race one variant of an agent (settings in JSON) on the seeds of the tuning study.

    `stays_within_5_mean` is the geometric mean of `stays_within_5` over the seeds. An infinite
    number counts as twice the number of episodes. The other columns are medians.
    """
    where = with_truth(scenario, data)
    make = with_constants(agent, json.loads(settings))
    seeds, episodes = SHORT.get(agent, (len(TUNING_SEEDS), EPISODES))
    measured = score(where, race(where, make, TUNING_SEEDS[:seeds], episodes))
    mean = np.exp(np.log(np.minimum(measured["stays_within_5"], 2 * episodes)).mean())
    names = ("first_within_5", "stays_within_5", "cumulative_regret")
    medians = {name: f"{np.median(measured[name]):.4g}" for name in names}
    head = {"agent": agent, "settings": settings, "scenario": scenario}
    head |= {"seeds": str(seeds), "episodes": str(episodes)}
    return head | {"stays_within_5_mean": f"{mean:.4g}"} | medians


def best_settings(data: Path = DATA, by: str = "stays_within_5_mean") -> dict[str, dict[str, Any]]:
    """Return the best variant of each agent in the tuning study.

    The best variant has the lowest geometric mean of the column `by` over the scenarios.
    """
    found: dict[tuple[str, str], list[float]] = {}
    for row in read_rows(_file("tuning", data), TUNING_KEYS).values():
        most = 2 * int(row["episodes"])
        value = min(float(row[by]), most) if counts_episodes(by) else float(row[by])
        found.setdefault((row["agent"], row["settings"]), []).append(float(np.log(value)))
    best: dict[str, tuple[float, str]] = {}
    for (agent, settings), values in found.items():
        mean = round(float(np.mean(values)), 9)
        if agent not in best or mean < best[agent][0]:
            best[agent] = (mean, settings)
    return {agent: json.loads(settings) for agent, (_, settings) in best.items()}


def _missing(
    what: str, agents: Iterable[str], scenarios: Iterable[str], data: Path
) -> Iterator[str]:
    """Make the missing results one by one, and yield a description of each."""
    summary, tuning = _file("peers", data), _file("tuning", data)
    for scenario, agent in product(scenarios, agents):
        if what == "record":
            while scenario in RECORDED[agent].scenarios and record_seed(agent, scenario, data):
                yield f"{agent} on {scenario}"
        elif what == "summary":
            if _add(summary, SUMMARY_KEYS, (scenario, agent), summary_row, data):
                yield f"{agent} on {scenario}"
        else:
            for settings in map(json.dumps, VARIANTS[agent]):
                if _add(tuning, TUNING_KEYS, (agent, settings, scenario), tuning_row, data):
                    yield f"{agent} {settings} on {scenario}"


def _is_current(row: dict[str, str], data: Path) -> bool:
    """Return whether a row of the summary is of the present recording and of all recorded seeds."""
    known = read_record(row["agent"], row["scenario"], data)
    grown = known is not None and len(known.runs.chosen) > int(row["seeds"])
    return not grown and row["data"] == judged_by(row["scenario"], data)


def _add(
    path: Path,
    keys: Sequence[str],
    key: tuple[str, ...],
    make: Callable[..., dict[str, str] | None],
    data: Path,
) -> bool:
    """Add the row that `make` returns for a key to a table, unless a current row exists."""
    old = read_rows(path, keys).get(key)
    if old is not None and (make is not summary_row or _is_current(old, data)):
        return False
    row = make(*key, data)
    if row is not None:
        _write_rows(path, read_rows(path, keys) | {key: row})
    return row is not None


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Record runs, summarise them or tune settings, as far as results are missing."""
    parser = Parser(prog="python -m rrl.studies.standings", description=__doc__.split("\n\n")[0])
    parser.add_argument("what", choices=("record", "summary", "tune"))
    parser.add_argument("--agents", help="some of them, separated by commas")
    parser.add_argument("--scenarios", help="the same")
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop after so long")
    arguments = parser.parse_args(argv)
    usual = {"record": RECORDED, "summary": AGENTS, "tune": VARIANTS}[arguments.what]
    agents = arguments.agents.split(",") if arguments.agents else list(usual)
    everywhere = TUNING if arguments.what == "tune" else SCENARIOS
    scenarios = arguments.scenarios.split(",") if arguments.scenarios else everywhere
    for given, known in ((agents, usual), (scenarios, everywhere)):
        if unknown := [name for name in given if name not in known]:
            raise UsageError(f"unknown {unknown[0]!r}; known: {', '.join(known)}")
    start = time.monotonic()
    with one_thread():  # the matrices are small, and timings are for one core
        for done in _missing(arguments.what, agents, scenarios, arguments.data):
            print(done, flush=True)
            if time.monotonic() - start > arguments.seconds:
                return


if __name__ == "__main__":
    raise SystemExit(main())
