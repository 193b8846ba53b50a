"""Several agents in one run: each has its own server, and they take turns with the same arrivals.

So other programs on the machine affect all agents alike, and differences come from the agents. A
live server is paused between its turns. A guard may limit what a contestant tries.

A run is a folder of two files. `run.json` says what ran, where and when. `steps.csv` has one row
per episode with every latency, also of what served the rest after a bad trial. The rows are saved
after each round. A run that was stopped begins again, so that all its rounds are of one sitting.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike

from rrl.core.agent import Agent
from rrl.core.knob import Configuration
from rrl.support.errors import DataError
from rrl.support.files import write_atomically
from rrl.support.machine import describe_machine, exclusive
from rrl.tuning.episode import Episode, Server
from rrl.tuning.guard import Guard
from rrl.tuning.guarded import GuardedStep, guarded_steps
from rrl.tuning.loop import Step, draw_run, learning_steps
from rrl.tuning.objective import MeanLatency, Objective
from rrl.tuning.watch import Watch
from rrl.workloads.workload import Workload

if TYPE_CHECKING:
    import pandas as pd

STEPS, DESCRIPTION = "steps.csv", "run.json"
SCHEMA = 2
FORMER = {"rrl": "rrl-gp", "rrl-boltzmann": "rrl"}
"""The present names of agents by those that runs of schema 1 have."""


class Contestant(NamedTuple):
    """An agent with its server, and the guard that limits what it may try."""

    server: Server
    agent: Agent
    guard: Guard | None = None


Contestants = Mapping[str, Contestant]


@runtime_checkable
class Pauses(Protocol):
    """Protocol of a live server that can be paused while others have their turn."""

    def pause(self) -> None:
        """Use no processor until the next episode."""
        ...


class Served:
    """A server that keeps the valid episodes of a turn, and is paused after each.

    Examples
    --------
    >>> from rrl import TableServer
    >>> server = Served(TableServer({"threads": [1, 2], "cost": [0.5, 0.25]}, ["threads"]))
    >>> _ = server.measure({"threads": 2}, [0.0, 1.0], np.random.default_rng(0))
    >>> [len(episode) for episode in server.taken()], server.taken()
    ([2], [])
    """

    def __init__(self, server: Server) -> None:
        self.server, self.space = server, server.space
        self._episodes: list[Episode] = []

    def measure(
        self,
        configuration: Configuration,
        arrivals: ArrayLike,
        rng: np.random.Generator,
        *,
        watch: Watch | None = None,
    ) -> Episode:
        """Serve an episode, and keep it if it is valid."""
        try:
            episode = self.server.measure(configuration, arrivals, rng, watch=watch)
        finally:
            if isinstance(self.server, Pauses):
                self.server.pause()
        self._episodes += [episode] if episode.valid else []
        return episode

    def taken(self) -> list[Episode]:
        """Return the episodes since the last call."""
        found, self._episodes = self._episodes, []
        return found


def side_by_side(
    contestants: Contestants,
    workload: Workload,
    episodes: int,
    seed: int,
    *,
    requests: int = 100,
    objective: Objective | None = None,
) -> Iterator[dict[str, Step]]:
    """Let agents learn in turns; yield a round (one step of each) after all agents learned.

    Parameters
    ----------
    contestants : mapping of str to Contestant
        If the servers are live, each contestant needs its own.
    workload : Workload
        All contestants get the same arrivals.
    episodes : int
        This is the number of rounds.
    seed : int
        It sets the arrivals and the order within a round, which is random.
    requests, objective
        See :func:`rrl.tune`.

    Examples
    --------
    >>> from rrl import RRL, Poisson, TableServer
    >>> server = TableServer({"threads": [1, 2], "cost": [0.5, 0.25]}, ["threads"])
    >>> agents = {k: RRL(server.space, np.random.default_rng(k)) for k in (1, 2)}
    >>> both = {f"agent {k}": Contestant(server, agent) for k, agent in agents.items()}
    >>> turns = list(side_by_side(both, Poisson(9.0), 3, seed=0))
    >>> len(turns), sorted(turns[-1])
    (3, ['agent 1', 'agent 2'])
    """
    runs: dict[str, Iterator[Step]] = {}
    for name, (server, agent, guard) in contestants.items():
        drawn = draw_run(workload, episodes, requests, np.random.default_rng(seed))
        what = server, agent, *drawn, objective or MeanLatency()
        runs[name] = learning_steps(*what) if guard is None else guarded_steps(*what, guard)
    for number in range(episodes):
        order = np.random.default_rng([seed, number]).permutation(sorted(runs)).tolist()
        turn = {name: next(runs[name]) for name in order}
        yield turn


def record_side_by_side(
    folder: Path,
    make: Callable[[], Contestants],
    workload: Workload,
    episodes: int,
    seed: int,
    *,
    requests: int = 100,
    objective: Objective | None = None,
    live: bool = True,
    notes: Mapping[str, Any] | None = None,
) -> Iterator[dict[str, Step]]:
    """Run :func:`side_by_side` and save it in a folder; a run that was stopped begins again.

    Parameters
    ----------
    folder : pathlib.Path
    make : callable
        It makes the contestants.
    live : bool, optional
        If true, this keeps other measurements off the machine during a round.
    notes : mapping, optional
        These are further entries of `run.json`.

    Yields
    ------
    dict of str to Step
        This is a round, after it was saved.

    Raises
    ------
    DataError
        If the folder contains another run, or one that is complete.
    """
    folder.mkdir(parents=True, exist_ok=True)
    what = {"episodes": episodes, "requests": requests, "seed": seed, "workload": repr(workload)}
    made = make()
    served = {name: Served(one.server) for name, one in made.items()}
    contestants = {name: one._replace(server=served[name]) for name, one in made.items()}
    what["contestants"] = sorted(contestants)
    _check_folder(folder, what)
    _describe(folder, what, complete=False, notes=notes)
    rows: list[dict[str, Any]] = []
    rounds = side_by_side(
        contestants, workload, episodes, seed, requests=requests, objective=objective
    )
    while True:
        with exclusive() if live else nullcontext():
            turn = next(rounds, None)
        if turn is None:
            break
        rows += [
            _row(name, step, order, served[name].taken())
            for order, (name, step) in enumerate(turn.items())
        ]
        _save(folder, rows)
        yield turn
    _describe(folder, what, complete=True, notes=notes)


def read_steps(folder: str | os.PathLike[str]) -> tuple[dict[str, Any], pd.DataFrame]:
    """Read a run: its description, and one row per episode with `latency_s` as array in seconds.

    Raises
    ------
    DataError
        If the run is missing, is damaged or has another schema.
    """
    import pandas as pd

    folder = Path(folder)
    try:
        description = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
        table = pd.read_csv(folder / STEPS, dtype={"latencies_us": str, "knobs": str})
        table["latency_s"] = [
            np.array(text.split(), dtype=float) / 1e6 for text in table.pop("latencies_us")
        ]
    except FileNotFoundError as error:
        raise DataError(
            f"{error.filename}: not found; record it with `python -m rrl.studies.live_phases`"
        ) from None
    except (ValueError, KeyError, AttributeError) as error:
        raise DataError(f"{folder}: corrupt or truncated ({error}); restore it") from None
    if description.get("schema") not in (1, SCHEMA):
        raise DataError(
            f"{folder / DESCRIPTION}: schema {description.get('schema')!r}, not 1 or {SCHEMA}"
        )
    if description["schema"] == 1:
        table["contestant"] = table["contestant"].replace(FORMER)
    return description, table


def _row(name: str, step: Step, order: int, served: list[Episode]) -> dict[str, Any]:
    """Return the row of a step; `served` has the trial and what served the rest after it."""
    micros = np.rint(1e6 * np.concatenate([one.latency for one in served])).astype(np.int64)
    parts = step.parts if isinstance(step, GuardedStep) else []
    lost = sum(part.bad for part in parts if part.ended == "crashed")
    return {
        "contestant": name,
        "episode": step.number,
        "order": order,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "load_per_s": f"{step.load:.3f}",
        "knobs": json.dumps(step.configuration),
        "switch_s": f"{sum(one.info.get('switch_s', 0.0) for one in served):.2f}",
        "restarts": sum(bool(one.info.get("restarted")) for one in served),
        "invalid": step.invalid,
        "ended": parts[0].ended if parts else "",
        "mean_s": f"{micros.mean() / 1e6:.6f}",
        "failed": lost + sum(int(one.failed.sum()) for one in served),
        "latencies_us": " ".join(map(str, micros)),
    }


def _save(folder: Path, rows: list[dict[str, Any]]) -> None:
    text = StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(folder / STEPS, text.getvalue())


def _check_folder(folder: Path, what: Mapping[str, Any]) -> None:
    """Refuse a folder with another run, or with a complete one."""
    if not (folder / DESCRIPTION).exists():
        return
    stored = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
    if stored.get("what") != what or stored["complete"]:
        raise DataError(f"{folder} holds another run; choose another folder, or remove it")


def _describe(
    folder: Path, what: Mapping[str, Any], complete: bool, notes: Mapping[str, Any] | None
) -> None:
    description = {
        "schema": SCHEMA,
        "complete": complete,
        "recorded": datetime.now(UTC).date().isoformat(),
        "machine": describe_machine(),
        "what": dict(what),
        **(notes or {}),
    }
    write_atomically(folder / DESCRIPTION, json.dumps(description, indent=2) + "\n")
