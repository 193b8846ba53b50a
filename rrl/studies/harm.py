"""What learning does to the requests that are served meanwhile, with a guard and without.

``python -m rrl.studies.harm --out build/harm.csv`` lets agents learn on recorded grids from many
seeds, and prints one row per grid, agent and budget. A request is late if it takes longer than
twice the 99th percentile of the default, as in `rrl tune` without an objective. Here this
percentile is the median of those of 20 episodes. `rrl tune` has only the first episode.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rrl.recording.plans import KEPT
from rrl.rivals.agents import AGENTS
from rrl.studies.problems import SCENARIOS, with_truth
from rrl.studies.race import Race, score
from rrl.studies.scenario import Scenario
from rrl.support.errors import Parser, UsageError, command
from rrl.support.files import write_atomically
from rrl.support.machine import one_thread
from rrl.support.number_options import COUNT
from rrl.tuning.defaults import serving_default
from rrl.tuning.guard import LATE, Guard
from rrl.tuning.guarded import GuardedStep, guarded_steps
from rrl.tuning.loop import draw_run, learning_steps
from rrl.tuning.objective import MeanLatency, Percentile

if TYPE_CHECKING:
    import pandas as pd

    from rrl.core.knob import Configuration

GRIDS = tuple(name for name in SCENARIOS if name.split()[0] in KEPT)  # all recorded ones
EPISODES, REQUESTS = 60, 100
BUDGET_FRACTION = 0.05  # of the requests may be bad, as in `rrl tune`


class Learned(NamedTuple):
    """One run: what was recommended, and what became of the requests of each episode."""

    recommended: list[int]
    requests: NDArray[np.int64]
    bad: NDArray[np.int64]
    trial_requests: int
    trial_bad: int


def learn(scenario: Scenario, agent: str, seed: int, budget: int | None, late_s: float) -> Learned:
    """Let an agent learn; a budget of None means without a guard."""
    space, default = scenario.space, serving_default(scenario.space)
    tuner = AGENTS[agent](space, np.random.default_rng([seed, 0]))
    guard = None if budget is None else Guard(space, default, budget, late_s)
    ahead = draw_run(scenario.workload, EPISODES, REQUESTS, np.random.default_rng([seed, 1]))
    what = scenario.server, tuner, *ahead, MeanLatency()
    recommended, requests, bad = [], [], []
    trial = np.zeros(2, dtype=int)
    for step in learning_steps(*what) if guard is None else guarded_steps(*what, guard):
        recommended.append(space.index(step.recommended))
        if isinstance(step, GuardedStep):
            counts = [(p.configuration, p.requests, p.bad) for p in step.parts]
        else:
            counts = [(step.configuration, len(step.episode), step.episode.bad(late_s))]
        requests.append(sum(count[1] for count in counts))
        bad.append(sum(count[2] for count in counts))
        for configuration, n, late in counts:
            trial += (n, late) if dict(configuration) != default else (0, 0)
    return Learned(recommended, np.array(requests), np.array(bad), *trial.tolist())


def limit_of(scenario: Scenario, default: Configuration, episodes: int = 20) -> tuple[float, float]:
    """Return the limit of lateness in seconds, and the default's own fraction of late requests."""
    rng = np.random.default_rng(0)
    arrivals = scenario.workload.arrivals(REQUESTS, rng)
    served = [scenario.server.measure(default, arrivals, rng) for _ in range(episodes)]
    late_s = LATE * float(np.median([Percentile(99)(episode) for episode in served]))
    return late_s, float(np.mean([episode.bad(late_s) / REQUESTS for episode in served]))


def harm(name: str, agent: str, budget: int | None, seeds: Sequence[int]) -> dict[str, Any]:
    """Return one row of the table: medians over the seeds, and the worst episode of all.

    `late` is the fraction of bad requests while learning, and `late_default` that of the default.
    `over` is the number of runs whose trials had more bad requests than promised. `first_within_5`
    is that of :func:`rrl.studies.race.score`, censored after the run's episodes, and `deployed` is
    that of :func:`rrl.studies.outcomes.measures`.
    """
    scenario = with_truth(name)
    late_s, own = limit_of(scenario, serving_default(scenario.space))
    runs = [learn(scenario, agent, seed, budget, late_s) for seed in seeds]
    recommended = np.array([run.recommended for run in runs])
    measured = score(scenario, Race(recommended, recommended, 0.0))
    allowed = BUDGET_FRACTION * EPISODES * REQUESTS if budget is None else budget
    over = [run.trial_bad > allowed + own * run.trial_requests for run in runs]
    worst = max(float((run.bad / run.requests).max()) for run in runs)
    return {
        "grid": name,
        "agent": agent,
        "guard": "no" if budget is None else f"{budget} requests",
        "late_ms": 1e3 * late_s,
        "late_default": own,
        "late": float(np.median([run.bad.sum() / run.requests.sum() for run in runs])),
        "worst_run": max(float(run.bad.sum() / run.requests.sum()) for run in runs),
        "worst_episode": worst,
        "over": int(np.sum(over)),
        "first_within_5": float(min(np.median(measured["first_within_5"]), EPISODES + 1)),
        "deployed": float(np.median(1 + measured["simple_regret"])),
    }


def table_of(grids: Sequence[str], agents: Sequence[str], seeds: Sequence[int]) -> pd.DataFrame:
    """Return the table, with a progress bar."""
    import pandas as pd
    from tqdm import tqdm

    budget = int(BUDGET_FRACTION * EPISODES * REQUESTS)
    cells = [(g, a, b) for g in grids for a in agents for b in (None, budget)]
    return pd.DataFrame([harm(*cell, seeds) for cell in tqdm(cells, unit="cell")])


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Make the table and print it."""
    parser = Parser(prog="python -m rrl.studies.harm", description=__doc__.split("\n\n")[0])
    parser.add_argument("--agents", default="rrl-gp,rrl,random", help="names of rrl.AGENTS")
    parser.add_argument("--grids", default=",".join(GRIDS), help="names of problems")
    parser.add_argument("--seeds", type=COUNT, default=30)
    parser.add_argument("--out", type=Path, required=True, help="the table, a .csv")
    options = parser.parse_args(argv)
    agents = options.agents.split(",")
    if unknown := [name for name in agents if name not in AGENTS]:
        raise UsageError(f"unknown agent {unknown[0]!r}; known: {', '.join(AGENTS)}")
    with one_thread():
        table = table_of(options.grids.split(","), agents, range(6000, 6000 + options.seeds))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(options.out, table.to_csv(index=False, float_format="%.4g"))
    print(table.to_string(index=False, float_format=lambda value: f"{value:.3g}"))


if __name__ == "__main__":
    raise SystemExit(main())
