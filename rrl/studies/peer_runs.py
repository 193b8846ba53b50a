"""Recorded runs of the agents whose decisions take long, in the store of results."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rrl.recording.replay import replayed
from rrl.rivals.agents import AGENTS
from rrl.studies.problems import DATA, SCENARIOS, SEEDS, half_of, open_scenario
from rrl.studies.race import Race, race
from rrl.studies.sweep_store import table_folder
from rrl.support.files import replacing
from rrl.support.machine import describe_machine


class Budget(NamedTuple):
    """The seeds, episodes and scenarios of a slow agent's races."""

    seeds: int
    episodes: int
    scenarios: tuple[str, ...]


# A renewal completes what is missing here, so this asks for no more than what is stored.
RECORDED = {
    "rrl-released": Budget(10, 100, ("pool",)),
    "deep-q-network": Budget(30, 300, SCENARIOS),
    "gp-ei": Budget(30, 300, SCENARIOS),
    "optuna-tpe": Budget(30, 300, SCENARIOS),
    "optuna-tpe-multivariate": Budget(30, 300, SCENARIOS),
    "smac": Budget(5, 100, ("wide", "pool")),
    "skopt-gp": Budget(3, 60, ("pool",)),  # a decision takes 1 s after 200 episodes, later 40 s
}

#: The packages of the agents that are made of another package.
PACKAGES = {
    "optuna-tpe": "optuna",
    "optuna-tpe-multivariate": "optuna",
    "smac": "smac",
    "skopt-gp": "scikit-optimize",
}


class PeerRuns(NamedTuple):
    """Runs of one agent on one scenario, with the machine and the date of the recording."""

    runs: Race
    about: dict[str, Any]


def record_path(agent: str, scenario: str, data: Path = DATA) -> Path:
    """Return the path of the file with the runs of an agent on a scenario."""
    name = f"{scenario.replace(' ', '-').replace('/', '-half-')}.npz"
    return table_folder("peers", data) / agent / name


def read_record(agent: str, scenario: str, data: Path = DATA) -> PeerRuns | None:
    """Read recorded runs; return None if there are no runs on these data."""
    path = record_path(agent, scenario, data)
    if not path.exists():
        return None
    with np.load(path) as file:
        runs = Race(file["chosen"], file["recommended"], float(file["seconds"]))
        about = json.loads(str(file["about"]))
    return PeerRuns(runs, about) if about.get("data", "") == _data(scenario, data) else None


def record_seed(agent: str, scenario: str, data: Path = DATA, budget: Budget | None = None) -> bool:
    """Race one more seed of a slow agent and save it; return False if the budget is used up."""
    budget = budget or RECORDED[agent]
    known = read_record(agent, scenario, data)
    done = 0 if known is None else len(known.runs.chosen)
    if done >= budget.seeds:
        return False
    new = race(open_scenario(scenario, data=data), AGENTS[agent], [SEEDS[done]], budget.episodes)
    chosen, recommended, seconds = new.chosen, new.recommended, new.seconds
    if known is not None:
        chosen = np.concatenate([known.runs.chosen, chosen])
        recommended = np.concatenate([known.runs.recommended, recommended])
        seconds = (known.runs.seconds * done + seconds) / (done + 1)
    about = _about(PACKAGES.get(agent, "rrl")) | {"data": _data(scenario, data)}
    path = record_path(agent, scenario, data)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file:
        np.savez_compressed(
            file,
            chosen=chosen.astype(np.int32),
            recommended=recommended.astype(np.int32),
            seconds=seconds,
            about=json.dumps(about),
        )
    return True


def _data(scenario: str, data: Path) -> str:
    """Return the digest of the recording that a scenario replays; it is empty without one."""
    name, half = half_of(scenario.partition(" ")[0])
    return replayed(data / name, half) if (data / name).is_dir() else ""


def _about(package: str) -> dict[str, Any]:
    from importlib.metadata import version

    machine = describe_machine()
    return {
        "recorded": f"{datetime.now(UTC):%Y-%m-%d}",
        "package": f"{package} {version(package)}",
        "processor": machine["processor"],
        "cpus": machine["cpus"],
        "python": machine["python"],
    }
