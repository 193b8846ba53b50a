"""Whole runs: an agent tunes a server, and configurations are compared.

:func:`tune` lets an agent learn on a server. :func:`compare` then measures a few configurations
side by side, so that a claim of "better" is based on paired episodes and not on luck.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rrl.core.agent import Agent
from rrl.core.knob import Configuration
from rrl.tuning.capacity import searching
from rrl.tuning.episode import Server
from rrl.tuning.loop import draw_rounds, steps
from rrl.tuning.measuring import measure_valid
from rrl.tuning.objective import MeanLatency, Objective
from rrl.workloads.workload import Workload

if TYPE_CHECKING:
    import pandas as pd


@dataclass
class Run:
    """The history of a tuning run, with one entry per episode.

    Parameters
    ----------
    configurations : list of configuration
        The configurations that served.
    costs : list of float
        The costs that the agent was told, in the objective's unit (seconds for a latency).
    loads : list of float
        The loads that the agent was shown: estimated requests per second.
    recommended : list of configuration
        The configurations that the agent would have deployed after each episode.
    invalid : int
        Number of episodes that were dropped and measured again.
    """

    configurations: list[Configuration] = field(default_factory=list)
    costs: list[float] = field(default_factory=list)
    loads: list[float] = field(default_factory=list)
    recommended: list[Configuration] = field(default_factory=list)
    invalid: int = 0

    def __len__(self) -> int:
        return len(self.costs)

    @property
    def best(self) -> Configuration:
        """The configuration to deploy at the end."""
        return self.recommended[-1]

    def table(self) -> pd.DataFrame:
        """Return a table with one row per episode: the knobs, `load_per_s` and `cost`."""
        import pandas as pd

        table = pd.DataFrame(self.configurations)
        return table.assign(load_per_s=self.loads, cost=self.costs)


def tune(
    server: Server,
    agent: Agent,
    workload: Workload,
    episodes: int,
    rng: np.random.Generator,
    *,
    requests: int = 100,
    objective: Objective | None = None,
    progress: bool = False,
) -> Run:
    """Let `agent` learn on `server` for a number of episodes.

    The agent sees the rate of the arrivals *before* an episode, never the true rate. The arrivals
    and the server's own noise come from two random streams. So agents with equal generators get the
    same arrivals, whatever they choose (common random numbers).

    Parameters
    ----------
    server : Server
    agent : Agent
    workload : Workload
    episodes : int
        Number of episodes, at least 1.
    rng : numpy.random.Generator
        Generator for the arrivals and the server. The agent has its own.
    requests : int, optional
        Requests per episode. The default is the paper's 100.
    objective : Objective, optional
        The cost of an episode. The default is the mean latency in seconds.
    progress : bool, optional
        Whether to show a progress bar on stderr.

    Returns
    -------
    Run

    Raises
    ------
    ValueError
        If `episodes` is below 1.
    ServerError
        If the server fails permanently, or too many episodes in a row are invalid.

    Examples
    --------
    >>> from rrl import RRL, Poisson, TableServer
    >>> table = {"threads": [1, 2, 3, 4], "latency": [0.4, 0.2, 0.1, 0.3]}
    >>> server = TableServer(table, ["threads"], cost="latency")
    >>> agent = RRL(server.space, np.random.default_rng(1))
    >>> run = tune(server, agent, Poisson(rate=10.0), 40, np.random.default_rng(2))
    >>> run.best, len(run)
    ({'threads': 3}, 40)
    """
    from tqdm import tqdm

    run = Run()
    objective = objective or MeanLatency()
    server = searching(server, objective)
    every = steps(server, agent, workload, episodes, rng, requests=requests, objective=objective)
    bar = tqdm(every, "tuning", episodes, unit="episode", disable=not progress)
    for step in bar:
        run.invalid += step.invalid
        run.configurations.append(dict(step.configuration))
        run.costs.append(step.cost)
        run.loads.append(step.load)
        run.recommended.append(dict(step.recommended))
    return run


def compare(
    servers: Mapping[str, tuple[Server, Configuration]],
    workload: Workload,
    rounds: int,
    rng: np.random.Generator,
    *,
    requests: int = 100,
    objective: Objective | None = None,
) -> dict[str, NDArray[np.float64]]:
    """Measure configurations in alternating episodes with the same arrivals.

    Parameters
    ----------
    servers : mapping of str to (Server, configuration)
        Contestants by name. Give each live contestant its own server, so that none is restarted.
    workload : Workload
    rounds : int
        Number of episodes of each contestant. The order within a round is random.
    rng : numpy.random.Generator
    requests : int, optional
        Requests per episode.
    objective : Objective, optional
        The cost of an episode. The default is the mean latency in seconds.

    Returns
    -------
    dict of str to ndarray, shape (rounds,)
        Costs by name, in the objective's unit. Costs at the same position belong to the same round.
    """
    objective = objective or MeanLatency()
    costs = {name: np.empty(rounds) for name in servers}
    drawn = draw_rounds(list(servers), workload, rounds, requests, rng)
    for number, (arrivals, seed, order) in enumerate(drawn):
        for name in order:
            own = np.random.default_rng(seed)
            episode, _ = measure_valid(*servers[name], arrivals, own)
            costs[name][number] = objective(episode)
    return costs
